"""Kinds of numbers: how large they are, how many decimals they have, whether all are even or odd.

In: numbers that were seen. Out: which others are alike. Nothing is larger than what was seen, since a right program may
be slow; 0 and 1 are cases of their own, which only those allow that were seen to reach so low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import final

_FEWEST_FOR_PARITY = 5
_MOST_DECIMALS = 6
_FEWEST_FOR_CHOICES, _MOST_CHOICES = 12, 3


@final
@dataclass(frozen=True, slots=True)
class Ints:
    """Whole numbers.

    Attributes:
        seen: Those that were seen, each once, by size.
        low: The least that is allowed.
        parity: What all leave when halved; None: both do.
        is_choice: Only those that were seen are allowed: so few, so often, are names and not amounts.
    """

    seen: tuple[int, ...]
    low: int
    parity: int | None
    is_choice: bool

    @classmethod
    def of(cls, values: Sequence[int]) -> Ints:
        """The kind of such numbers."""
        seen = tuple(sorted(set(values)))
        low = seen[0] if seen[0] <= 2 else max(2, seen[0] // 10)
        parities = {value % 2 for value in seen}
        parity = parities.pop() if len(parities) == 1 and len(seen) >= _FEWEST_FOR_PARITY else None
        is_choice = len(seen) <= _MOST_CHOICES and len(values) >= _FEWEST_FOR_CHOICES
        return cls(seen, low, parity, is_choice)

    def allows(self, value: int) -> bool:
        """Whether it is alike."""
        if self.is_choice:
            return value in self.seen
        return self.low <= value <= self.seen[-1] and self.parity in (None, value % 2)

    def draw(self, rng: Random) -> int:
        """One that is likely alike: near to what was seen, near to an end, or of any size between."""
        low, high = self.low, self.seen[-1]
        near = rng.choice(self.seen) + rng.choice((-2, -1, -1, 0, 0, 1, 1, 2))
        small = low + rng.randrange(min(high - low, 12) + 1)
        between = low + int((high - low + 1) ** rng.random()) - 1
        return min(high, max(low, rng.choice((near, small, between, rng.randint(low, high)))))


@final
@dataclass(frozen=True, slots=True)
class Floats:
    """Numbers with a point.

    Attributes:
        seen: Those that were seen, each once, by size.
        decimals: The most places that one has behind the point.
    """

    seen: tuple[float, ...]
    decimals: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Floats:
        """The kind of such numbers."""
        seen = tuple(sorted({value for value in values if abs(value) < float("inf")})) or (0.0,)
        return cls(seen, max(map(_decimals, seen)))

    def allows(self, value: float) -> bool:
        """Whether it is alike; what is no number, or endless, is not."""
        return self.seen[0] <= value <= self.seen[-1] and _decimals(value) <= self.decimals

    def draw(self, rng: Random) -> float:
        """One that is likely alike: as many are whole as not, so that differences between some are exact."""
        low, high = self.seen[0], self.seen[-1]
        decimals = rng.choice((0, self.decimals, min(self.decimals, 1)))
        near = rng.choice(self.seen) + rng.choice((-1.0, -0.5, 0.0, 0.0, 0.5, 1.0))
        value = rng.choice((rng.choice(self.seen), near, low + (high - low) * rng.random()))
        return min(high, max(low, round(value, decimals)))


def _decimals(value: float) -> int:
    return next((places for places in range(_MOST_DECIMALS) if round(value, places) == value), _MOST_DECIMALS)
