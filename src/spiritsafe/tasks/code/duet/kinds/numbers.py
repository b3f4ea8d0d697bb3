"""Kinds of numbers: how large they are, how many decimals they have, whether all are even, prime, or the like.

In: numbers that were seen. Out: which others are alike. Nothing is much larger than those, since a right program
may be slow; 0 and 1 are cases of their own, which only those allow that were seen to reach so low.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import final

_MOST_DECIMALS = 6
_FEWEST_FOR_CHOICES, _MOST_CHOICES = 12, 3
_ENDS = (1, 7, 9, 12, 23, 24, 26, 31, 59, 60, 99, 100, 180, 255, 360, 365, 366, 1000, 1_000_000)
"""Where ranges like to end: those of digits, days, hours, letters, shares, colours, angles."""
_FEWEST_FOR_END = 6
_FEWEST_FOR_RULES = 5
_MOST_TRIED = 1 << 32


def _is_even(value: int) -> bool:
    return value % 2 == 0


def _is_odd(value: int) -> bool:
    return value % 2 == 1


def _is_prime(value: int) -> bool:
    return 1 < value < _MOST_TRIED and all(value % factor for factor in range(2, math.isqrt(value) + 1))


def _is_no_prime(value: int) -> bool:
    return not _is_prime(value)


def _is_square(value: int) -> bool:
    return value >= 0 and math.isqrt(value) ** 2 == value


_RULES = (_is_even, _is_odd, _is_prime, _is_no_prime, _is_square)
"""What may hold for numbers."""


@final
@dataclass(frozen=True, slots=True)
class IntKind:
    """Whole numbers.

    Attributes:
        seen: Those that were seen, each once, by size.
        low: The least that is allowed.
        high: The most.
        rules: What holds for each.
        is_choice: Only those that were seen are allowed: so few, so often, are names and not amounts.
    """

    seen: tuple[int, ...]
    low: int
    high: int
    rules: tuple[Callable[[int], bool], ...]
    is_choice: bool

    @classmethod
    def of(cls, values: Sequence[int]) -> IntKind:
        """The kind of such numbers."""
        seen = tuple(sorted(set(values)))
        has_end = seen[-1] in _ENDS and len(seen) >= _FEWEST_FOR_END
        high = seen[-1] if has_end or seen[-1] <= 0 else seen[-1] + max(1, seen[-1] // 10)
        low = min(seen[0], -high) if seen[0] < 0 < high else seen[0] if seen[0] <= 2 else max(2, seen[0] // 10)
        is_enough = len(seen) >= _FEWEST_FOR_RULES
        rules = tuple(rule for rule in _RULES if is_enough and all(map(rule, seen)))
        is_choice = len(seen) <= _MOST_CHOICES and len(values) >= _FEWEST_FOR_CHOICES
        return cls(seen, low, high, rules, is_choice)

    def allows(self, value: int) -> bool:
        """Whether it is alike."""
        if self.is_choice:
            return value in self.seen
        return self.low <= value <= self.high and all(rule(value) for rule in self.rules)

    def draw(self, rng: Random) -> int:
        """One that is likely alike: near to what was seen, near to an end, or of any size between."""
        low, high = self.low, self.high
        near = rng.choice(self.seen) + rng.choice((-2, -1, -1, 0, 0, 1, 1, 2))
        small = low + rng.randrange(min(high - low, 12) + 1)
        between = low + int((high - low + 1) ** rng.random()) - 1
        return min(high, max(low, rng.choice((near, small, between, rng.randint(low, high)))))


@final
@dataclass(frozen=True, slots=True)
class FloatKind:
    """Numbers with a point.

    Attributes:
        seen: Those that were seen, each once, by size.
        decimals: The most places that one has behind the point.
    """

    seen: tuple[float, ...]
    decimals: int

    @classmethod
    def of(cls, values: Sequence[float]) -> FloatKind:
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
