"""Tests that hold: in every language, for every type of value, and they notice a fault."""

from __future__ import annotations

import pytest
from code_parts import usable

from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.suites.suite import run_suite
from spiritsafe.tasks.code.translate.translate import translate
from spiritsafe.tasks.families.code.exercises import Exam
from spiritsafe.tasks.families.code.gold_tests import gold_tests
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

# by the type of the result: a function, one with a fault, and arguments; with what literals have trouble with
FUNCTIONS: dict[str, tuple[str, str, list[list[CodeValue]]]] = {
    "int": (
        "def count(values: list[int], least: int) -> int:\n"
        "    total = 0\n"
        "    for x in values:\n"
        "        if x >= least:\n"
        "            total += x\n"
        "    return total\n",
        "x > least",
        [[[], 0], [[3, -4, 10**12], 3], [[-5], -7], [[1] * 40, 1]],
    ),
    "bool": (
        "def is_long(text: str, wanted: bool) -> bool:\n    return (len(text) >= 5) == wanted\n",
        "len(text) > 5",
        [["", True], ['it\'s "so"', False], ["five!", True], ["x" * 130, True]],
    ),
    "str": (
        "def doubled(text: str, count: int) -> str:\n    return text + str(count) + text\n",
        "str(count - 1)",
        [["", 0], ["a 'b' \"c\" ", -7], ["trailing  ", 12], ["y" * 70, 5]],
    ),
    "ints": (
        "def turned(values: list[int]) -> list[int]:\n    return values[::-1]\n",
        "values[0:]",
        [[[]], [[5]], [[1, -2, 3]], [list(range(-50, 49))]],
    ),
}


@pytest.mark.parametrize("language", ["python", "fortran", "cobol"])
@pytest.mark.parametrize("kind", sorted(FUNCTIONS))
def test_they_hold_and_notice_a_fault(kind: str, language: str) -> None:
    source, fault, inputs = FUNCTIONS[kind]
    right = {"int": "x >= least", "bool": "len(text) >= 5", "str": "str(count)", "ints": "values[::-1]"}[kind]
    heading = source.partition("(")[0].removeprefix("def ")
    parameters = {
        "int": (("values", "ints"), ("least", "int")),
        "bool": (("text", "str"), ("wanted", "bool")),
        "str": (("text", "str"), ("count", "int")),
        "ints": (("values", "ints"),),
    }[kind]
    signature = CodeSignature(heading, parameters, kind)
    space: dict[str, object] = {}
    exec(source, space)
    results = [space[heading](*one) for one in inputs]  # type: ignore[operator]  # it is the function
    gold = translate(source, signature, language)
    faulty = translate(source.replace(right, fault), signature, language)
    exam = Exam(language=usable(language), signature=signature, gold=gold, inputs=inputs, results=results)
    kills = run_suite(
        shared_sandbox(), language, tests=gold_tests(exam), signature=signature, gold=gold, mutants=[faulty, gold]
    )
    assert len(kills.tests) == len(inputs), kills.broken
    assert not kills.invalid
    assert set(kills.killed_by) == {0}
