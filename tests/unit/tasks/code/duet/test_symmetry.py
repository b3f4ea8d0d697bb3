from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.code.duet.behaviour import ProgramCall
from spiritsafe.tasks.code.duet.inside.values import encoded
from spiritsafe.tasks.code.duet.symmetry import in_doubt, turned
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox


def calls(*arguments: tuple[Any, ...]) -> list[ProgramCall]:
    return [("f", [encoded(each) for each in one]) for one in arguments]


@pytest.mark.parametrize(
    ("kind", "arguments", "others"),
    [
        ("list", ([1, 2], "ab", [[1, 2], 3], 4), ([2, 1], "ab", [3, [1, 2]], 4)),
        ("str", ([1, 2], "ab", 4), ([1, 2], "ba", 4)),
        ("dict", ({"a": 1, "b": 2}, "ab"), ({"b": 2, "a": 1}, "ab")),
        ("list", ((1, 2), {1, 2}), ((1, 2), {1, 2})),
    ],
)
def test_arguments_of_a_kind_are_turned_round(kind: str, arguments: tuple[Any, ...], others: tuple[Any, ...]) -> None:
    (call,), (other,) = calls(arguments), calls(others)
    assert turned(call, kind) == other


CLOSEST = """
def f(numbers):
    pairs = [(b, a) for n, a in enumerate(numbers) for b in numbers[n + 1:]]
    return tuple(sorted(min(pairs, key=lambda pair: abs(pair[0] - pair[1]))))
"""
LONGEST = "def f(words): return max(words, key=len)"
MOST = "def f(text): return max(text, key=text.count) if text else ''"
BEST = "def f(points): return max(points, key=points.get)"


@pytest.mark.parametrize(
    ("gold", "known", "others", "doubtful"),
    [
        (CLOSEST, [([1, 5, 7],), ([9, 8, 3],), ([4, 4, 1],)], [([1, 2, 8],), ([1, 2, 8, 9],), ([3, 3],)], {1}),
        (CLOSEST, [([1, 5, 7],), ([9, 8, 3],)], [([1, 2, 8, 9],)], set()),  # too little is known
        (CLOSEST, [([1, 5, 7],), ([9, 8, 3],), ([4, 4],)], [([1, 2, 8, 9],)], set()),  # the last says nothing
        (LONGEST, [(["a", "bc"],), (["abc", "b"],), (["x", "y", "z"],)], [(["u", "v"],)], set()),  # the first, always
        (LONGEST, [(["a", "bc"],), (["abc", "b"],), (["x", "yy", "z"],)], [(["u", "v"],), (["u", "vw"],)], {0}),
        (MOST, [("aab",), ("abb",), ("caa",)], [("ab",), ("aba",), ("abbb",)], {0}),
        (BEST, [({"a": 1, "b": 2},), ({"a": 3, "b": 2},), ({"q": 1, "c": 4},)], [({"a": 1, "b": 1},)], {0}),
        (BEST, [({"a": 1, "b": 2},), ({"a": 3, "b": 2},), ({"q": 1, "c": 1},)], [({"a": 1, "b": 1},)], set()),
        ("def f(n): return n", [(1,), (2,), (3,)], [(4,)], set()),
    ],
)
def test_what_hangs_on_an_order_that_means_nothing_is_in_doubt(
    gold: str, known: list[tuple[Any, ...]], others: list[tuple[Any, ...]], doubtful: set[int]
) -> None:
    assert in_doubt(shared_sandbox(), gold, calls(*known), calls(*others)) == doubtful
