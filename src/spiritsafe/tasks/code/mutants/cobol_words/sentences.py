"""The statements that the words of a COBOL procedure make.

In: words. Out: statements: each verb with what belongs to it, up to the next verb or what ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.mutants.columns import ProgramWord

_VERBS = frozenset(
    {
        "ACCEPT",
        "ADD",
        "ALTER",
        "CALL",
        "CANCEL",
        "CLOSE",
        "COMPUTE",
        "CONTINUE",
        "DELETE",
        "DISPLAY",
        "DIVIDE",
        "EVALUATE",
        "EXIT",
        "GO",
        "GOBACK",
        "IF",
        "INITIALIZE",
        "INSPECT",
        "MERGE",
        "MOVE",
        "MULTIPLY",
        "NEXT",
        "OPEN",
        "PERFORM",
        "READ",
        "RELEASE",
        "RETURN",
        "REWRITE",
        "SEARCH",
        "SET",
        "SORT",
        "START",
        "STOP",
        "STRING",
        "SUBTRACT",
        "UNSTRING",
        "WHEN",
        "WRITE",
    }
)
_CLAUSES = {"ON": ("SIZE", "OVERFLOW", "EXCEPTION"), "AT": ("END", "END-OF-PAGE", "EOP"), "INVALID": ("KEY",)}


@final
@dataclass(frozen=True, slots=True)
class CobolStatement:
    """A verb and what belongs to it.

    Attributes:
        words: The verb and its words; ``WHEN`` is a verb here.
        closer: The ``END-…`` that follows at once, if it is this verb's; that behind a PERFORM ends one around it.
        has_clause: Whether a clause such as ``ON SIZE ERROR`` follows, which needs the statement.
        body: Of a ``WHEN``: the words of its branch.
    """

    words: tuple[ProgramWord, ...]
    closer: ProgramWord | None
    has_clause: bool
    body: tuple[ProgramWord, ...] = ()

    @property
    def verb(self) -> str:
        """The verb in capitals."""
        return self.words[0].up


def cobol_statements(words: Sequence[ProgramWord]) -> Iterator[CobolStatement]:
    """The statements of procedures, in order; those inside others follow them."""
    place = 0
    while place < len(words):
        if words[place].up not in _VERBS:
            place += 1
            continue
        end = _end(words, place)
        after = words[end] if end < len(words) else None
        is_closed = after is not None and after.up == f"END-{words[place].up}" != "END-PERFORM"
        closer = after if is_closed else None
        has_clause = after is not None and (
            _is_clause(words, end) or (after.up == "NOT" and _is_clause(words, end + 1))
        )
        body = _branch(words, end) if words[place].up == "WHEN" else ()
        yield CobolStatement(tuple(words[place:end]), closer, has_clause, body)
        place = end


def _end(words: Sequence[ProgramWord], start: int) -> int:
    """Where the next statement begins, or what ends this one stands."""
    place = start + (2 if words[start].up == "EXIT" else 1)  # EXIT PERFORM is one verb
    while place < len(words):
        up = words[place].up
        if up in _VERBS or up in (".", "ELSE", "THEN") or _is_closer(up) or _is_clause(words, place):
            return place
        if up == "NOT" and _is_clause(words, place + 1):
            return place
        place += 1
    return place


def _is_closer(up: str) -> bool:
    """Whether it ends a statement, as END-IF does; names of data may begin so too."""
    return up.startswith("END-") and up.removeprefix("END-") in _VERBS


def _is_clause(words: Sequence[ProgramWord], place: int) -> bool:
    """Whether a clause for errors or ends begins here: ``ON SIZE ERROR``, ``AT END``, ``INVALID KEY``."""
    up, after = (words[near].up if near < len(words) else "" for near in (place, place + 1))
    if up == "END" and after in _VERBS:
        return True
    return after in _CLAUSES.get(up, ()) or (up == "SIZE" and after == "ERROR")


def _branch(words: Sequence[ProgramWord], start: int) -> tuple[ProgramWord, ...]:
    """What is done in a branch, up to the next one of the same EVALUATE."""
    if start >= len(words) or words[start].up not in _VERBS - {"WHEN"}:
        return ()
    depth = 0
    place = start
    while place < len(words):
        up = words[place].up
        if up == "." or (depth == 0 and up in ("WHEN", "END-EVALUATE", "END-SEARCH")):
            break
        depth += {"EVALUATE": 1, "SEARCH": 1, "END-EVALUATE": -1, "END-SEARCH": -1}.get(up, 0)
        place += 1
    return tuple(words[start:place])
