"""The words of a COBOL program's procedures, in free or fixed form, with their places.

In: a program. Out: the words behind each PROCEDURE DIVISION's heading, without comments, directives and embedded SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spiritsafe.tasks.code.mutants.columns import CARD, Columns, ProgramWord

_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(
    r"""(?P<comment>\*>.*)
    |(?P<opaque>[A-Za-z]{1,2}(?:"[^"]*"|'[^']*')|==.*?==)
    |(?P<string>"(?:[^"]|"")*"|'(?:[^']|'')*')
    |(?P<open>["'].*)
    |(?P<number>\d+(?:\.\d+)?(?![A-Za-z0-9_-]))
    |(?P<word>[A-Za-z0-9][A-Za-z0-9_-]*)
    |(?P<sign>\*\*|>=|<=|<>|[^\s])""",
    re.VERBOSE,
)
_FORMAT = re.compile(
    r"(?i)>>\s*SOURCE\s+(?:FORMAT\s+)?(?:IS\s+)?(FREE|FIXED)|\$SET\s+SOURCEFORMAT\s*\(?\"?(FREE|FIXED)"
)
_FIXED_LINE = re.compile(r"(?:[ \d]{6}|\w{6})[ *\-/dD$#]|[ \d]{0,6}$|[ \d]{0,5}\t")
_CONTINUED = re.compile(r"""\s*(?P<quote>["'])(?:(?!(?P=quote)).)*(?P=quote)?""")


def is_free_form(source: str) -> bool:
    """Whether a COBOL program's lines have no fixed columns: it says so, or a line does not fit into them."""
    if said := _FORMAT.search(source):
        return (said.group(1) or said.group(2)).upper() == "FREE"
    return any(_FIXED_LINE.match(found.group().rstrip()) is None for found in _LINE.finditer(source))


def cobol_columns(source: str) -> Columns:
    """The columns of a COBOL program."""
    return Columns(None, has_margin=False) if is_free_form(source) else Columns(CARD, has_margin=True)


def procedure_words(source: str) -> Iterator[ProgramWord]:
    """The words of all procedures, in order."""
    is_procedure = in_heading = in_sql = False
    last = ""
    for word in _words(source):
        up = word.up
        if up == "DIVISION":
            is_procedure = in_heading = last == "PROCEDURE"
        elif last == "END" and up == "PROGRAM":
            is_procedure = False
        elif is_procedure and in_heading:
            in_heading = up != "."
        elif is_procedure:
            in_sql = up == "EXEC" or (in_sql and last != "END-EXEC")
            if not in_sql:
                yield word
        last = up


def _words(source: str) -> Iterator[ProgramWord]:
    lines = _free_lines(source) if is_free_form(source) else _fixed_lines(source)
    is_open = False
    for goes_on, start, text in lines:
        place = 0
        if goes_on and is_open and (rest := _CONTINUED.match(text)):
            place = rest.end()
        is_open = False
        while found := _WORD.search(text, place):
            kind = str(found.lastgroup)
            if kind == "comment":
                break
            place = found.end()
            is_open = kind == "open"
            shown = "opaque" if is_open else kind
            yield ProgramWord(shown, found.group(), start + found.start(), start + place)


_Line = tuple[bool, int, str]
"""Whether it continues the last one; where its code begins; its code."""


def _free_lines(source: str) -> Iterator[_Line]:
    for found in _LINE.finditer(source):
        if not found.group().lstrip().startswith((">>", "$", "#")):
            yield False, found.start(), found.group()


def _fixed_lines(source: str) -> Iterator[_Line]:
    for found in _LINE.finditer(source):
        text = found.group()
        begin = text.index("\t") + 1 if "\t" in text[:7] else 7
        mark, code = text[6:7] if begin == 7 else " ", text[begin:CARD]
        if mark in " -" and not code.lstrip().startswith((">>", "$")):
            yield mark == "-", found.start() + begin, code
