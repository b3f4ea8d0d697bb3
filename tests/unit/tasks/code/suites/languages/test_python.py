from __future__ import annotations

from sandboxes import sandbox_of

from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.suites.suite import run_suite
from spiritsafe.tasks.sandbox.layers import strongest_layer


def test_tests_in_python_are_run_by_the_duet() -> None:
    gold = "def double(x):\n    return 2 * x\n"
    kills = run_suite(
        sandbox_of(strongest_layer()),
        "python",
        tests="from solution import double\ndef test_three():\n    assert double(3) == 6\n",
        signature=CodeSignature("double", (("x", "int"),), "int"),
        gold=gold,
        mutants=[gold.replace("2", "3"), gold.replace("2 *", "x *"), gold.replace("2 *", "+2 *")],
    )
    assert dict(kills.killed_by) == {0: ("test_three",), 1: ("test_three",)}
    assert (kills.invalid, kills.not_run) == ({}, frozenset())
