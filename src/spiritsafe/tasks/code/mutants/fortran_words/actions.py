"""What a statement of Fortran does, as far as faults can be put there.

In: a statement's words. Out: its parts: expressions, conditions, bounds of loops, jumps, and what can be left out. Of
declarations, headings, formats and input and output lists' controls there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from spiritsafe.tasks.code.mutants.columns import ProgramWord

PartRole = Literal["expression", "condition", "bound", "step", "jump", "action"]
StatementPart = tuple[PartRole, list[ProgramWord]]


def actions_of(statement: Sequence[ProgramWord]) -> Iterator[StatementPart]:
    """The parts of one statement; an expression contains conditions and bounds, which come once more by themselves."""
    words = [word for word in statement if word.kind != "label"]
    if len(words) > 2 and words[0].kind == "name" and words[1].text == ":":
        words = words[2:]  # the name of a construct
    if not words:
        return
    if (sign := _assignment(words)) is not None:
        yield "action", words
        yield "expression", words[:sign]
        yield "expression", words[sign + 1 :]
        return
    first = words[0].low
    second = words[1].low if len(words) > 1 else ""
    if first in ("if", "elseif") or (first, second) == ("else", "if"):
        yield from _if(words)
    elif first == "do":
        yield from _do(words)
    elif first == "call":
        yield "action", words
        yield "expression", words[2:]
    elif first in ("exit", "cycle") and len(words) <= 2:
        yield "jump", words[:1]
    elif first in ("print", "write"):
        yield from _output(words)
    elif (first, second) == ("select", "case"):
        yield "expression", words[2:]
    elif first == "where" and second == "(":
        end = closing(words, 1)
        yield "expression", words[2:end]
        yield from actions_of(words[end + 1 :])


def closing(words: Sequence[ProgramWord], start: int) -> int:
    """Where the bracket is closed that opens at a word; the last word where it never is."""
    depth = 0
    for place in range(start, len(words)):
        depth += {"(": 1, ")": -1}.get(words[place].text, 0)
        if depth == 0:
            return place
    return len(words) - 1


def pieces(words: Sequence[ProgramWord]) -> list[list[ProgramWord]]:
    """A list, divided at its commas outside brackets."""
    parts: list[list[ProgramWord]] = [[]]
    depth = 0
    for word in words:
        depth += {"(": 1, "[": 1, "(/": 1, ")": -1, "]": -1, "/)": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _assignment(words: Sequence[ProgramWord]) -> int | None:
    """Where the sign of an assignment stands: behind a variable, its indices and its components."""
    place = 0
    while place < len(words) and words[place].kind == "name":
        place += 1
        while place < len(words) and words[place].text == "(":
            place = closing(words, place) + 1
        if place >= len(words):
            return None
        if words[place].text == "=" and place + 1 < len(words):
            return place
        if words[place].text != "%":
            return None
        place += 1
    return None


def _if(words: Sequence[ProgramWord]) -> Iterator[StatementPart]:
    start = 2 if words[1].low == "if" else 1
    if start >= len(words) or words[start].text != "(":
        return
    end = closing(words, start)
    yield "expression", [*words[start + 1 : end]]
    rest = words[end + 1 :]
    if rest and rest[0].kind != "integer":  # three labels: jumps by sign
        yield "condition", [*words[start + 1 : end]]
        if rest[0].low != "then":
            yield from actions_of(rest)


def _do(words: Sequence[ProgramWord]) -> Iterator[StatementPart]:
    place = 1
    if len(words) > 1 and words[1].kind == "integer":  # the label of its last statement
        place = 3 if len(words) > 2 and words[2].text == "," else 2
    if len(words) > place + 1 and words[place].low == "while":
        yield "expression", [*words[place + 2 : closing(words, place + 1)]]
    elif len(words) > place + 1 and words[place + 1].text == "=":
        bounds = pieces(words[place + 2 :])
        for bound in bounds[:2]:
            yield "expression", bound
            yield "bound", bound
        for step in bounds[2:]:
            yield "step", step


def _output(words: Sequence[ProgramWord]) -> Iterator[StatementPart]:
    """Values that are shown, without units and formats."""
    if words[0].low == "write" and len(words) > 1 and words[1].text == "(":
        yield "action", [*words]
        values = words[closing(words, 1) + 1 :]
        for value in pieces(values):
            yield "expression", value
    elif words[0].low == "print" and len(words) > 1:
        yield "action", [*words]
        for value in pieces(words[1:])[1:]:
            yield "expression", value
