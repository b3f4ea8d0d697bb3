"""Axes: where a value lies on a chart and which values get a label.

In: the values a chart must hold and the pixels it has. Out: a position for any value, and round ticks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear scale from values to pixels (``start`` may be larger than ``end``: y axes point up)."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Pixel position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, at_most: int) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten that cover [low, high], at most ``at_most`` steps between them."""
    if high <= low:
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    rough = (high - low) / max(at_most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def linear_axis(low: float, high: float, *, start: float, end: float, at_most: int) -> Axis:
    """An axis whose ends are ticks."""
    ticks = nice_ticks(low, high, at_most)
    return Axis(low=ticks[0], high=ticks[-1], start=start, end=end, ticks=ticks)
