from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.tasks.families.programs.judges import judge_python
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

SUITE: dict[str, Any] = {
    "prelude": "",
    "tests": "def check(f):\n    assert f([1]) == [0.5]\n",
    "checks": ["check(half)"],
}
FURTHER = {"calls": [[[["list", [1, 3]]], ["list", [0.5, 1.5]]], [[["list", []]], ["list", []]]], "ignored": []}


@pytest.mark.parametrize(
    ("body", "passes", "passes_further"),
    [
        ("[x / 2 for x in xs]", True, True),
        ("[x * 0.49999999 + 1e-8 for x in xs] if len(xs) > 1 else [x / 2 for x in xs]", True, True),
        ("[x * 0.4999 + 1e-4 for x in xs] if len(xs) > 1 else [x / 2 for x in xs]", True, False),
        ("[0.5]", True, False),
        ("[xs[0] / 2] + [x / 2 for x in xs[1:]]", True, False),  # nothing for no items
        ("tuple(x / 2 for x in xs) if len(xs) > 1 else [x / 2 for x in xs]", True, False),
        ("[1]", False, False),
    ],
)
def test_programs_answer_published_tests_and_further_inputs(body: str, passes: bool, passes_further: bool) -> None:
    program = f"def half(xs):\n    return {body}\n"
    assert judge_python(shared_sandbox(), program, SUITE, "half").is_right is passes
    assert judge_python(shared_sandbox(), program, {**SUITE, "further": FURTHER}, "half").is_right is passes_further


def test_what_is_left_out_does_not_count() -> None:
    program = "def half(xs):\n    return tuple(x / 2 for x in xs) if len(xs) != 1 else [x / 2 for x in xs]\n"
    suite = {**SUITE, "further": {**FURTHER, "ignored": ["kind"]}}
    assert judge_python(shared_sandbox(), program, suite, "half").is_right


def test_a_program_cannot_change_how_it_is_compared() -> None:
    program = """
def half(xs):
    return [0.5]

def _is_alike(*arguments):
    return True

def _check_further(*arguments):
    return None

class Anything(list):
    __eq__ = lambda self, other: True
"""
    assert not judge_python(shared_sandbox(), program, {**SUITE, "further": FURTHER}, "half").is_right


def test_an_input_that_fails_is_named() -> None:
    program = "def half(xs):\n    return [0.5]\n"
    judged = judge_python(shared_sandbox(), program, {**SUITE, "further": FURTHER}, "half")
    assert "[1, 3]" in judged.reason
    assert "[0.5]" in judged.reason
