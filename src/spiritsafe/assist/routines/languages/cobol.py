"""The programs of a COBOL file that others call with parameters."""

from __future__ import annotations

import re

from spiritsafe.assist.compiled.cobol_text import cobol_code, cobol_programs, free_cobol
from spiritsafe.assist.routines.routine import Routine
from spiritsafe.tasks.code import cobol_columns

_LINKAGE = re.compile(r"\blinkage\s+section\b", re.IGNORECASE)
_PROCEDURE = re.compile(r"\bprocedure\s+division\b[^.]*\.", re.IGNORECASE)
_CLOSING = re.compile(r"""\bend\s+program\s+["']?[\w-]+["']?\s*\.?\s*$""", re.IGNORECASE)


def routines_in(program: str) -> list[Routine]:
    """All of them."""
    code = cobol_code(program)
    found = []
    for one in cobol_programs(program):
        linkage, procedure = (pattern.search(code, one.start, one.end) for pattern in (_LINKAGE, _PROCEDURE))
        if not one.has_parameters or linkage is None or procedure is None:
            continue
        closing = _CLOSING.search(code, procedure.end(), one.end)
        ending = program[closing.start() : one.end] if closing else ""
        interface = program[_line_start(program, linkage.start()) : procedure.end()]
        found.append(
            Routine(
                name=one.name,
                start=one.start,
                end=one.end,
                heading=f"       IDENTIFICATION DIVISION.\n       PROGRAM-ID. {one.spelled}.\n       DATA DIVISION.\n"
                f"{interface}\n      *    ...\n       END PROGRAM {one.spelled}.",
                gone=f"{program[one.start : procedure.end()]}\n           STOP RUN.\n       {ending}",
            )
        )
    return found


def replacement_in(program: str, code: str, name: str) -> str | None:
    """What stands for a program: that of its name, in free form, with lines that say so around it."""
    free = free_cobol(code) or ""
    text = next((free[one.start : one.end] for one in cobol_programs(free) if one.name == name), None)
    form = "FREE" if cobol_columns(program).last is None else "FIXED"
    return None if text is None else f"\n       >>SOURCE FORMAT FREE\n{text}\n       >>SOURCE FORMAT {form}\n"


def _line_start(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1
