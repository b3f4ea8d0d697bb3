from __future__ import annotations

from collections import Counter

import pytest
from duet_parts import kills
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.code.duet.duet import DuetTurn, TestRun
from spiritsafe.tasks.code.duet.kills import (
    FIRST_TURNS,
    LATER_TURNS,
    judged_kills,
    kills_of,
    later_order,
    mutant_cpu_s,
)
from spiritsafe.tasks.sandbox.layers import strongest_layer
from spiritsafe.tasks.sandbox.sandbox import Sandbox

GOLD = "def f(xs, k):\n    s = 0\n    for x in xs:\n        if x > k:\n            s += x\n    return s\n"


@every_layer
def test_tests_kill_what_they_tell_from_the_right_program(layer: str) -> None:
    mutants = [
        GOLD.replace("x > k", "x >= k"),
        GOLD.replace("s = 0", "s = 1"),
        GOLD.replace("return s", "return 0"),
        GOLD.replace("for x in xs:", "while True:\n        x = k"),  # has no end
        GOLD.replace("def f", "1/0\ndef f"),  # does not load
        GOLD.replace("def f", "def g"),  # is not there
        GOLD + "# the same\n",
        GOLD.replace("s += x", "import os; os._exit(0)"),
    ]
    tests = """from solution import f
def test_some(): assert f([1, 5], 1) == 5
def test_none(): assert f([], 0) == 0
def test_wrong(): assert f([1], 0) == 7
def test_edge(): assert f([2], 2) == 0
"""
    found = kills(tests, GOLD, *mutants, on=layer)
    assert found.broken == ""
    assert found.tests == ("test_some", "test_none", "test_wrong", "test_edge")
    assert list(found.invalid) == ["test_wrong"]
    assert found.valid == ["test_some", "test_none", "test_edge"]
    valid = tuple(found.valid)
    assert found.killed_by == {
        0: ("test_some", "test_edge"),
        1: valid,
        2: ("test_some",),
        3: ("test_some",),  # what came later is not known
        4: valid,
        5: valid,
        7: ("test_some",),
    }
    assert found.not_run == frozenset()
    assert found.layer.startswith(layer)


MUTANTS = [GOLD.replace("s = 0", f"s = {n}") for n in range(1, 11)]
WORTHLESS = {
    "no test": "x = 1\n",
    "does not load": "def test_a(:\n",
    "does not load either": "import nothing_like_it\ndef test_a(): pass\n",
    "ends when loaded": "import os\nos._exit(0)\n",
    "ends in the middle": "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)\n",
    "has no end": "def test_a():\n    while True: pass\n",
    "sleeps": "import time\ndef test_a(): time.sleep(3600)\n",
    "wrong": "def test_a(): assert f([1], 0) == 2\n",
    "nothing tested": "def test_a(): pass\n",
    "skipped": "import pytest\ndef test_a(): pytest.skip()\n",
    "own copy": GOLD.replace("s = 0", "s = 5") + "def test_a(): assert f([], 0) == 5\n",
    "fickle": (
        "import pytest, random\nrandom.seed()\n"
        "@pytest.mark.parametrize('n', range(200))\ndef test_a(n): assert random.random() < 0.9\n"
    ),
}


_SLOW = ("has no end", "sleeps")


@pytest.mark.parametrize("what", [pytest.param(what, marks=[pytest.mark.slow] * (what in _SLOW)) for what in WORTHLESS])
def test_worthless_tests_kill_nothing(what: str) -> None:
    found = kills(WORTHLESS[what], GOLD, *MUTANTS[:3])
    assert found.killed_by == {}
    assert bool(found.broken) or not found.valid or what in ("nothing tested", "own copy")


def test_one_that_is_fickle_spoils_the_others() -> None:
    tests = "import os\ndef test_good(): assert f([1], 0) == 1\ndef test_turn(): assert os.getpid() % 2\n"
    found = kills(tests, GOLD, *MUTANTS)
    assert found.valid == []
    assert found.killed_by == {}
    assert "passes and fails on the same program" in found.invalid["test_good"]
    assert found.fickle == "test_turn"
    assert kills(tests.partition("def test_turn")[0], GOLD, *MUTANTS).fickle == ""


def test_checks_kill_as_tests_do() -> None:
    found = kills(
        "def check(g):\n    assert g([3], 1) == 3\n", GOLD, *MUTANTS[:2], checks=["check(f)", "assert f([], 0) == 0"]
    )
    assert found.killed_by == {0: ("check 0", "check 1"), 1: ("check 0", "check 1")}


def told(program: int, **tests: str) -> DuetTurn:
    runs = tuple(TestRun(name, outcome) for name, outcome in tests.items())  # type: ignore[arg-type]  # they are outcomes
    return DuetTurn(program=program, tests=runs, has_ended=True)


def test_where_a_turn_of_the_right_program_is_missing_nothing_is_valid() -> None:
    golds = [told(0, a="passed")] * (FIRST_TURNS + LATER_TURNS)
    mutant = told(1, a="failed")
    found = judged_kills(["a"], golds[:2], [*golds[3:], mutant], num_mutants=1, layer="x", stop="time")
    assert found.killed_by == {}
    assert "time" in found.invalid["a"]


@pytest.mark.parametrize("bad", [told(0, a="failed"), told(0), told(0, a="skipped"), told(0, a="unknown")])
def test_a_test_that_does_not_always_pass_is_invalid(bad: DuetTurn) -> None:
    golds = [told(0, a="passed", b="passed")] * (FIRST_TURNS + LATER_TURNS - 1)
    found = judged_kills(["a"], golds[:2], [*golds[2:], bad, told(1, a="failed")], num_mutants=1, layer="x")
    assert found.valid == []
    assert found.killed_by == {}


def test_two_at_once_find_what_one_finds() -> None:
    mutants = [GOLD.replace("s = 0", f"s = {n}") for n in range(50)]  # the first is the right program
    tests = (
        "from solution import f\ndef test_some(): assert f([1, 5], 1) == 5\ndef test_many(): assert f([7], 1) < 27\n"
    )
    with Sandbox(layer=sandbox_of(strongest_layer()).layer, num_boxes=2) as sandbox:
        found = kills_of(sandbox, tests=tests, gold=GOLD, mutants=mutants)
    assert found == kills(tests, GOLD, *mutants)
    assert found.valid == ["test_some", "test_many"]
    assert found.killed_by == {n: ("test_some", "test_many")[: 2 if n > 19 else 1] for n in range(1, 50)}
    assert not found.not_run


def test_nobody_can_foresee_the_order() -> None:
    orders = [later_order([1, 2, 3, 1, 2, 3]) for _ in range(200)]
    assert {tuple(sorted(Counter(order).items())) for order in orders} == {((0, LATER_TURNS), (1, 2), (2, 2), (3, 2))}
    for place in range(LATER_TURNS + 6):
        assert {order[place] for order in orders} == {0, 1, 2, 3}
    assert len({tuple(order) for order in orders}) > 190


def test_a_mutant_may_take_some_times_what_the_right_program_takes() -> None:
    for taken, most in ((0.0, 0.1), (0.004, 0.1), (0.1, 2.0), (4.0, 10.0)):
        assert mutant_cpu_s([DuetTurn(program=0, cpu_s=taken), DuetTurn(program=0)]) == most
