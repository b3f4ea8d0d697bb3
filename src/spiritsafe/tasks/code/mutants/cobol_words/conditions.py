"""Relations in COBOL conditions, in signs and in words.

In: the words of a condition. Out: its relations, such as ``NOT =`` or ``IS GREATER THAN OR EQUAL TO``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.mutants.columns import ProgramWord

_SIGNS = {"=", "<", ">", "<=", ">=", "<>"}
_CONDITIONAL = {"IF", "WHEN"}


@final
@dataclass(frozen=True, slots=True)
class Relation:
    """What stands between two operands.

    Attributes:
        place: Of its first word among the condition's words; a ``NOT`` before it is the first.
        length: Of words.
        sign: It, as a sign, without the ``NOT``.
        is_negated: Whether a ``NOT`` stands before it.
        is_worded: Whether it is written in words.
    """

    place: int
    length: int
    sign: str
    is_negated: bool
    is_worded: bool


def conditions_of(words: Sequence[ProgramWord]) -> Iterator[tuple[str, Sequence[ProgramWord]]]:
    """The conditions of one statement, each with the word that it stands behind: IF, WHEN, UNTIL."""
    verb = words[0].up
    if verb in _CONDITIONAL:
        yield verb, words[1:]
    elif verb == "PERFORM":
        starts = [place + 1 for place, word in enumerate(words) if word.up == "UNTIL"]
        for start in starts:
            end = next(
                (near for near in range(start, len(words)) if words[near].up in ("AFTER", "VARYING")), len(words)
            )
            yield "UNTIL", words[start:end]


def relations_of(words: Sequence[ProgramWord]) -> Iterator[Relation]:
    """The relations of a condition, in order."""
    place = 0
    while place < len(words):
        is_negated = words[place].up == "NOT"
        length, sign = _relation(words, place + is_negated)
        if length:
            is_worded = words[place + is_negated].kind == "word"
            yield Relation(place, length + is_negated, sign, is_negated, is_worded)
            place += length + is_negated
        else:
            place += 1


def _relation(words: Sequence[ProgramWord], place: int) -> tuple[int, str]:
    """How many words it has, 0 for none, and its sign."""
    ups = [word.up for word in words[place : place + 5]]
    if not ups:
        return 0, ""
    if ups[0] in _SIGNS and words[place].kind == "sign":
        return 1, ups[0]
    if ups[0] in ("EQUAL", "EQUALS"):
        return 1 + (ups[1:2] == ["TO"]), "="
    if ups[0] in ("GREATER", "LESS"):
        sign = ">" if ups[0] == "GREATER" else "<"
        length = 1 + (ups[1:2] == ["THAN"])
        if ups[length : length + 2] == ["OR", "EQUAL"]:
            return length + 2 + (ups[length + 2 : length + 3] == ["TO"]), f"{sign}="
        return length, sign
    return 0, ""
