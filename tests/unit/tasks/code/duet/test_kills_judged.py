"""What tests are worth, from how turns went, without a sandbox."""

from __future__ import annotations

from spiritsafe.tasks.code.duet.duet import DuetTurn, TestRun
from spiritsafe.tasks.code.duet.kills import (
    FIRST_TURNS,
    LATER_TURNS,
    judged_kills,
    later_order,
    mutant_cpu_s,
    why_broken,
)

NAMES = ("a", "b", "c")


def turn(program: int, outcomes: str, *, cpu_s: float = 0.0) -> DuetTurn:
    """Of each test a letter: passed, failed, exited, unknown; what is missing did not run."""
    words = {"p": "passed", "f": "failed", "e": "exited", "u": "unknown"}
    runs = tuple(TestRun(name, words[one]) for name, one in zip(NAMES, outcomes, strict=False))  # type: ignore[arg-type]
    return DuetTurn(program=program, tests=runs, has_ended=len(runs) == len(NAMES), cpu_s=cpu_s)


GOLDS = [turn(0, "ppp")] * LATER_TURNS


def test_valid_tests_kill_what_they_fail_on() -> None:
    later = [*GOLDS, turn(1, "pfp"), turn(2, "ppp"), turn(3, "epf"), turn(5, "pu")]
    kills = judged_kills(NAMES, GOLDS[:2], later, num_mutants=5, layer="here")
    assert kills.killed_by == {0: ("b",), 2: ("a", "c"), 4: ("c",)}
    assert (kills.invalid, kills.not_run, kills.layer) == ({}, frozenset({3}), "here")
    assert kills.valid == list(NAMES)


def test_a_test_that_fails_every_time_harms_no_other() -> None:
    golds = [turn(0, "pfp")] * (FIRST_TURNS + LATER_TURNS)
    kills = judged_kills(NAMES, golds[:2], [*golds[2:], turn(1, "pff")], num_mutants=1, layer="")
    assert set(kills.invalid) == {"b"}
    assert kills.killed_by == {0: ("c",)}


def test_a_test_that_both_passes_and_fails_harms_all() -> None:
    for bad in "fe":
        for place in range(5):
            golds = [turn(0, "ppp")] * (FIRST_TURNS + LATER_TURNS)
            golds[place] = turn(0, f"p{bad}p")
            kills = judged_kills(NAMES, golds[:2], [*golds[2:], turn(1, "fff")], num_mutants=1, layer="")
            assert set(kills.invalid) == set(NAMES)
            assert "b passes and fails" in kills.invalid["a"]
            assert kills.killed_by == {}


def test_a_turn_of_the_gold_that_is_missing_harms_all() -> None:
    kills = judged_kills(NAMES, GOLDS[:2], [*GOLDS[:2], turn(1, "fff")], num_mutants=2, layer="", stop="time")
    assert kills.invalid == dict.fromkeys(NAMES, "it was ended with the rest: time")
    assert (kills.killed_by, kills.not_run) == ({}, frozenset({1}))


def test_without_later_turns_nothing_is_said_of_mutants() -> None:
    kills = judged_kills(NAMES, [turn(0, "fff")] * 2, None, num_mutants=3, layer="")
    assert set(kills.invalid) == set(NAMES)
    assert (kills.killed_by, kills.not_run) == ({}, frozenset())


def test_the_order_has_every_mutant_once_and_hides_the_gold_among_them() -> None:
    orders = [later_order(range(1, 31)) for _ in range(40)]
    assert all(sorted(order) == [*[0] * LATER_TURNS, *range(1, 31)] for order in orders)
    assert len({tuple(order) for order in orders}) == 40
    assert len({order.index(0) for order in orders}) > 5


def test_what_a_mutant_may_compute_follows_from_the_gold() -> None:
    assert mutant_cpu_s([turn(0, "ppp", cpu_s=0.5), turn(0, "ppp", cpu_s=0.25)]) == 10.0
    assert mutant_cpu_s([turn(0, "ppp")]) == 0.1


def test_why_there_are_no_tests_at_all() -> None:
    assert why_broken([turn(0, "ppp")] * FIRST_TURNS) == ""
    assert why_broken([turn(0, "pfp")] * FIRST_TURNS) == ""
    assert why_broken([turn(0, "ppp")], stop="memory") == "it was ended: memory"
    assert why_broken([turn(0, "pp")] * FIRST_TURNS) == "the tests did not come to their end"
