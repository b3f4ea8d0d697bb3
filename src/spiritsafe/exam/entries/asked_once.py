"""Asked once: what the openings of a sitting say of questions that were asked again.

In: the ledger entries that opened the paper for one registration, and its result. Out: :class:`Askings`, or an
:class:`IntegrityError` where they contradict each other. A process enters the next part of a sitting only after each
try of the part before has an answer, and what has an answer is never asked again; each entry commits to the journal so
far, so that a host who throws answers away, and asks again until it likes the score, contradicts its own entries.
Nothing here needs the journal; who has it holds it against the same marks (:meth:`Journal.check_holds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.accesses import HALVES, AccessEntry, count_openings
from spiritsafe.exam.records.result import ExamResult, JournalMark

_HINT = "Ask the examiner how the sitting was interrupted, and why questions were asked again."


@final
@dataclass(frozen=True, slots=True)
class Askings:
    """What the openings say.

    Attributes:
        num_openings: Processes that opened the paper for this sitting.
        is_committed: Each opening commits to the journal so far; those of older versions do not.
        again: Places of problems that were opened again after each of their tries had an answer.
        num_empty: Openings again with a journal that was not longer than at the opening before: an end before the first
            question looks the same as answers that were thrown away.
        num_taken_back: Times a try was sent, brought no byte of an answer and was open again, by the journal's lines.
    """

    num_openings: int
    is_committed: bool
    again: tuple[int, ...]
    num_empty: int
    num_taken_back: int


def journal_mark(opening: AccessEntry) -> JournalMark | None:
    """What an opening says of the journal; None in entries of older versions.

    Raises:
        IntegrityError: It cannot be read.
    """
    value = opening.entry.body.get("journal")
    return None if value is None else JournalMark.from_json(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise IntegrityError(message, hint=_HINT)


def _check_extends(before: JournalMark, after: JournalMark, where: str) -> None:
    lines, answers = after.lines - before.lines, after.answers - before.answers
    _require(
        lines >= answers >= 0 and (lines > 0 or after.digest == before.digest),
        f"The journal of {before.answers} answers that was on record is not the one {where}, of {after.answers} "
        "answers: answers were thrown away.",
    )


def _num_taken_back(result: ExamResult) -> int:
    """What the lines of the journal leave beside answers, their announcements and probes: two lines each time."""
    if result.journal is None or result.generator.kind == "local":
        return 0
    rounds = len(result.identity.rounds) if result.identity else 0
    return max(0, result.journal.lines - 2 * result.journal.answers - rounds) // 2


def askings(openings: Sequence[AccessEntry], result: ExamResult, num_tries: int) -> Askings:
    """Read the openings of a sitting in order.

    Args:
        openings: The examiner's, for the result's registration.
        num_tries: Registered tries a problem.

    Raises:
        IntegrityError: What they say of the journal contradicts itself, or is missing where it was before.
    """
    listed: set[int] = set()
    answered: set[int] = set()  # every try of these has an answer
    part: set[int] = set()
    again: set[int] = set()
    last: JournalMark | None = None
    num_empty = 0
    for entry in openings:
        where, mark = f"at entry {entry.index}", journal_mark(entry)
        if entry.continues:
            answered |= part
        if mark is not None:
            _require(
                mark.answers <= num_tries * len(listed),
                f"The journal {where} has more answers than questions had been asked.",
            )
            if mark.answers == num_tries * len(listed):
                answered |= listed
        if last is not None:
            _require(mark is not None, f"The opening {where} does not commit to the journal, and earlier ones do.")
        if last is not None and mark is not None:
            _check_extends(last, mark, where)
            num_empty += not entry.continues and mark.lines == last.lines
        part = entry.places(*HALVES)
        again |= part & answered
        listed |= part
        last = mark or last
    if last is not None:
        if result.journal is None:
            raise IntegrityError("The result does not commit to the journal, and the openings do.", hint=_HINT)
        _check_extends(last, result.journal, "of the result")
    _require(
        result.journal is None or result.journal.answers == len(result.outcomes),
        "The journal of the result has another number of answers than the result.",
    )
    return Askings(
        num_openings=count_openings(openings),
        is_committed=all(journal_mark(entry) is not None for entry in openings),
        again=tuple(sorted(again)),
        num_empty=num_empty,
        num_taken_back=_num_taken_back(result),
    )
