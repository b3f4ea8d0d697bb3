"""Coverage is of the lines in functions that tests run; full coverage of tests that hold nothing earns nothing."""

from __future__ import annotations

import pytest

from spiritsafe.tasks.code.duet.coverage import executable_lines, line_coverage
from spiritsafe.tasks.code.duet.kills import kills_of
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

PROGRAM = '''"""A module."""

import math

LIMIT = 3


def f(x):
    """Words."""
    if x > LIMIT:
        y = [n for n in range(x)
             if n]
        return len(y)
    return math.floor(x)


def unused():
    return 1
'''
MUTANTS = [PROGRAM.replace("x > LIMIT", "x >= LIMIT"), PROGRAM.replace("return 1", "return 2")]


def test_only_lines_in_functions_count() -> None:
    assert executable_lines(PROGRAM) == {10, 11, 12, 13, 14, 18}
    assert executable_lines("x = 1\ny = 2\n") == frozenset()
    assert line_coverage("x = 1\n", {1}) is None
    assert line_coverage(PROGRAM, None) is None
    assert line_coverage(PROGRAM, {1, 3, 10, 14, 99}) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("tests", "lines"),
    [
        ("def test_a():\n    assert f(1) == 1\n", {10, 14}),
        ("def test_a():\n    f(1), f(9)\n", {10, 11, 12, 13, 14}),
        ("def test_a():\n    assert False\n", set()),
        ("def test_a():\n    f(1), f(9), unused()\n", {10, 11, 12, 13, 14, 18}),
    ],
)
def test_what_tests_run_is_told(tests: str, lines: set[int]) -> None:
    kills = kills_of(shared_sandbox(), tests=tests, gold=PROGRAM, mutants=MUTANTS)
    assert kills.coverage == pytest.approx(len(lines) / 6)
    assert not kills.killed_by


def test_what_cannot_be_traced_is_not_known() -> None:
    ended = "import os\ndef f(x):\n    os._exit(0)\n"
    assert kills_of(shared_sandbox(), tests="assert f(1) == 1", gold=ended, mutants=[]).coverage is None
