"""Tests that hold, in each language: a worked solution of ``code:tests``; and code that always gives one value.

In: an exercise. Out: the text of tests, which for all its inputs compare what the function gives with what it shall
give; or of code.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.tasks.code.languages.cobol import (
    COBOL_DECLARATIONS,
    FREE_FORMAT,
    RESULT_NAME,
    parameter_name,
    program_name,
)
from spiritsafe.tasks.code.languages.fortran import FORTRAN_VARIABLES
from spiritsafe.tasks.code.languages.signature import CodeValue
from spiritsafe.tasks.families.code.exercises import Exam

_MOST_TESTS = 24
_WIDTH = 60
"""Of a line of a text or list, in characters and items."""


Pair = tuple[Sequence[CodeValue], CodeValue]
"""Arguments, and what they give."""


def gold_tests(exam: Exam) -> str:
    """Tests in the exercise's language, which look at all its inputs.

    Inputs of one kind follow each other: dealt out, a mutant that one kind tells meets several tests.
    """
    pairs = list(zip(exam.inputs, exam.results, strict=True))
    dealt = [pairs[number::_MOST_TESTS] for number in range(min(_MOST_TESTS, len(pairs)))]
    return {"python": _in_python, "fortran": _in_fortran, "cobol": _in_cobol}[exam.language.name](exam, dealt)


def constant_code(exam: Exam) -> str:
    """A program that always gives what the first input shall give."""
    value, skeleton = exam.results[0], exam.language.skeleton(exam.signature)
    if exam.language.name == "python":
        return f"def {exam.signature.name}(*given):\n    return {value!r}\n"
    if exam.language.name == "fortran":
        return skeleton.replace("! ...", f"answer = {_fortran_literal(value)}")
    return skeleton.replace("    *> ...", "\n".join(f"    {line}" for line in _moves(RESULT_NAME, value)))


def _in_python(exam: Exam, dealt: Sequence[Sequence[Pair]]) -> str:
    name = exam.signature.name
    lines = [f"from solution import {name}", ""]
    for number, pairs in enumerate(dealt):
        lines += ["", f"def test_{number}():"]
        for inputs, result in pairs:
            lines.append(f"    assert {name}({', '.join(map(repr, inputs))}) == {result!r}")
        lines.append("")
    return "\n".join(lines)


def _fortran_literal(value: CodeValue) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, int):
        return f"{value}_8" if value >= 0 else f"(-{-value}_8)"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"[integer(8) :: {', '.join(f'{item}_8' for item in value)}]"


def _in_fortran(exam: Exam, dealt: Sequence[Sequence[Pair]]) -> str:
    signature = exam.signature
    lines = ["module tests", "  use solution", "  implicit none", "contains"]
    same = {
        "int": "found == wanted",
        "bool": "found .eqv. wanted",
        "str": "len(found) == len(wanted)",
        "ints": "size(found) == size(wanted)",
    }[signature.result]
    for number, pairs in enumerate(dealt):
        lines.append(f"  subroutine test_{number}()")
        lines += [f"    {FORTRAN_VARIABLES[signature.result].format(one)}" for one in ("found", "wanted")]
        for inputs, result in pairs:
            lines += [
                f"    wanted = {_fortran_literal(result)}",
                f"    found = {signature.name}({', '.join(map(_fortran_literal, inputs))})",
                f"    if (.not. ({same})) error stop",
            ]
            if signature.result in ("str", "ints"):
                different = "found /= wanted" if signature.result == "str" else "any(found /= wanted)"
                lines.append(f"    if ({different}) error stop")
        lines.append(f"  end subroutine test_{number}")
    return "\n".join([*lines, "end module tests", ""])


def _cobol_text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _moves(name: str, value: CodeValue) -> list[str]:
    """Statements that give an item of storage a value."""
    if isinstance(value, bool | int):
        return [f"MOVE {int(value)} TO {name}"]
    if isinstance(value, str):
        parts = [value[at : at + _WIDTH] for at in range(0, len(value), _WIDTH)]
        moved = [
            f"MOVE {_cobol_text(part)} TO {name}-TEXT({1 + _WIDTH * at}:{len(part)})" for at, part in enumerate(parts)
        ]
        return [f"MOVE {len(value)} TO {name}-LENGTH", f"MOVE SPACES TO {name}-TEXT", *moved]
    return [f"MOVE {len(value)} TO {name}-LENGTH"] + [
        f"MOVE {item} TO {name}-ITEM({place})" for place, item in enumerate(value, start=1)
    ]


def _checks(name: str, value: CodeValue) -> list[str]:
    """Conditions that all hold where an item has a value."""
    if isinstance(value, bool | int):
        return [f"{name} = {int(value)}"]
    if isinstance(value, str):
        parts = [(at, value[at : at + _WIDTH]) for at in range(0, len(value), _WIDTH)]
        return [f"{name}-LENGTH = {len(value)}"] + [
            f"{name}-TEXT({at + 1}:{len(part)}) = {_cobol_text(part)}" for at, part in parts
        ]
    return [f"{name}-LENGTH = {len(value)}"] + [
        f"{name}-ITEM({place}) = {item}" for place, item in enumerate(value, start=1)
    ]


def _in_cobol(exam: Exam, dealt: Sequence[Sequence[Pair]]) -> str:
    signature = exam.signature
    names = [parameter_name(name) for name, _ in signature.parameters]
    kinds = [kind for _, kind in signature.parameters]
    storage = [
        COBOL_DECLARATIONS[kind].format(name)
        for name, kind in zip((*names, RESULT_NAME), (*kinds, signature.result), strict=True)
    ]
    lines = [FREE_FORMAT]
    for number, pairs in enumerate(dealt):
        lines += [
            "IDENTIFICATION DIVISION.",
            f"PROGRAM-ID. TEST-{number}.",
            "DATA DIVISION.",
            "WORKING-STORAGE SECTION.",
            *storage,
            "PROCEDURE DIVISION.",
        ]
        for inputs, result in pairs:
            lines += [f"    {line}" for name, value in zip(names, inputs, strict=True) for line in _moves(name, value)]
            lines.append(f'    CALL "{program_name(signature.name)}" USING {" ".join((*names, RESULT_NAME))}')
            lines += [
                f"    IF NOT ({check}) MOVE 1 TO RETURN-CODE GOBACK END-IF" for check in _checks(RESULT_NAME, result)
            ]
        lines += ["    GOBACK.", f"END PROGRAM TEST-{number}."]
    return "\n".join([*lines, ""])
