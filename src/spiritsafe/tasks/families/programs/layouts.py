"""How published problems of programming are laid out: HumanEval, MBPP, MultiPL-E, COBOLEval.

In: a row of a data set. Out: an :class:`AskedProgram`: what is asked, in which language, how answers are judged, and a
gold answer where the row has one. A layout is told by the names of its fields.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from spiritsafe.core.errors import TaskError

_TYPES = ("Bool", "Int", "Float", "String")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AskedProgram:
    """A problem of programming.

    Attributes:
        language: Of the answer.
        entry: The function or program that is wanted.
        text: What is asked, in words.
        start: The beginning of the program that the answer completes; "" where there is none.
        gold: A right program; "" where none is known.
        suite: How answers are judged; its keys are those of the language's judge.
    """

    language: str
    entry: str
    text: str = ""
    start: str = ""
    gold: str = ""
    suite: dict[str, Any] = field(default_factory=dict)


def asked_of(row: Mapping[str, Any], place: str) -> AskedProgram:
    """The problem of a row.

    Raises:
        TaskError: It is of no layout that is known, or broken.
    """
    for marks, read in _LAYOUTS.items():
        if all(row.get(mark) is not None for mark in marks):
            try:
                return read(row)
            except (ValueError, LookupError, TypeError, SyntaxError, AttributeError) as error:
                raise TaskError(
                    f"{place} is broken: {type(error).__name__}: {error}.", hint="Restore the row from a good copy."
                ) from error
    fields = ", ".join(sorted(map(str, row)))
    raise TaskError(
        f"{place} is no problem of programming that can be read: it has {fields}.",
        hint="Known are rows like HumanEval's (prompt, test, entry_point), MBPP's (text, test_list), MultiPL-E's "
        "(prompt, tests, language) and COBOLEval's (prompt, tests, entry_point).",
    )


def _humaneval(row: Mapping[str, Any]) -> AskedProgram:
    prompt, entry = str(row["prompt"]), str(row["entry_point"])
    return AskedProgram(
        language="python",
        entry=entry,
        start=prompt,
        gold=prompt + str(row["canonical_solution"]) if row.get("canonical_solution") else "",
        suite={"prelude": prompt, "tests": str(row["test"]), "checks": [f"check({entry})"]},
    )


def _mbpp(row: Mapping[str, Any]) -> AskedProgram:
    tests = [str(test) for test in row["test_list"]]
    if not tests:
        raise ValueError("it has no tests")
    gold = str(row.get("code") or "")
    entry = _entry_of(gold, tests)
    imports = row.get("test_imports") or []
    setup = "\n".join([*map(str, imports), str(row.get("test_setup_code") or "")])
    example = f"\n\nIt is called like this:\n\n```python\n{tests[0]}\n```"
    return AskedProgram(
        language="python",
        entry=entry,
        text=f"{str(row.get('prompt') or row.get('text')).strip()}{example}",
        gold=gold.replace("\r\n", "\n"),
        suite={"prelude": "", "tests": setup, "checks": [*tests, *map(str, row.get("challenge_test_list") or [])]},
    )


def _entry_of(gold: str, tests: list[str]) -> str:
    """The function that the tests call: of those that the gold answer defines, the last."""
    calls = [node.func for test in tests for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    if not gold:
        return min(called - vars(builtins).keys())
    defined = [node.name for node in ast.parse(gold).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    found = [name for name in defined if name in called]
    if not found:
        raise ValueError("its tests call nothing that its code defines")
    return found[-1]


def _multipl_e(row: Mapping[str, Any]) -> AskedProgram:
    language = str(row["language"])
    if language not in ("py", "python"):
        raise ValueError(f'its language is "{language}", and of MultiPL-E only Python can be judged here')
    prompt, tests = str(row["prompt"]), str(row["tests"])
    found = re.search(r"^\s*check\((\w+)\)", tests, re.MULTILINE) or re.search(r"candidate\s*=\s*(\w+)", tests)
    names = [node.name for node in ast.parse(prompt).body if isinstance(node, ast.FunctionDef)]
    head, _, _ = tests.partition("\ndef test_check")
    head = re.sub(r"^(check\(.*|test_check\(\))\s*$", "", head, flags=re.MULTILINE)
    entry = found[1] if found else names[-1]
    return AskedProgram(
        language="python",
        entry=entry,
        start=prompt,
        suite={"prelude": prompt, "tests": head, "checks": [f"check({entry})"]},
    )


def _cobol_eval(row: Mapping[str, Any]) -> AskedProgram:
    tests = []
    for test in row["tests"]:
        kind = test["result"]["type_"]
        item = kind["List"] if isinstance(kind, Mapping) else kind
        if item not in _TYPES:
            raise ValueError(f"a result of type {kind}")
        value = ast.literal_eval(str(test["result"]["value"]))
        value = list(value) if isinstance(value, tuple) else value
        tests.append({"caller": str(test["test"]), "type": item, "is_list": isinstance(kind, Mapping), "value": value})
    if not tests:
        raise ValueError("it has no tests")
    return AskedProgram(
        language="cobol",
        entry=str(row["entry_point"]).upper().replace("_", "-"),
        start=str(row["prompt"]),
        suite={"callers": tests},
    )


_LAYOUTS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], AskedProgram]] = {
    ("prompt", "test", "entry_point"): _humaneval,
    ("prompt", "tests", "language"): _multipl_e,
    ("prompt", "tests", "entry_point"): _cobol_eval,
    ("test_list", "text"): _mbpp,
    ("test_list", "prompt"): _mbpp,
}
"""By the fields that mark it, first match first."""
