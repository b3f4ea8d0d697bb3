from __future__ import annotations

import datetime
import itertools
import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from spiritsafe.tasks.code.duet.inside.values import NotPlainError, Opaque, decoded, encoded, update

ATOMS: list[Any] = [
    None, True, False, 0, -1, 2**53 - 1, 2**53, -(2**53), 10**400, 0.0, -0.0, 0.1, 1e300, math.inf, -math.inf, math.nan,
    "", "é\n\"'\\", "\ud800", "\0", "[1]", b"", b"\0\xff", 1j, complex(-0.0, math.inf), Decimal("1.10"), Decimal("-0"),
    Decimal("Infinity"), Fraction(-3, 7), range(3), range(10**30, -5, -(10**29)), datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999999), datetime.time(1, 2, 3),
    datetime.timedelta(days=-1, microseconds=1),
]  # fmt: skip


def passed(value: Any) -> Any:
    """A value as the other side gets it."""
    return decoded(json.loads(json.dumps(encoded(value))))


def described(value: Any) -> Any:
    """A value in words of its own: type by type, so that 1, True and 1.0 differ, and NaN is NaN."""
    kind = type(value)
    if kind in (list, tuple, deque):
        return kind.__name__, [described(each) for each in value]
    if kind in (set, frozenset):
        return kind.__name__, sorted(map(repr, map(described, value)))
    if kind in (dict, Counter, OrderedDict):
        return kind.__name__, [(described(key), described(each)) for key, each in value.items()]
    return kind.__name__, ascii(value)


def drawn(rng: Random, depth: int = 0, *, is_key: bool = False) -> Any:
    kind = rng.randrange(10 if depth < 4 else 1)
    size = rng.randrange(4)
    if kind < 3:
        return rng.choice(ATOMS)
    if kind == 3 or is_key:
        return tuple(drawn(rng, depth + 1, is_key=is_key) for _ in range(size))
    if kind in (4, 5):
        return [drawn(rng, depth + 1) for _ in range(size)]
    if kind == 6:
        return deque(drawn(rng, depth + 1) for _ in range(size))
    if kind == 7:
        return rng.choice((set, frozenset))(drawn(rng, depth + 1, is_key=True) for _ in range(size))
    made = rng.choice((dict, OrderedDict))
    return made((drawn(rng, depth + 1, is_key=True), drawn(rng, depth + 1)) for _ in range(size))


@pytest.mark.parametrize("value", ATOMS, ids=ascii)
def test_what_is_plain_comes_across(value: Any) -> None:
    assert described(passed(value)) == described(value)
    encoded(value, strict=True)


def test_containers_come_across() -> None:
    rng = Random(0)
    for _ in range(2000):
        value = drawn(rng)
        assert described(passed(value)) == described(value)
    assert described(passed(Counter("abca"))) == described(Counter("abca"))
    assert described(passed(bytearray(b"ab"))) == described(bytearray(b"ab"))
    assert described(passed(defaultdict(int, {1: 2}))) == described({1: 2})


def test_views_and_iterators_come_across_as_what_they_give() -> None:
    given = {"a": 1, "b": 2}
    assert passed(given.keys()) == ["a", "b"]
    assert passed(given.items()) == [("a", 1), ("b", 2)]
    for iterator in ((n for n in range(3)), map(abs, [0, -1, 2]), iter([0, 1, 2]), iter((0, 1, 2))):
        found = passed(iterator)
        assert next(found) == 0
        assert list(found) == [1, 2]
    assert list(passed(zip("ab", [1, 2], strict=True))) == [("a", 1), ("b", 2)]


def test_named_tuples_are_tuples() -> None:
    point = namedtuple("point", "x y")  # as programs of models have them
    assert described(passed(point(1, 2))) == described((1, 2))


class Number(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Items(list[int]):
    def __eq__(self, other: object) -> bool:
        return True


class Pair(tuple[int, int]):
    __slots__ = ()

    def __iter__(self) -> Any:
        return iter("lies")


class Lie:
    @property  # type: ignore[misc]  # a lie
    def __class__(self) -> Any:
        return int

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "value",
    [Number(1), Text("a"), Items([1]), Lie(), object(), len, int, Pair((1, 2)), print, math],
    ids=lambda x: str(type(x)),
)
def test_what_is_not_plain_equals_nothing(value: Any) -> None:
    found: Any = passed(value)
    assert isinstance(found, Opaque)
    for other in (1, "a", [1], None, True, found, value):
        assert not (found == other)  # noqa: SIM201  both operators are meant
        assert found != other
        assert not (other == found) or other is value  # noqa: SIM201  what lies on this side is not ours
    assert passed([value]) != [1]
    with pytest.raises(NotPlainError):
        bool(found)
    anything: Any = found
    for act in (
        lambda: anything < 1,
        lambda: anything + 1,
        lambda: len(anything),
        lambda: iter(anything),
        lambda: {found},
    ):
        with pytest.raises(TypeError):
            act()
    with pytest.raises(NotPlainError):
        encoded([value], strict=True)


def test_what_has_no_end_is_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    value: Any
    for value in (itertools.repeat(1), itertools.count()):
        assert isinstance(passed(value), Opaque)
    for value in (nested, deep, (n for n in itertools.count()), map(abs, itertools.count()), [0] * 100_001):
        with pytest.raises(NotPlainError):
            encoded(value)
    for value in (1 << 400_004, -(1 << 400_004), range(1 << 400_004)):
        with pytest.raises(NotPlainError, match="digits"):
            encoded(value)
    assert len(passed([0] * 99_999)) == 99_999


def test_sets_are_written_in_one_order() -> None:
    words = [f"word {n}" for n in range(50)]
    assert encoded(set(words)) == encoded({*words[25:], *words[:25]})
    assert encoded({1, "1", (1,), None}) == encoded({None, (1,), "1", 1})


NONSENSE: list[Any] = [
    {}, {"a": 1}, [], [1], ["list"], ["list", 1], ["list", [], 1], ["unknown", 1], ["int", "x"], ["int", 5],
    ["int", None],
    ["set", [["list", []]]], ["dict", [[1]]], ["dict", [[["list", []], 1]]], ["bytes", "0"], ["Decimal", "x"],
    ["Fraction", "1/0"], ["range", ["0x0", "0x1", "0x0"]], ["date", "yesterday"], ["complex", 1], [["list"], []],
    ["timedelta", [1e300, 0, 0]], [None, None], ["dict", 5], ["Counter", [[1, {}]]], ["complex", ["a", "b", "c"]],
]  # fmt: skip


@pytest.mark.parametrize("data", NONSENSE, ids=str)
def test_nonsense_means_no_value(data: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  of any text
        decoded(data)


def test_nested_nonsense_means_no_value() -> None:
    data: Any = 1
    for _ in range(100_000):
        data = ["list", [data]]
    with pytest.raises(ValueError, match="RecursionError"):
        decoded(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1, [2]], [3]),
        ({"a": 1}, {"b": [2]}),
        ({1, 2}, {3}),
        (deque([1], maxlen=3), deque([2, 3])),
        (bytearray(b"ab"), bytearray(b"c")),
        (OrderedDict(a=1), OrderedDict(b=2, a=3)),
    ],
    ids=str,
)
def test_arguments_hold_what_the_function_left(old: Any, new: Any) -> None:
    alias = old
    update(old, new)
    assert alias is old
    assert old == new
    assert old is not new


def test_other_arguments_stay() -> None:
    for old, new in ((5, 6), ("a", "b"), ((1,), (2,)), ([1], {1}), ({1: 2}, [1]), ([1], Opaque("x")), (None, [1])):
        before = repr(old)
        update(old, new)
        assert repr(old) == before
