from __future__ import annotations

import pytest

from spiritsafe.tasks.code.duet.outcomes import plain_result, telling


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1", (1,)),
        ("null", (None,)),
        ('["list", [1, 0.5]]', ([1, 0.5],)),
        ("!abc", ()),
        ('["list", [["opaque", "thing"]]]', ()),
        ('["iterator", [1]]', ()),
        ("NaN", ()),
        ('["list", [Infinity]]', ()),
        (f'"{"x" * 3000}"', ()),
    ],
)
def test_results_that_others_can_be_compared_with(text: str, result: tuple[object, ...]) -> None:
    assert plain_result(["2", text], 1) == result


def test_there_is_no_result_behind_the_end() -> None:
    assert plain_result(["1"], 1) == ()


def test_calls_tell_by_values_errors_and_an_early_end() -> None:
    gold = ["1", "2", "!x", "0.3", "5", "6", "7"]
    assert telling(gold, gold) == frozenset()
    assert telling(gold, ["1", "3", "4", "0.30000000000000004", "!y"]) == {1, 4, 5}  # it ended in the sixth


def test_no_more_is_compared_than_counts() -> None:
    gold, other = ['["list", [1, 2]]', "false"], ['["list", [2, 1]]', "null"]
    assert telling(gold, other) == {0, 1}
    assert telling(gold, other, ("order",)) == {1}
    assert telling(gold, other, ("order", "truth")) == frozenset()
