"""What came of the tries of a sitting: how each ended, one half's numbers, how far its journal is.

They stand inside the records of :mod:`spiritsafe.core.certificates` (which exports them too) and of
:mod:`spiritsafe.core.amendments`, and only hold data. Exercised by ``pytest tests/unit/core/test_outcomes.py``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from spiritsafe.core.intervals import Estimate
from spiritsafe.core.records import Record, omit_default

__all__ = [
    "Ending",
    "Half",
    "HalfResult",
    "Hex32",
    "JournalMark",
    "LedgerTime",
    "Outcome",
    "OutcomeStatus",
    "Timestamp",
    "instant",
]

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
LedgerTime = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
"""A time as a ledger's entry says it, and what repeats that. It has the shape of one and may be no instant at all
("9999-99-99T99:99:99.999Z"): anybody may append, and a line that is there stays. See :func:`instant`."""

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def instant(time: str) -> datetime | None:
    """The instant that a record's time names; None where it names none."""
    if not _INSTANT.fullmatch(time):
        return None
    try:
        return datetime.fromisoformat(time)
    except ValueError:
        return None


def _real(time: str) -> str:
    if instant(time) is None:
        raise ValueError(f"{time!r} is no instant, written as 2026-01-31T12:00:00.000Z")
    return time


Timestamp = Annotated[LedgerTime, AfterValidator(_real)]
"""An instant: UTC with milliseconds."""

Half = Literal["public", "sealed", "twin"]
Ending = Literal["complete", "stopped by rule", "budget exhausted", "chosen problems asked"]
OutcomeStatus = Literal["correct", "wrong", "unparsed", "unscored", "refused", "truncated", "error"]


class Outcome(Record):
    """How one try at one problem ended.

    Attributes:
        index: The problem's place in the bank.
        status: The verdict; or refused, truncated (cut off at the token limit before a right answer), error (no
            answer could be had). Only "correct" counts for accuracy.
        score: The verifier's score, partial credit included.
        commitment: Salted hash of attempt and verdict; the sealed half's holder can open it.
        lost: It was asked, and the answer was lost when the sitting was interrupted. Status "error": a remote model is
            never asked twice.
    """

    index: int = Field(ge=0)
    half: Half
    sample_index: int = Field(ge=0)
    status: OutcomeStatus
    score: float = Field(ge=0.0, le=1.0)
    num_prompt_tokens: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    commitment: Hex32
    lost: bool = omit_default(False)


class HalfResult(Record):
    """One half's numbers.

    Attributes:
        accuracy: Share of right answers among all committed ones; errors and unscored answers count as wrong. Where
            problems were not asked: among the asked ones, with an interval that holds whenever the sitting ended.
        answered_accuracy: The same without errors and unscored answers, for information; None if nothing is left.
        mean_score: Mean score with partial credit, for information.
        counts: Tries by status; with the problems not asked they sum to problems times tries.
        num_not_asked: Problems that were not asked, because the stop rule or the budget ended the sitting, or because
            only chosen ones were registered.
    """

    accuracy: Estimate
    answered_accuracy: Estimate | None
    mean_score: float
    counts: dict[OutcomeStatus, int]
    num_not_asked: int = omit_default(0, ge=0)


class JournalMark(Record):
    """How far a sitting's journal is: each opening of the paper commits to it, and so does the result.

    Attributes:
        lines: In the file, whatever they hold.
        answers: Among them, one for each try that has come to an end.
        digest: Hex SHA-256 over these lines, as they stand in the file.
    """

    lines: int = Field(ge=0)
    answers: int = Field(ge=0)
    digest: Hex32
