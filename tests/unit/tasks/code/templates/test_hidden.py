"""Hidden tests notice the faults that can be noticed, and faulty programs that never end do no harm."""

from __future__ import annotations

from random import Random

import pytest

from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.code.templates.hidden import hidden_inputs, noticed_by
from spiritsafe.tasks.code.templates.inputs import whole
from spiritsafe.tasks.code.templates.template import Exercise

_GOLD = """\
def count(n: int) -> int:
    steps = 0
    while n > 1:
        n = n // 2
        steps += 1
    return steps
"""
_EXERCISE = Exercise(gold=_GOLD, wordings=("",), supplies=(whole(0, 300),))


def test_a_fault_is_noticed_where_it_shows() -> None:
    late = _GOLD.replace("n > 1", "n > 2")
    assert noticed_by(_EXERCISE, late, [(0,), (1,), (2,), (3,), (5,)]) == {2, 4}
    assert noticed_by(_EXERCISE, _GOLD, [(n,) for n in range(50)]) == set()
    assert noticed_by(_EXERCISE, _GOLD.replace("steps = 0", "steps = False"), [(1,), (2,)]) == {0}  # False is not 0
    assert noticed_by(_EXERCISE, _GOLD.replace("// 2", "// 0"), [(1,), (2,)]) == {1}


@pytest.mark.parametrize("endless", ["n = n", "n = n + 1", "continue"])
def test_programs_that_never_end_are_stopped_and_soon_left_alone(endless: str) -> None:
    faulty = _GOLD.replace("n = n // 2", endless)
    assert noticed_by(_EXERCISE, faulty, [(0,), (7,), (9,), (11,), (13,)]) == {1, 2}


def test_a_program_may_be_slower_than_the_gold_solution() -> None:
    slow = _GOLD.replace("    while", "    for i in range(150):\n        steps += 0\n    while")
    assert noticed_by(_EXERCISE, slow, [(n,) for n in range(40)]) == set()


@pytest.mark.parametrize("name", ["two_rates", "longest_run", "packed_runs", "ledger", "store"])
def test_hidden_tests_notice_nearly_all_that_hundreds_of_inputs_notice(name: str) -> None:
    made = templates()[name]
    exercise = made.exercise(made.draw(Random(name)))
    hidden = hidden_inputs(exercise, 11)
    assert len(hidden) == 32
    assert len({repr(arguments) for arguments in hidden}) == 32
    assert hidden == hidden_inputs(exercise, 11)
    assert hidden != hidden_inputs(exercise, 12)
    many = exercise.inputs(Random(99), 400)
    noticed = unnoticed = 0
    for mutant in mutants_of(exercise.gold, "python"):
        if noticed_by(exercise, mutant.source, hidden):
            noticed += 1
        elif noticed_by(exercise, mutant.source, many):
            unnoticed += 1
    assert noticed > 20
    assert unnoticed <= noticed // 20


def test_hidden_tests_are_better_than_as_many_inputs() -> None:
    made = templates()["ledger"]
    exercise = made.exercise(made.draw(Random(4)))
    mutants = [mutant.source for mutant in mutants_of(exercise.gold, "python")]

    def strength(inputs: list[tuple[int | bool | str | list[int], ...]]) -> int:
        return sum(bool(noticed_by(exercise, mutant, inputs)) for mutant in mutants)

    assert strength(hidden_inputs(exercise, 3, 12)) > strength(exercise.inputs(Random(3), 12))


def test_few_inputs_are_all_taken() -> None:
    exercise = Exercise(gold=_GOLD, wordings=("",), supplies=(whole(0, 5),))
    assert sorted(hidden_inputs(exercise, 1)) == [(n,) for n in range(6)]
