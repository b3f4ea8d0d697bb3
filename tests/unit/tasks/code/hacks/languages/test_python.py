from __future__ import annotations

import ast

import pytest
from code_problems import tax_problem

from spiritsafe.tasks.code.hacks.languages.python import hacks_named
from spiritsafe.tasks.code.hacks.registry import solution_hacks, test_hacks
from spiritsafe.tasks.families.code.exercises import exam_of

SIGNATURE = exam_of(tax_problem().facts).signature
NOT_PYTHON = {"no program"}


def defined(text: str) -> set[str]:
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("what", "text"), solution_hacks("python", SIGNATURE).items())
def test_programs_are_programs(what: str, text: str) -> None:
    if what in NOT_PYTHON:
        with pytest.raises(SyntaxError):
            ast.parse(text)
    elif what not in ("no function", "end it when loaded"):
        assert "tax_of" in defined(text)
    assert "{name}" not in text
    assert "{{" not in text


@pytest.mark.parametrize(("what", "text"), test_hacks("python", SIGNATURE).items())
def test_tests_are_programs(what: str, text: str) -> None:
    tests = {name for name in defined(text) if name.startswith("test")}
    assert tests or what in ("no test", "end it when loaded")
    assert "{name}" not in text


def test_a_name_is_enough() -> None:
    assert hacks_named("tax_of") == solution_hacks("python", SIGNATURE)
    assert "def two_sum" in hacks_named("two_sum")["nothing"]
