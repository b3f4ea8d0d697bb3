"""Which lines of a Fortran file count where lines are counted, and the text that gcov counts rightly.

In: a file's text. Out: the lines with statements of which it is known whether they were run; and the text, with the
same lines. gfortran gives what stands behind a loop or a choice to the last statement in it, which then seems to have
run: so this text has a statement more there, which is on the line of the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spiritsafe.assist.compiled.fortran_text import fortran_procedures
from spiritsafe.assist.compiled.lines import line_numbers
from spiritsafe.tasks.code import FortranUnit, fortran_columns, fortran_statements

_ENDED = frozenset(
    [
        *("associate", "block", "critical", "do", "enum", "forall", "if", "interface", "select", "team", "type"),
        *("where", "function", "module", "procedure", "program", "submodule", "subroutine"),
    ]
)
_IDLE = frozenset({"block", "case", "contains", "continue", "else", "select", "selectcase", "selecttype"})
"""They do nothing of their own, or gfortran gives what they do to other lines."""


def counted_fortran_text(text: str) -> str:
    """The text with a statement before the end of each loop and choice, where the line has room for it."""
    columns = fortran_columns(text)
    statements = [[word.low for word in statement] for statement in fortran_statements(text)]
    loops = {label for words in statements if (label := _loop_label(_bare(words))) is not None}
    starts = []
    for statement in fortran_statements(text):
        words = [word.low for word in statement]
        is_labelled = statement[0].kind == "label"
        if _end_of(words[is_labelled:]) in ("do", "select") and not (is_labelled and words[0] in loops):
            starts.append(statement[is_labelled].start)
    for start in reversed(starts):
        edit = columns.edit("", text, [(start, start, "continue; ")])
        if edit is not None:
            text = f"{text[: edit.start]}{edit.new}{text[edit.end :]}"
    return text


def counted_fortran_lines(text: str, unit: FortranUnit) -> frozenset[int]:
    """Numbers of the lines with statements of procedures that tests can call, without headings, declarations and ends.

    A statement that ends a loop by its label is left out: gfortran has it run where the loop is not.

    Args:
        text: Of the file.
        unit: It, as a whole.
    """
    procedures = fortran_procedures(unit)
    headings = {one.start for top in procedures for one in _all_units(top)}
    found: set[int] = set()
    statements = [
        statement
        for statement in fortran_statements(text)
        if any(one.start <= statement[0].start < one.end for one in procedures)
    ]
    loops: set[str] = set()
    for statement in statements:
        words = [word.low for word in statement]
        bare = _bare(words)
        loops |= {label} if (label := _loop_label(bare)) is not None else set()
        ends_loop = statement[0].kind == "label" and words[0] in loops
        if statement[0].start not in headings and not ends_loop and _does_something(bare):
            found |= line_numbers(text, statement[0].start, statement[-1].end)
    return frozenset(found)


def _all_units(unit: FortranUnit) -> Iterator[FortranUnit]:
    yield unit
    for one in unit.inside:
        yield from _all_units(one)


def _bare(words: Sequence[str]) -> Sequence[str]:
    """A statement's words without its label and the name of its construct."""
    words = words[1:] if words[0].isdigit() else words
    return words[2:] if words[1:2] == [":"] else words


def _loop_label(words: Sequence[str]) -> str | None:
    """The label of the statement that ends the loop which begins here; None: none does."""
    return words[1] if words[:1] == ["do"] and len(words) > 1 and words[1].isdigit() else None


def _end_of(words: Sequence[str]) -> str | None:
    """What a statement is the end of; None: of nothing."""
    if words[:1] == ["end"]:
        return words[1] if len(words) > 1 else ""
    first = words[0] if words else ""
    return first.removeprefix("end") if first.startswith("end") and first.removeprefix("end") in _ENDED else None


def _does_something(words: Sequence[str]) -> bool:
    """Whether a statement is one that is run, as far as its words tell."""
    if not words or _end_of(words) is not None or words in (["do"], ["else"]):
        return False
    if words[0] in _IDLE and words[1:2] not in (["if"], ["where"], ["="], ["%"]):
        return False
    depth = 0
    for word in words:
        depth += (word in ("(", "[", "(/")) - (word in (")", "]", "/)"))
        if word == "::" and depth == 0:
            return False
    return True
