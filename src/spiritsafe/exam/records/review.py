"""After a sitting: disputes, edits of grades, answers that were revealed, papers that were opened."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from spiritsafe.core.records import Digest, LedgerTime, Record, omit_default
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem, Salt
from spiritsafe.exam.records.result import Decision, HalfResult
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.ledger import PublicKey
from spiritsafe.stats import Estimate, GapTest, PredictedScore

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


class Revealed(Record):
    """One try at one problem, opened for a dispute: it hashes to the two commitments and opens no other.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        problem: The problem with its salt.
        attempt: The answer, without the seconds that it took.
        verdict: What the verifier said; None when there was nothing to grade.
        salt: The salt of the answer's commitment.
    """

    format: Literal["spiritsafe.revealed/1"] = "spiritsafe.revealed/1"
    paper_id: Digest
    registration: Digest
    sample_index: int = Field(ge=0)
    problem: PaperProblem
    attempt: dict[str, JsonValue]
    verdict: dict[str, JsonValue] | None
    salt: Salt


class Dispute(Record):
    """That one try at one problem deserves another grade.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        index: The problem's place in the bank.
        proposed: What it should be.
        author: Who says so.
    """

    format: Literal["spiritsafe.dispute/1"] = "spiritsafe.dispute/1"
    paper_id: Digest
    registration: Digest
    index: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    graded: OutcomeStatus
    proposed: OutcomeStatus
    reason: Reason
    author: PublicKey


class OpenedPaper(Record):
    """A retired paper; the file ``opened/paper.json``.

    Attributes:
        problems: All of the bank in order, twins behind, with salts and gold answers; their commitments hash to the
            header's root.
    """

    format: Literal["spiritsafe.opened/1"] = "spiritsafe.opened/1"
    header: PaperHeader
    problems: tuple[PaperProblem, ...]


class OpenedAnswer(Record):
    """One try of a sitting, opened against its certificate's commitment.

    Attributes:
        attempt: The answer, without the seconds that it took.
        verdict: What the verifier said; None when there was nothing to grade.
        salt: The salt of the answer's commitment.
    """

    index: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    attempt: dict[str, JsonValue]
    verdict: dict[str, JsonValue] | None
    salt: Salt


class OpenedSitting(Record):
    """All answers of one sitting of a retired paper.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        answers: By place, then by try.
    """

    format: Literal["spiritsafe.answers/1"] = "spiritsafe.answers/1"
    paper_id: Digest
    registration: Digest
    answers: tuple[OpenedAnswer, ...]
