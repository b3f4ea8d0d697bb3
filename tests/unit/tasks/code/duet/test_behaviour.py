from __future__ import annotations

from typing import Any

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.code.duet.behaviour import (
    BehaviourError,
    ProgramCall,
    behaviours,
    first_difference,
    varied_calls,
)
from spiritsafe.tasks.code.duet.inside.values import decoded, encoded
from spiritsafe.tasks.sandbox.job import RunResult, RunStepResult
from spiritsafe.tasks.sandbox.layers import strongest_layer as best_layer

GOLD = "def f(x):\n    if x < 0: raise ValueError(x)\n    return x * x\n"
CALLS: list[ProgramCall] = [("f", [n]) for n in (-1, 0, 1, 2, 3)]


def digests(
    *programs: str, calls: list[ProgramCall] = CALLS, on: str | None = None, cpu_s: float = 2.0
) -> list[list[str]]:
    return behaviours(sandbox_of(on or best_layer()), programs, calls, cpu_s=cpu_s)


@every_layer
def test_programs_that_do_the_same_give_the_same(layer: str) -> None:
    other = "def f(y):\n    if 0 > y: raise ValueError('other words')\n    return y ** 2\n"
    doubles = GOLD.replace("x * x", "2 * x")
    one, same, different = digests(GOLD, other, doubles, on=layer)
    assert len(one) == len(CALLS)
    assert one[0].startswith("!")
    assert one == same
    assert [n for n in range(5) if one[n] != different[n]] == [2, 4]
    assert first_difference(one, different) == 2
    assert first_difference(one, same) is None


@every_layer
def test_programs_that_end_loop_or_do_not_load_give_what_they_gave_before(layer: str) -> None:
    loops = GOLD.replace("return", "while x == 2: pass\n    return")
    ends = GOLD.replace("return", "import os\n    if x == 1: os._exit(0)\n    return")
    gold, looped, ended, broken, missing, last = digests(GOLD, loops, ends, "1/0", "x = 1", GOLD, on=layer)
    assert looped == gold[:3]
    assert ended == gold[:2]
    assert broken == []
    assert len(missing) == 5
    assert all(each.startswith("!") for each in missing)
    assert last == gold
    assert [first_difference(gold, each) for each in (looped, ended, broken, missing)] == [3, 2, 1, 1]


def test_the_first_program_says_how_long_the_others_may_take() -> None:
    slow = GOLD.replace(
        "return", "for _ in range(2 * 10**7): pass\n    return"
    )  # about a second, for each of four calls
    gold, cut = digests(GOLD, slow, cpu_s=600.0)
    assert len(cut) < len(gold)
    first, second = digests(slow, GOLD, cpu_s=600.0)
    assert first == second == gold


def test_more_programs_than_go_into_one_run() -> None:
    programs = [GOLD.replace("x * x", f"x * x + {n}") for n in range(203)]
    found = digests(*programs, calls=CALLS[:2])
    assert len({each[1] for each in found}) == 203


def test_a_run_that_was_ended_from_outside_is_no_behaviour() -> None:
    class Ended:
        def run(self, run: object) -> RunResult:
            return RunResult(steps=(RunStepResult(),), stop="time", files={}, layer="x")

    with pytest.raises(BehaviourError, match="time"):
        behaviours(Ended(), [GOLD], CALLS)  # type: ignore[arg-type]  # what it needs of a sandbox


def test_the_first_difference_is_where_the_gold_has_a_value() -> None:
    assert first_difference(["!a", "b", "c"], ["x", "b", "c"]) is None
    assert first_difference(["a", "b"], ["a", "!b"]) == 1
    assert first_difference(["a", "b"], ["a"]) == 1
    assert first_difference(["a", "!b"], ["a"]) is None
    assert first_difference([], ["a"]) is None


def test_calls_vary_and_keep_their_types() -> None:
    arguments: list[list[Any]] = [
        [1, "abc", [1, 2], {"a": 1}, True, 1.5, (1, "x"), {1, 2}],
        [7, "", [], {}, False, -0.5, (2, "y"), {5}],
    ]
    calls: list[ProgramCall] = [("f", [encoded(each) for each in one]) for one in arguments] + [("g", [])]
    found = varied_calls(calls, count=2000, seed=1)
    assert found[:3] == calls
    assert len(found) == 2003
    assert found == varied_calls(calls, count=2000, seed=1)
    assert found != varied_calls(calls, count=2000, seed=2)
    places: list[set[str]] = [set() for _ in range(8)]
    for name, given in found[3:]:
        assert name == "f"
        values = [decoded(each) for each in given]
        assert [type(value) for value in values] == [int, str, list, dict, bool, float, tuple, set]
        assert all(type(each) is int for each in values[2])
        for place, value in enumerate(values):
            places[place].add(repr(value))
    assert [len(each) for each in places[4:5]] == [2]
    assert all(len(each) > 10 for place, each in enumerate(places) if place not in (3, 4))


def test_calls_without_arguments_cannot_vary() -> None:
    assert varied_calls([("g", [])], count=5, seed=0) == [("g", [])]
    assert varied_calls([], count=5, seed=0) == []
