"""Kinds of any values: of each type its own, and of what holds others what it holds.

In: values that were seen in one place. Out: which others are alike.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Protocol, final

from spiritsafe.tasks.code.duet.kinds.numbers import FloatKind, IntKind
from spiritsafe.tasks.code.duet.kinds.texts import Texts

_FEWEST = 3
_SURELY = 100.0
"""How unlikely an accident must be, one to so many, for what held for all lists to be a rule."""
_COLLISIONS = 6.0
"""How many pairs of equal items lists should have had by chance, for their having none to be a rule."""
_RARE = 3
_FOLDS = (list, tuple, deque, set, frozenset)
_MAPS = (dict, Counter, OrderedDict)


class ArgumentKind(Protocol):
    """What values of one place have in common."""

    def allows(self, value: Any) -> bool:
        """Whether it is alike."""
        ...

    def draw(self, rng: Random) -> Any:
        """One that is likely alike."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Exactly:
    """Those that were seen, and no others."""

    seen: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        """Whether it was seen."""
        return any(type(value) is type(each) and value == each for each in self.seen)

    def draw(self, rng: Random) -> Any:
        """One of them."""
        return rng.choice(self.seen)


@final
@dataclass(frozen=True, slots=True)
class KindByType:
    """Values of several types, each with its own kind and as often as it was seen."""

    kinds: dict[type, ArgumentKind]
    counts: dict[type, int]

    def allows(self, value: Any) -> bool:
        """Whether it is alike to those of its type."""
        kind = self.kinds.get(type(value))
        return kind is not None and kind.allows(value)

    def draw(self, rng: Random) -> Any:
        """One that is likely alike."""
        types = list(self.kinds)
        return self.kinds[rng.choices(types, [self.counts[each] for each in types])[0]].draw(rng)


def argument_kind(values: Sequence[Any]) -> KindByType:
    """The kind of values that were seen in one place, at least one.

    A type of which there is one among many others is as it was seen.
    """
    groups: dict[type, list[Any]] = {}
    for value in values:
        groups.setdefault(type(value), []).append(value)
    kinds: dict[type, ArgumentKind] = {}
    for kind, group in groups.items():
        is_rare = len(group) == 1 and len(values) > _RARE
        kinds[kind] = Exactly(tuple(group)) if is_rare else _kind_of_type(kind, group)
    return KindByType(kinds, {kind: len(group) for kind, group in groups.items()})


def _kind_of_type(kind: type, group: list[Any]) -> ArgumentKind:
    if kind is bool:
        return Exactly((False, True))
    if kind is int:
        return IntKind.of(group)
    if kind is float:
        return FloatKind.of(group)
    if kind is str:
        return Texts.of(group)
    if kind in _FOLDS:
        return Items.of(group)
    if kind in _MAPS:
        return Mappings.of(group)
    return Exactly(tuple(group))


@final
@dataclass(frozen=True, slots=True)
class Items:
    """Lists, tuples and sets.

    Attributes:
        seen: Those that were seen.
        lengths: The least and the most that are allowed.
        items: What each item is like; None: none was seen.
        places: What the item of each place is like, where all have as many and these differ by place.
        is_sorted: Items stand by size.
        is_distinct: No item stands twice.
        is_even: Items, lists themselves, are of one length; square: as long as there are of them.
        is_square: See ``is_even``.
        length_step: All lengths are multiples of it.
    """

    seen: tuple[Any, ...]
    lengths: range
    items: ArgumentKind | None
    places: tuple[ArgumentKind, ...]
    is_sorted: bool
    is_distinct: bool
    is_even: bool
    is_square: bool
    length_step: int

    @classmethod
    def of(cls, group: Sequence[Any]) -> Items:
        """The kind of such lists, all of one type."""
        sizes = [len(each) for each in group]
        least, most = min(sizes), max(sizes)
        lists = [list(each) for each in group if len(each)]
        nested = [each for each in lists if all(isinstance(row, list | tuple) for row in each)]
        is_fixed = least == most and len({repr(each) for each in group}) >= _FEWEST and 1 < most <= 6
        many = len({size for size in sizes if size}) >= _FEWEST
        return cls(
            seen=tuple(group),
            lengths=range(least, most + 1) if is_fixed else _lengths(sizes),
            items=argument_kind([item for each in lists for item in each]) if lists else None,
            places=_places(lists) if is_fixed else (),
            is_sorted=_is_sorted_rule(lists),
            is_distinct=_is_distinct_rule(lists),
            is_even=bool(nested) and len(nested) == len(lists) and all(map(_has_even_rows, nested)),
            is_square=bool(nested) and len(nested) == len(lists) and all(map(_is_square, nested)),
            length_step=2 if many and len(sizes) > 2 * _FEWEST and all(size % 2 == 0 for size in sizes) else 1,
        )

    def allows(self, value: Any) -> bool:
        """Whether it is alike."""
        items = list(value)
        if len(items) not in self.lengths or len(items) % self.length_step:
            return False
        if self.places:
            return all(kind.allows(item) for kind, item in zip(self.places, items, strict=True))
        if items and (self.items is None or not all(map(self.items.allows, items))):
            return False
        if self.is_sorted and not _stands_by_size(items):
            return False
        if self.is_distinct and len({repr(item) for item in items}) < len(items):
            return False
        return (not self.is_even or _has_even_rows(items)) and (not self.is_square or _is_square(items))

    def draw(self, rng: Random) -> Any:
        """One that is likely alike: of fresh items, or of few that stand more than once, or mirrored."""
        kind = type(self.seen[0])
        if self.places:
            return kind([each.draw(rng) for each in self.places])
        if self.items is None:
            return kind()
        length = min(rng.choice(self.lengths), rng.choice((1, 2, 3, 4, 6, 10)))
        length = max(length - length % self.length_step, self.lengths[0])
        old = list(rng.choice(self.seen))
        pool = [self.items.draw(rng) for _ in range(rng.choice((1, 2, 3, 8)))] + (old if rng.random() < 0.3 else [])
        fresh = [rng.choice(pool) if rng.random() < 0.7 else self.items.draw(rng) for _ in range(length)]
        way = rng.randrange(6)
        if way == 0:
            fresh = fresh[: (length + 1) // 2]
            fresh += fresh[::-1][length % 2 :]
        elif way == 1 and _can_sort(fresh):
            fresh.sort()
        if self.is_even or self.is_square:
            width = min(len(row) for row in fresh) if fresh and not self.is_square else len(fresh)
            fresh = [_resized(row, width, rng) for row in fresh]
        if self.is_distinct:
            fresh = list({repr(item): item for item in fresh}.values())
        if self.is_sorted and _can_sort(fresh):
            fresh.sort()
        return kind(fresh)


def _lengths(sizes: Sequence[int]) -> range:
    """From none, if there was one of none, or from one, to a third more than the most."""
    most = max(sizes)
    return range(min(*sizes, 1), (most + max(1, most // 3) if most > 1 else 1) + 1)


def _resized(row: Any, width: int, rng: Random) -> Any:
    items = list(row)
    while items and len(items) < width:
        items.append(rng.choice(items))
    return type(row)(items[:width])


def _places(lists: Sequence[list[Any]]) -> tuple[ArgumentKind, ...]:
    """Kinds by place, where types tell places apart."""
    types = [{type(each[place]) for each in lists} for place in range(len(lists[0]))]
    if all(len(each) == 1 for each in types) and len(set(map(frozenset, types))) > 1:
        return tuple(argument_kind([each[place] for each in lists]) for place in range(len(lists[0])))
    return ()


def _can_sort(items: list[Any]) -> bool:
    try:
        sorted(items)
    except TypeError:
        return False
    return True


def _stands_by_size(items: list[Any]) -> bool:
    try:
        return all(not after < before for before, after in pairwise(items))
    except TypeError:
        return False


def _is_run(items: list[Any]) -> bool:
    """What comes to mind first: 1, 2, 3."""
    numbers = [item for item in items if isinstance(item, int | float)]
    return len(numbers) == len(items) and all(after - before == 1 for before, after in pairwise(numbers))


def _is_sorted_rule(lists: Sequence[list[Any]]) -> bool:
    """All lists stand by size, and those that no one would write down without thinking are enough for it."""
    different = [each for each in {repr(each): each for each in lists}.values() if not _is_run(each)]
    chances = math.prod(min(math.factorial(min(len(each), 9)), 10_000) for each in different)
    return len(different) >= 2 and chances >= _SURELY and all(map(_stands_by_size, lists))


def _is_distinct_rule(lists: Sequence[list[Any]]) -> bool:
    """No list has an item twice, although chance would have had it so."""
    texts = [[repr(item) for item in each] for each in lists]
    if any(len(set(each)) < len(each) for each in texts):
        return False
    counts = Counter(item for each in texts for item in each)
    total = sum(counts.values())
    likely = sum((count / total) ** 2 for count in counts.values())
    return sum(math.comb(len(each), 2) for each in texts) * likely >= _COLLISIONS


def _has_even_rows(rows: Sequence[Any]) -> bool:
    return len({len(row) for row in rows}) <= 1


def _is_square(rows: Sequence[Any]) -> bool:
    return all(len(row) == len(rows) for row in rows)


@final
@dataclass(frozen=True, slots=True)
class Mappings:
    """Dictionaries.

    Attributes:
        seen: Those that were seen.
        lengths: The least and the most pairs that are allowed.
        keys: What each key is like; None: none was seen.
        values: What each value is like; None: none was seen.
        fixed: What stands at each key, where all have the same.
    """

    seen: tuple[Any, ...]
    lengths: range
    keys: ArgumentKind | None
    values: ArgumentKind | None
    fixed: dict[Any, ArgumentKind]

    @classmethod
    def of(cls, group: Sequence[Any]) -> Mappings:
        """The kind of such dictionaries, all of one type."""
        keys = [key for each in group for key in each]
        values = [value for each in group for value in each.values()]
        is_fixed = len({frozenset(each) for each in group}) == 1 and len({repr(each) for each in group}) >= _FEWEST
        return cls(
            seen=tuple(group),
            lengths=_lengths([len(each) for each in group]),
            keys=argument_kind(keys) if keys else None,
            values=argument_kind(values) if keys else None,
            fixed={key: argument_kind([each[key] for each in group]) for key in group[0]} if is_fixed else {},
        )

    def allows(self, value: Any) -> bool:
        """Whether it is alike."""
        if self.fixed:
            return set(value) == set(self.fixed) and all(self.fixed[key].allows(each) for key, each in value.items())
        if len(value) not in self.lengths:
            return False
        if self.keys is None or self.values is None:
            return not value
        return all(map(self.keys.allows, value)) and all(map(self.values.allows, value.values()))

    def draw(self, rng: Random) -> Any:
        """One that is likely alike: of fresh pairs, and of some that were seen."""
        kind = type(self.seen[0])
        if self.fixed:
            return kind({key: each.draw(rng) for key, each in self.fixed.items()})
        if self.keys is None or self.values is None:
            return kind()
        old = list(rng.choice(self.seen).items())
        pairs = rng.sample(old, rng.randint(0, len(old)))
        pairs += [(self.keys.draw(rng), self.values.draw(rng)) for _ in range(rng.choice(self.lengths) - len(pairs))]
        return kind(dict(pairs))
