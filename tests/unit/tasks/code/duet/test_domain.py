from __future__ import annotations

import json
from typing import Any

import pytest

from spiritsafe.tasks.code.duet.behaviour import ProgramCall
from spiritsafe.tasks.code.duet.domain import Domain, inputs
from spiritsafe.tasks.code.duet.inside.values import decoded, encoded


def calls(*arguments: tuple[Any, ...], name: str = "f") -> list[ProgramCall]:
    return [(name, [encoded(each) for each in one]) for one in arguments]


@pytest.mark.parametrize(
    ("known", "allowed", "refused"),
    [
        ([("110", "101"), ("1", "0"), ("01", "11")], [("00", "11")], [("0", "11"), ("0",), ("0", "1", "1")]),
        ([("110", "101"), ("1", "01"), ("01", "11")], [("0", "11")], []),
        ([([5, 3, 9], 1), ([4, 4], 0), ([7, 1, 2, 3], 3)], [([3, 3], 1), ([1, 2, 3], 2)], [([3, 3], 2), ([3], 1)]),
        ([([5, 3, 9], 3), ([4, 4], 0), ([7, 1, 2, 3], 3)], [([3, 3], 2)], [([3, 3], 3)]),  # as many as there are
        ([([5, 3, 9], 9), ([4, 4], 4), ([7, 1, 2], 1)], [([3, 8], 8)], [([3, 8], 7)]),  # one of them
        ([("cat", "scatter"), ("a", "ban"), ("no", "snow")], [("t", "cat")], [("z", "cat")]),
        ([(1, 5), (2, 3), (5, 9), (4, 8), (1, 2)], [(3, 4)], [(4, 3), (4, 4)]),
        ([(1, 5), (2, 3), (5, 9), (4, 8)], [(4, 3)], []),  # too few for that
        ([(1, 5), (2, 2), (5, 9), (4, 8), (1, 2)], [(4, 4)], [(4, 3)]),
    ],
)
def test_arguments_go_together(
    known: list[tuple[Any, ...]], allowed: list[tuple[Any, ...]], refused: list[tuple[Any, ...]]
) -> None:
    domain = Domain.of(calls(*known))
    assert [each for each in calls(*known, *allowed) if not domain.allows(each[1])] == []
    assert [each for each in calls(*refused) if domain.allows(each[1])] == []


def test_three_numbers_of_one_size_are_of_one_kind() -> None:
    sides = Domain.of(calls((3, 4, 5), (0, 2, 6), (4, 4, 4)))
    assert all(sides.allows(each) for each in ([4, 0, 6], [6, 6, 0]))
    places = Domain.of(calls((3, 4, 50), (0, 2, 60), (4, 4, 40)))
    assert not places.allows([3, 50, 4])
    assert not places.allows([4, 0, 50])


def test_what_means_no_value_is_not_allowed() -> None:
    assert not Domain.of(calls((1,), (2,))).allows([["int", "nonsense"]])
    assert not Domain.of(calls((1,), (2,))).allows([{}])


def test_a_call_is_the_same_twice_only_once() -> None:
    domain = Domain.of(calls(*[("aa", "bb")] * 9))  # nine times is no evidence
    assert domain.allows(["aa", "bbb"])


def test_inputs_are_new_allowed_many_and_the_same_by_their_seed() -> None:
    known = calls(([1.0, 2.5, 4.0], 0.5), ([3.0, 2.0], 1.0), ([1.0, 1.0, 5.0], 0.3))
    made = inputs(known, 500, 3)
    domain = Domain.of(known)
    assert len(made) == 500
    assert len({json.dumps(each) for each in [*made, *known]}) == 503
    assert all(domain.allows(arguments) for _, arguments in made)
    assert made == inputs(known, 500, 3)
    assert made != inputs(known, 500, 4)


def test_a_small_domain_is_given_whole_and_quickly() -> None:
    made = inputs(calls((3,), (5,), (9,)), 1000, 0)
    assert sorted(decoded(arguments[0]) for _, arguments in made) == [2, 4, 6, 7, 8, 10]


def test_of_several_functions_each_has_its_share() -> None:
    made = inputs([*calls((3,), (500,)), *calls(("ab",), ("xyz",), name="g")], 100, 0)
    assert [name for name, _ in made].count("f") == 50
    assert all(isinstance(arguments[0], str) for name, arguments in made if name == "g")


def test_functions_without_arguments_have_no_further_inputs() -> None:
    assert inputs(calls(()), 10, 0) == []
    assert inputs([], 10, 0) == []
