"""What a function may be called with, told from the calls that are known, in the manner of Daikon.

In: calls of a function, such as those that its tests make. Out: a :class:`Domain`: what held for each argument and
between any two in every one of them; and further calls for which it holds too. A rule that is none costs inputs that
would have been allowed; one that is missed lets through what the problem does not allow, so it errs by being narrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random
from typing import Any, final

from spiritsafe.tasks.code.duet.behaviour import ProgramCall, varied_calls
from spiritsafe.tasks.code.duet.inside.values import decoded, encoded
from spiritsafe.tasks.code.duet.kinds.holders import KindByType, argument_kind

_FEWEST = 3
"""Of different calls that a rule between arguments must hold for to be one."""
_FEWEST_ORDERED = 5
"""The same where chance alone makes it hold half the time."""
_ROUNDS = 30
_FEWEST_NEW = 200
"""A round in which fewer than one in so many are new is the last."""
_MOST_BYTES = 4000
"""Of a call's arguments as JSON."""


def _has_length(value: Any) -> bool:
    return isinstance(value, str | list | tuple | dict)


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


@final
@dataclass(frozen=True, slots=True)
class _Rule:
    """What may hold between two arguments.

    Attributes:
        fits: Whether it can be asked of such two.
        holds: Whether it does.
        fewest: Different calls that it must hold for.
    """

    fits: Callable[[Any, Any], bool]
    holds: Callable[[Any, Any], bool]
    fewest: int = _FEWEST


_RULES = (
    _Rule(lambda a, b: _has_length(a) and _has_length(b), lambda a, b: len(a) == len(b)),
    _Rule(lambda a, b: _has_length(a) and _has_length(b), lambda a, b: len(a) <= len(b), _FEWEST_ORDERED),
    _Rule(lambda a, b: _is_int(a) and _has_length(b), lambda a, b: a < len(b)),
    _Rule(lambda a, b: _is_int(a) and _has_length(b), lambda a, b: a <= len(b)),
    _Rule(lambda a, b: isinstance(b, list | tuple | dict) and not isinstance(a, list | dict), lambda a, b: a in b),
    _Rule(lambda a, b: isinstance(a, str) and isinstance(b, str), lambda a, b: a in b),
    _Rule(lambda a, b: _is_number(a) and _is_number(b), lambda a, b: a < b, _FEWEST_ORDERED),
    _Rule(lambda a, b: _is_number(a) and _is_number(b), lambda a, b: a <= b, _FEWEST_ORDERED),
    _Rule(lambda a, b: _is_number(a) and _is_number(b), lambda a, b: a == b),
)


def _are_of_one_kind(columns: Sequence[Sequence[Any]]) -> bool:
    """Whether three arguments or more are numbers of one size, such as the sides of a triangle."""
    if len(columns) < _FEWEST or not all(_is_number(value) for column in columns for value in column):
        return False
    types = {frozenset(type(value) for value in column) for column in columns}
    sizes = [max(map(abs, column)) for column in columns]
    return len(types) == 1 and max(sizes) <= 2 * min(sizes)


@final
class Domain:
    """What the calls of one function have in common.

    Args:
        known: Arguments of each call, as values.
    """

    def __init__(self, known: Sequence[Sequence[Any]]) -> None:
        counts = [len(arguments) for arguments in known]
        self._size = max(set(counts), key=lambda size: (counts.count(size), -size)) if counts else 0
        known = [list(arguments) for arguments in known if len(arguments) == self._size]
        columns = [[each[place] for each in known] for place in range(self._size)]
        if _are_of_one_kind(columns):
            columns = [[value for column in columns for value in column]] * self._size
        self._kinds: list[KindByType] = [argument_kind(column) for column in columns]
        different = list({repr(arguments): arguments for arguments in known}.values())
        self._rules = [
            (a, b, rule)
            for a, b in permutations(range(self._size), 2)
            for rule in _RULES
            if len(different) >= rule.fewest
            and all(rule.fits(each[a], each[b]) and rule.holds(each[a], each[b]) for each in different)
        ]

    @classmethod
    def of(cls, calls: Sequence[ProgramCall]) -> Domain:
        """What the calls of one function have in common."""
        return cls([[decoded(each) for each in arguments] for _, arguments in calls])

    def allows(self, arguments: Sequence[Any]) -> bool:
        """Whether a call is alike.

        Args:
            arguments: As a :data:`~spiritsafe.tasks.code.duet.behaviour.ProgramCall` has them.
        """
        try:
            values = [decoded(each) for each in arguments]
        except ValueError:
            return False
        if len(values) != self._size or not all(map(KindByType.allows, self._kinds, values)):
            return False
        return all(rule.fits(values[a], values[b]) and rule.holds(values[a], values[b]) for a, b, rule in self._rules)

    def draw(self, rng: Random) -> list[Any]:
        """Arguments that are likely alike, as values."""
        return [kind.draw(rng) for kind in self._kinds]


def inputs(calls: Sequence[ProgramCall], count: int, seed: int) -> list[ProgramCall]:
    """Further calls that the domain of their function allows, none twice and none of those that are known.

    Half of them are known calls a little changed, half are made from what is known of the arguments.

    Args:
        calls: Those that are known.
        count: How many more; there may be fewer.
        seed: Sets which.
    """
    by_name: dict[str, list[ProgramCall]] = {}
    for call in calls:
        by_name.setdefault(call[0], []).append(call)
    found: dict[str, ProgramCall] = {}
    for number, (name, known) in enumerate(sorted(by_name.items())):
        share = len(range(number, count, len(by_name)))
        found |= _of_one(name, known, share, seed)
    return list(found.values())


def _of_one(name: str, known: list[ProgramCall], count: int, seed: int) -> dict[str, ProgramCall]:
    domain, rng = Domain.of(known), Random(seed)
    old = {json.dumps(arguments) for _, arguments in known}
    found: dict[str, ProgramCall] = {}
    for number in range(_ROUNDS):
        before = len(found)
        varied = varied_calls(known, count=count, seed=seed + number)[len(known) :] if any(a for _, a in known) else []
        drawn = [(name, [encoded(each) for each in domain.draw(rng)]) for _ in range(count)]
        for pair in zip(varied, drawn, strict=False):
            for call in pair:
                text = json.dumps(call[1])
                if text in old or text in found or len(text) > _MOST_BYTES or not domain.allows(call[1]):
                    continue
                found[text] = call
                if len(found) == count:
                    return found
        if _FEWEST_NEW * (len(found) - before) < count:
            break  # there are hardly any others
    return found
