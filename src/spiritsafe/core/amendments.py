"""What a re-issued certificate adds: the certificate that it supersedes, and each grade that was edited.

An edit is an examiner's answer to a dispute (:mod:`spiritsafe.core.disputes`). It never overwrites: the numbers from
before stay beside it, so that the result that the ledger committed to can be put together again. These records stand
inside the others and only hold data. Exercised by ``pytest tests/unit/core/test_amendments.py``.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from spiritsafe.core.outcomes import HalfResult, LedgerTime, OutcomeStatus
from spiritsafe.core.promises import Decision, Digest
from spiritsafe.core.records import Record, omit_default
from spiritsafe.core.shortened import PredictedScore
from spiritsafe.core.stats import Estimate, GapTest

__all__ = ["Amendment", "AppliedEdit", "GradeEdit", "Reason", "ResultNumbers"]

Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e]+$")
]
"""One line of words, which strangers' terminals will print: no control characters."""


class GradeEdit(Record):
    """A new grade for one try.

    Attributes:
        dispute: Digest of the dispute that it answers.
        before: What the grade was, earlier edits counted in.
        reason: Why, in the examiner's words.
    """

    dispute: Digest
    index: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    before: OutcomeStatus
    after: OutcomeStatus
    score_before: float = Field(ge=0.0, le=1.0)
    score_after: float = Field(ge=0.0, le=1.0)
    reason: Reason

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.before == self.after:
            raise ValueError(f"an edit from {self.before!r} to the same")
        if (self.after == "correct") != (self.score_after == 1.0):
            raise ValueError(f"status {self.after!r} with score {self.score_after}")
        return self


class AppliedEdit(Record):
    """An edit as a certificate lists it, with what the ledger says of it.

    Attributes:
        time: Of its ledger entry.
        editor: The examiner, for print.
        disputed_by: Who disputed the grade, for print.
        dispute_reason: Why, in their words.
    """

    edit: GradeEdit
    time: LedgerTime
    editor: str
    disputed_by: str
    dispute_reason: str


class ResultNumbers(Record):
    """All numbers of a result that follow from its outcomes."""

    sealed: HalfResult
    public: HalfResult
    gap: GapTest
    gap_statement: str
    twins: HalfResult | None = None
    memory: GapTest | None = None
    memory_statement: str = ""
    decision: Decision | None = None
    studied: Estimate | None = omit_default(None)
    studied_statement: str = omit_default("")
    predicted: PredictedScore | None = omit_default(None)


class Amendment(Record):
    """How a re-issued certificate's result differs from the sitting's.

    Attributes:
        supersedes: Digest of the certificate that this one takes the place of.
        edits: All of the sitting, in ledger order.
        original: The numbers before the first edit.
    """

    supersedes: Digest
    edits: tuple[AppliedEdit, ...] = Field(min_length=1)
    original: ResultNumbers
