from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.hacks import SOLUTION_HACKS, TEST_HACKS, solution_hacks, test_hacks

NOT_PYTHON = {"no program"}


def defined(text: str) -> set[str]:
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("what", sorted(SOLUTION_HACKS))
def test_programs_are_programs(what: str) -> None:
    text = solution_hacks("two_sum")[what]
    if what in NOT_PYTHON:
        with pytest.raises(SyntaxError):
            ast.parse(text)
    elif what not in ("no function", "end it when loaded"):
        assert "two_sum" in defined(text)
    assert "{name}" not in text
    assert "{{" not in text


@pytest.mark.parametrize("what", sorted(TEST_HACKS))
def test_tests_are_programs(what: str) -> None:
    text = test_hacks("two_sum")[what]
    tests = {name for name in defined(text) if name.startswith("test")}
    assert tests or what in ("no test", "end it when loaded")
    assert "{name}" not in text


def test_each_is_another() -> None:
    for hacks in (solution_hacks("f"), test_hacks("f")):
        assert len(set(hacks.values())) == len(hacks)
