"""The procedures of a Fortran file: those of its modules, and those by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.assist.compiled.fortran_text import fortran_procedures
from spiritsafe.assist.routines.routine import Routine
from spiritsafe.tasks.code import FortranUnit, fortran_columns, fortran_statements, fortran_units

_FIXED = "C     In fixed form: code stands in columns 7 to 72.\n"
_DECLARING = frozenset(
    [
        *("use", "import", "implicit", "integer", "real", "double", "complex", "logical", "character", "type", "class"),
        *("dimension", "intent", "parameter", "external", "procedure", "optional"),
    ]
)
_ALWAYS = frozenset({"use", "import", "implicit", "parameter"})


def routines_in(program: str) -> list[Routine]:
    """All of them."""
    places = [(line[0].start, line[-1].end, [word.low for word in line]) for line in fortran_statements(program)]
    is_fixed = fortran_columns(program).has_margin
    found = []
    for unit in fortran_procedures(fortran_units(program)):
        inside = [one for one in places if unit.start <= one[0] and one[1] <= unit.end]
        if len(inside) < 2:
            continue
        seen = _seen(unit, inside)
        ending = program[inside[-1][0] : inside[-1][1]]
        declared = [_lines(program, start, end) for start, end, _ in seen[1:]]
        first = program[seen[0][0] : seen[0][1]]
        margin = " " * 6 if is_fixed else ""
        heading = "\n".join([f"{margin}{first}", *declared, f"{margin}{ending}"])
        gone = [first, *declared, f"{margin}error stop 'it was taken away'", f"{margin}{ending}"]
        found.append(
            Routine(
                name=unit.name,
                start=unit.start,
                end=unit.end,
                heading=f"{_FIXED if is_fixed else ''}{heading}",
                gone="\n".join(gone),
            )
        )
    return found


def replacement_in(program: str, code: str, name: str) -> str | None:
    """What stands for a procedure: all procedures of some code, if that one is among them."""
    units = fortran_procedures(fortran_units(code))
    if name not in [unit.name for unit in units]:
        return None
    margin = " " * 6 if fortran_columns(code).has_margin else ""
    return f"\n{margin}".join(code[unit.start : unit.end] for unit in units)


def _seen(unit: FortranUnit, inside: Sequence[tuple[int, int, list[str]]]) -> list[tuple[int, int, list[str]]]:
    """The statements that a caller has to know: the heading, and what declares what is named in it."""
    heading, *others = inside[:-1]
    named = {word for word in heading[2] if word.isidentifier()}
    seen = [heading]
    for one in others:
        words = one[2]
        if words[0] not in _DECLARING:
            break
        if _ALWAYS & set(words) or named & set(words[1:]):
            seen.append(one)
    return seen


def _lines(program: str, start: int, end: int) -> str:
    """The whole lines of a statement, so that they keep their columns."""
    first = program.rfind("\n", 0, start) + 1
    last = program.find("\n", end)
    return program[first : last if last >= 0 else len(program)].rstrip("\r\n")
