"""The statements of a Fortran program in free or fixed form, each a list of words with their places.

In: a program. Out: its statements without comments and continuation marks; what a preprocessor reads is no statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from spiritsafe.tasks.code.mutants.columns import CARD, Columns, ProgramWord

_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(
    r"""(?P<comment>!.*)
    |(?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<open>['"].*)
    |(?P<dotted>\.[A-Za-z]+\.)
    |(?P<real>(?:\d+\.(?![A-Za-z]+\.)\d*|\.\d+)(?:[eEdD][+-]?\d+)?(?:_\w+)?|\d+[eEdD][+-]?\d+(?:_\w+)?)
    |(?P<integer>\d+(?:_\w+)?)
    |(?P<name>[A-Za-z]\w*)
    |(?P<sign>\*\*|\(/(?![/=])|/\)|//|==|/=|<=|>=|=>|::|[^\s])""",
    re.VERBOSE,
)
_FIXED_COMMENT = frozenset("cC*!dD")
_CODE_LIKE_A_COMMENT = re.compile(
    r"""call\s+\w+\s*(\(|$)|character\s*[(*,:]|contains$|close\s*\(|complex\s*[(,:]|cycle(\s+\w+)?$|continue$
    |case\s*(\(|default$)|class\s*\(|do$|do\s+(\d+\s*,?\s*)?\w+\s*=|do\s+while\s*\(|deallocate\s*\(|double\s+precision.*::
    |[cd]\w*(\(.*\))?\s*=[^=]""",
    re.VERBOSE | re.IGNORECASE,
)


def is_fixed_form(source: str) -> bool:
    """Whether the lines of a Fortran program have fixed columns: nothing but labels stands before the seventh."""
    for found in _LINE.finditer(source):
        line = found.group().rstrip()
        if not line or line[0] in _FIXED_COMMENT or line[0] == "#":
            if _CODE_LIKE_A_COMMENT.match(line):
                return False
            continue
        if re.match(r"[ 0-9]{0,4}\t|[ 0-9]{5}", line) is None or (line.endswith("&") and len(line) <= CARD):
            return False
    return True


def fortran_columns(source: str) -> Columns:
    """The columns of a Fortran program."""
    return Columns(CARD, has_margin=True) if is_fixed_form(source) else Columns(132, has_margin=False)


def fortran_statements(source: str) -> Iterator[list[ProgramWord]]:
    """The statements of a program, in order; a label is the first word of its statement."""
    lines = _fixed_lines(source) if is_fixed_form(source) else _free_lines(source)
    words: list[ProgramWord] = []
    quote = ""
    for goes_on, label, start, text in lines:
        if not goes_on:
            yield from _separate(words)
            words, quote = ([label] if label else []), ""
        place = 0
        if quote and words:
            closed = re.match(rf"(?:[^{quote}]|{quote}{quote})*{quote}", text)
            place = closed.end() if closed else len(text)
            words[-1] = replace(words[-1], end=start + place)
            quote = "" if closed else quote
        while place < len(text) and not quote:
            found = _WORD.search(text, place)
            if found is None or found.lastgroup == "comment":
                break
            place = found.end()
            if found.lastgroup == "open":
                quote = found.group()[0]
            group = str(found.lastgroup)
            kind = {"dotted": "sign", "open": "string"}.get(group, group)
            words.append(ProgramWord(kind, found.group(), start + found.start(), start + place))
    yield from _separate(words)


def _separate(words: list[ProgramWord]) -> Iterator[list[ProgramWord]]:
    """The statements of one line, which semicolons divide."""
    statement: list[ProgramWord] = []
    for word in words:
        if word.text == ";" and word.kind == "sign":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(word)
    if statement:
        yield statement


_Line = tuple[bool, ProgramWord | None, int, str]
"""Whether it continues the last one; its label; where its code begins; its code."""


def _free_lines(source: str) -> Iterator[_Line]:
    goes_on = False
    is_open = ""
    for found in _LINE.finditer(source):
        text, start = found.group(), found.start()
        bare = text.strip()
        if not bare or bare[0] in "#!":
            continue
        if goes_on:
            lead = len(text) - len(text.lstrip())
            lead += 1 if bare[0] == "&" else 0
            if bare[0] == "&" or not is_open:
                text, start = text[lead:], start + lead
        code, is_open, more = _without_mark(text, is_open)
        label = None
        if not goes_on and (number := re.match(r"\s*(\d+)(?=\s)", code)):
            label = ProgramWord("label", number.group(1), start + number.start(1), start + number.end(1))
            code, start = code[number.end() :], start + number.end()
        yield goes_on, label, start, code
        goes_on = more


def _without_mark(text: str, quote: str) -> tuple[str, str, bool]:
    """A line without its continuation mark; the quote that is open at its end; and whether there was a mark."""
    mark = -1
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "!":
            text = text[:place]
            break
        mark = place if letter == "&" else mark if letter.isspace() else -1
    return (text[:mark], quote, True) if mark >= 0 else (text, "", False)


def _fixed_lines(source: str) -> Iterator[_Line]:
    for found in _LINE.finditer(source):
        text, start = found.group(), found.start()
        if not text.strip() or text[0] in _FIXED_COMMENT or text[0] == "#":
            continue
        begin = text.index("\t") + 1 if "\t" in text[:6] else 6
        head, code = text[: min(begin, 5)].strip(), text[begin:CARD]
        goes_on = text[5:6] not in ("", " ", "0") if begin == 6 else code[:1] in "123456789"
        if begin != 6 and goes_on:
            begin, code = begin + 1, code[1:]
        label = ProgramWord("label", head, start + text.index(head), start + text.index(head) + len(head))
        yield goes_on, label if head else None, start + begin, code
