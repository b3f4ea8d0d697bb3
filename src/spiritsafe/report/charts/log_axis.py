"""Axes on which equal distances are equal ratios: for costs, which double and double again.

In: the values a chart must hold and the pixels it has. Out: a position for any positive value, and round ticks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from spiritsafe.report.charts.axes import nice_ticks

_MANTISSAS = ((1,), (1, 3), (1, 2, 5))
_MARGIN = 1.12  # so that a mark at the end of the range is whole


@final
@dataclass(frozen=True, kw_only=True)
class LogAxis:
    """A logarithmic scale from positive values to pixels."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Pixel position of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def log_ticks(low: float, high: float, at_most: int) -> tuple[float, ...]:
    """Round values inside [low, high]: powers of ten, with as many between them as still fit.

    Where the range is too short for two such values, plain multiples.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: tuple[float, ...] = ()
    for mantissas in _MANTISSAS:
        values = [mantissa * 10.0**power for power in powers for mantissa in mantissas]
        ticks = tuple(value for value in values if low <= value <= high)
        if len(ticks) > at_most:
            break
        found = ticks
    if len(found) < 2:
        plain = ticks if len(ticks) > at_most else nice_ticks(low, high, at_most)
        found = tuple(tick for tick in plain if low <= tick <= high and tick > 0)
    return found[:: -(-len(found) // at_most)]


def log_axis(low: float, high: float, *, start: float, end: float, at_most: int) -> LogAxis:
    """An axis that holds both values with a little room on both sides.

    Raises:
        ValueError: A value is not positive.
    """
    if not 0.0 < low <= high:
        raise ValueError(f"no logarithmic axis from {low} to {high}")
    low, high = low / _MARGIN, high * _MARGIN
    return LogAxis(low=low, high=high, start=start, end=end, ticks=log_ticks(low, high, at_most))
