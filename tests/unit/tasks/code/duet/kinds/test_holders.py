from __future__ import annotations

from random import Random
from typing import Any

import pytest

from spiritsafe.tasks.code.duet.kinds.holders import argument_kind

SEEN_SORTED = [[1, 5, 9], [2, 3, 40, 41], [7, 19, 25], [0, 4]]


@pytest.mark.parametrize(
    ("seen", "allowed", "refused"),
    [
        ([[1, 2], [5]], [[2, 2, 4], [3]], [[], [9], ["a"], (1, 2), [1.0], [1] * 9, [True]]),
        ([[], [3]], [[], [3]], [[4.0], [[]]]),
        ([[1, 2, 3], [4, 5, 6, 7]], [[3, 2, 7], [1]], [[], [1] * 6]),
        (SEEN_SORTED, [[1, 2, 2], [8, 8]], [[2, 1]]),
        ([[1, 2, 3], [1, 2, 3, 4], [2, 3]], [[3, 1]], []),  # who writes these down need not mean it
        ([[3, 1, 2], [2, 3, 1, 4], [1, 2, 4, 3], [4, 3, 2, 1], [3, 2, 4, 1]], [[4, 2]], [[1, 1]]),  # none stands twice
        ([[3, 1, 50], [2, 99, 1]], [[1, 1]], []),  # by chance
        ([[[1, 2], [3, 4]], [[5]]], [[[2, 3], [1, 4]], [[2]]], [[[1, 2]], [[1], [2]], [[1, 2], [3]]]),
        ([[[1, 2, 3], [3, 4, 5]], [[5], [6], [7]]], [[[2, 3], [1, 4]]], [[[1, 2], [3]]]),
        ([("a", 1), ("b", 5), ("c", 2)], [("z", 3)], [(1, "a"), ("a",), ("a", 1, 2), ["a", 1]]),
        ([{"a": 1}, {"b": 2, "c": 4}], [{"x": 3}, {"a": 1, "q": 1}], [{}, {1: 1}, {"a": "b"}, {"abcdef": 1}]),
        ([{"x": 1, "y": 2}, {"x": 4, "y": 1}, {"y": 2, "x": 2}], [{"x": 2, "y": 2}], [{"x": 1}, {"x": 1, "z": 1}]),
        ([True], [False], [1, None]),
        ([None, 3, 5], [None, 4], [False, 0]),
        ([1, 2, 3, "word"], ["word"], ["other"]),  # one among many is as it was
        ([{1, 2}, {3}], [{2, 3}], [set(), [1]]),
        ([b"x"], [b"x"], [b"y"]),
    ],
)  # fmt: skip
def test_values_alike(seen: list[Any], allowed: list[Any], refused: list[Any]) -> None:
    kind = argument_kind(seen)
    assert [each for each in [*seen, *allowed] if not kind.allows(each)] == []
    assert [each for each in refused if kind.allows(each)] == []


def test_many_lists_of_even_lengths_have_only_such() -> None:
    kind = argument_kind([[1] * length for length in (2, 4, 6, 8, 2, 4, 6)])
    assert kind.allows([1] * 4)
    assert not kind.allows([1] * 3)


@pytest.mark.parametrize(
    "seen",
    [
        [[1, 2], [5, 3]],
        SEEN_SORTED,
        [[3, 1, 2], [2, 3, 1, 4], [1, 2, 4, 3], [4, 3, 2, 1], [3, 2, 4, 1]],
        [[[1, 2], [3, 4]], [[5, 1, 2], [3, 3, 3], [1, 1, 1]]],
        [("a", 1), ("b", 5), ("c", 2)],
        [{"a": 1, "x": 2}, {"b": 2, "c": 4}],
        [{"x": 1, "y": 2}, {"x": 4, "y": 1}, {"y": 2, "x": 2}],
        [1, 2.5, "word", "other", 7],
        [{1, 2}, {3, 9}],
    ],
)
def test_much_of_what_is_made_is_allowed_and_new(seen: list[Any]) -> None:
    kind, rng = argument_kind(seen), Random(0)
    made = [kind.draw(rng) for _ in range(300)]
    allowed = [value for value in made if kind.allows(value)]
    assert len(allowed) > 40
    assert len({repr(value) for value in allowed} - {repr(value) for value in seen}) > 5


def test_some_lists_that_are_made_hold_an_item_twice() -> None:
    kind, rng = argument_kind([[1, 2, 70], [5, 3, 99, 1]]), Random(0)
    made = [kind.draw(rng) for _ in range(200)]
    assert sum(len(set(each)) < len(each) for each in made) > 50


def test_empty_lists_alone_make_empty_lists() -> None:
    assert argument_kind([[], []]).draw(Random(0)) == []
