"""Rows of published sets, told by their fields; broken ones are named."""

from __future__ import annotations

from typing import Any

import pytest
from published_programs import ASSERTS, BODY, CHECK, GOLD, PROMPT, cobol_eval, human_eval, mbpp, multipl_e, sanitized

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.families.programs.layouts import AskedProgram, asked_of


def of(row: dict[str, Any]) -> AskedProgram:
    return asked_of(row, "row 7 of x")


def test_human_eval() -> None:
    asked = of(human_eval(3))
    assert (asked.language, asked.entry) == ("python", "half_of")
    assert asked.start == PROMPT.replace("rounded down", "rounded down (3)")
    assert asked.gold == asked.start + BODY
    assert asked.suite == {"prelude": asked.start, "tests": CHECK, "checks": ["check(half_of)"]}
    assert of(human_eval(canonical_solution="")).gold == ""


def test_mbpp_in_both_layouts() -> None:
    whole, clean = of(mbpp(3)), of(sanitized(3))
    for asked in (whole, clean):
        assert (asked.language, asked.entry, asked.start) == ("python", "thrice", "")
        assert asked.gold == GOLD
        assert asked.text.startswith("Write a function that gives three times its argument (3).\n\n")
        assert f"```python\n{ASSERTS[0]}\n```" in asked.text
        assert asked.suite["checks"][:3] == ASSERTS
        assert ASSERTS[1] not in asked.text
    assert whole.suite["checks"][3:] == ["assert thrice(10 ** 20) == 3 * 10 ** 20"]
    assert whole.suite["tests"].strip() == "NEGATIVE = -3"
    assert clean.suite["tests"].strip() == "import math\nNEGATIVE = math.floor(-2.5)"


@pytest.mark.parametrize(
    ("code", "tests", "entry"),
    [
        ("def a(x): return x\ndef b(x): return a(x)\n", ["assert b(1) == 1"], "b"),
        ("def a(x): return x\ndef b(x): return a(x)\n", ["assert b(a(1)) == 1"], "b"),
        ("def b(x): return x\ndef a(x): return b(x)\n", ["assert set(b([1])) == {1}"], "b"),
        ("class C:\n    pass\n", ["assert isinstance(C(), object)"], "C"),
        ("", ["assert only(1) == 1"], "only"),
    ],
)
def test_the_function_that_the_tests_call(code: str, tests: list[str], entry: str) -> None:
    assert of(mbpp(code=code, test_list=tests, challenge_test_list=[])).entry == entry


def test_multipl_e() -> None:
    asked = of(multipl_e(1))
    assert (asked.language, asked.entry, asked.gold) == ("python", "half_of", "")
    assert asked.suite["checks"] == ["check(half_of)"]
    assert asked.suite["tests"].strip() == CHECK.strip()
    as_published = (
        "def check(candidate):\n    assert candidate(4) == 2\n\ndef test_check():\n    check(half_of)\n\ntest_check()\n"
    )
    assert "test_check" not in of(multipl_e(tests=as_published)).suite["tests"]


@pytest.mark.parametrize("language", ["rs", "js", "java"])
def test_other_languages_of_multipl_e_are_refused(language: str) -> None:
    with pytest.raises(TaskError, match=f'row 7 of x is broken: .*its language is "{language}", and of MultiPL-E only'):
        of(multipl_e(language=language))


def test_cobol_eval() -> None:
    asked = of(cobol_eval())
    assert (asked.language, asked.entry, asked.gold) == ("cobol", "HALF-OF", "")  # its gold is in Python
    assert [(one["type"], one["is_list"], one["value"]) for one in asked.suite["callers"]] == [
        ("Int", False, 3),
        ("Int", False, -4),
        ("Int", False, 0),
    ]
    (row,) = cobol_eval()["tests"][:1]
    listed = {**row, "result": {"value": "[1.5, 2.0]", "type_": {"List": "Float"}}}
    (test,) = of(cobol_eval(tests=[listed])).suite["callers"]
    assert (test["type"], test["is_list"], test["value"]) == ("Float", True, [1.5, 2.0])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "?", "answer": "!"}, "no problem of programming that can be read: it has answer, question"),
        ({}, "no problem of programming"),
        (human_eval(test=None), "no problem of programming"),
        (mbpp(test_list=[]), "is broken: "),
        (mbpp(test_list=["assert thrice(2 == 6"]), "is broken: SyntaxError"),
        (mbpp(code="def other(x):\n    return x\n"), "is broken: "),
        (mbpp(code="def thrice(x) return x"), "is broken: SyntaxError"),
        (mbpp(test_list=7), "is broken: TypeError"),
        (multipl_e(prompt="def broken(", tests="pass"), "is broken: SyntaxError"),
        (cobol_eval(tests=[{"test": "x"}]), "is broken: KeyError"),
        (cobol_eval(tests=[{"test": "x", "result": {"value": "1", "type_": "Complex"}}]), "a result of type Complex"),
        (cobol_eval(tests=[{"test": "x", "result": {"value": "open('x')", "type_": "Int"}}]), "is broken: ValueError"),
        (cobol_eval(tests=[]), "is broken: "),
    ],
)
def test_broken_rows_are_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError) as caught:
        of(row)
    assert caught.value.message.startswith("row 7 of x is ")
    assert words in caught.value.message
    assert caught.value.hint


def test_a_row_of_a_table_whose_other_columns_are_empty_is_told_by_what_it_has() -> None:
    """Parquet gives every row every column."""
    assert of({**dict.fromkeys(("test", "tests", "language", "entry_point", "prompt")), **mbpp()}).entry == "thrice"
    assert of({**human_eval(), "tests": None, "language": None, "test_list": None}).entry == "half_of"
