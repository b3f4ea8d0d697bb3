from __future__ import annotations

from random import Random

import pytest

from spiritsafe.tasks.code.duet.kinds.numbers import FloatKind, IntKind


@pytest.mark.parametrize(
    ("seen", "allowed", "refused"),
    [
        ([3, 8, 40], [2, 3, 20, 44], [-3, 0, 1, 45, 400]),  # 0 and 1 are cases of their own
        ([0, 8], [0, 1, 9], [-1, 10]),
        ([-5, 3], [-3, 0, -5], [-6, 5]),
        ([2, 4, 8, 16, 90], [6, 98], [5, 7, 101]),  # even
        ([2, 4, 8, 16], [5, 7], []),  # too few for that
        ([3, 7, 13, 31, 101], [5, 11, 97], [9, 91, 1]),  # prime
        ([15, 27, 63, 330, 13195], [4, 14], [13, 31]),  # none of them
        ([1, 4, 9, 25, 36], [16], [15, 17]),  # squares
        ([0, 2, 3, 5, 7, 9], [8, 9], [10]),  # digits
        ([200, 1900, 2020], [20, 2222], [19, 2300]),
        ([0, 1] * 6, [0, 1], [2, -1]),  # names rather than amounts
        ([-4, -2], [-4, -3], [-5, 0, 2]),
    ],
)
def test_whole_numbers_alike(seen: list[int], allowed: list[int], refused: list[int]) -> None:
    kind = IntKind.of(seen)
    assert [each for each in [*seen, *allowed] if not kind.allows(each)] == []
    assert [each for each in refused if kind.allows(each)] == []


@pytest.mark.parametrize(
    ("seen", "allowed", "refused"),
    [
        ([0.5, 4.0], [1.0, 2.5], [0.0, 4.5, 1.25, 0.30000000000000004]),
        ([1.0, 3.0], [2.0], [2.5, 0.5]),
        ([-1.25, 2.0], [0.0, -0.75, 1.1], [2.125, -2.0, float("nan"), float("inf")]),
    ],
)
def test_numbers_with_a_point_alike(seen: list[float], allowed: list[float], refused: list[float]) -> None:
    kind = FloatKind.of(seen)
    assert [each for each in [*seen, *allowed] if not kind.allows(each)] == []
    assert [each for each in refused if kind.allows(each)] == []


@pytest.mark.parametrize("seen", [[3, 8, 40], [-5, 3], [0], [7, 1_000_000], [-9, -2]])
def test_whole_numbers_that_are_made_stay_within_and_reach_the_ends(seen: list[int]) -> None:
    kind, rng = IntKind.of(seen), Random(0)
    made = {kind.draw(rng) for _ in range(2000)}
    assert {kind.low, kind.low + 1} & {*made} == {kind.low, *({kind.low + 1} if kind.high > kind.low else ())}
    assert all(map(kind.allows, made))


def test_numbers_with_a_point_that_are_made_are_often_whole_and_often_those_seen() -> None:
    kind, rng = FloatKind.of([0.05, 0.3, 5.0]), Random(0)
    made = [kind.draw(rng) for _ in range(1000)]
    assert sum(map(float.is_integer, made)) > 200
    assert {0.05, 0.3, 5.0} <= set(made)
    assert all(map(kind.allows, made))


def test_what_is_no_number_is_no_end_of_those_seen() -> None:
    assert not FloatKind.of([1.0, float("inf"), 2.0]).allows(3.0)
