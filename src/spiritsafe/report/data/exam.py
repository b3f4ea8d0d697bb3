"""What a report shows of the exam: ladder, outcomes, certificates.

In: results and certificates, read by the pipeline. Out: the parts of :class:`~spiritsafe.report.data.run.ReportData`
that carry scores.
"""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record
from spiritsafe.exam.records import Half, OutcomeStatus, Promise, Separation
from spiritsafe.stats import Estimate, GapTest

Role = Literal["base", "teacher", "student", "reinforced", "tuned", "control"]
"""What a model is in its run: steps make "reinforced" and "tuned" ones; a "control" stands beside one of them."""


@final
class PublicHalf(Record):
    """The public half of the same bank, and what the exam's test says of the gap.

    Attributes:
        gap: Public minus sealed.
        statement: The exam's finding in its own words.
        gain_statement: The finding of the same test on the gain over the base, problem by problem.
    """

    score: Estimate
    gap: GapTest
    statement: str
    gain_statement: str | None = None


@final
class Rung(Record):
    """One model of the ladder.

    Attributes:
        tokens_per_s: Tokens generated a second while sitting; None when not measured.
        sealed: Score on the sealed half; None when it did not sit.
        change: Against the base on the same problems, paired.
        gain_kept: Share of the teacher's gain over the base that a student kept.
        public: None when the paper had no public half.
    """

    name: str
    role: Role
    num_parameters: int = Field(ge=0)
    weight_bytes: int = Field(ge=1)
    tokens_per_s: float | None = Field(default=None, ge=0.0)
    sealed: Estimate | None = None
    change: Estimate | None = None
    gain_kept: Estimate | None = None
    public: PublicHalf | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.sealed is None and (self.change or self.gain_kept or self.public):
            raise ValueError(f"{self.name} has comparisons but no sealed score")
        return self


@final
class Outcomes(Record):
    """Every try of one sitting's half, each counted once under how it ended."""

    model: str
    half: Half
    counts: dict[OutcomeStatus, int]

    @property
    def num_tries(self) -> int:
        """The denominator."""
        return sum(self.counts.values())


@final
class ExamInfo(Record):
    """The paper all models sat."""

    paper: str
    num_sealed: int = Field(ge=0)
    num_public: int = Field(default=0, ge=0)


@final
class VerificationStep(Record):
    """One thing a stranger does: what it shows, and the command."""

    text: str
    command: str | None = None


@final
class CertificateReference(Record):
    """A certificate.

    Attributes:
        path: Where it lies, relative to the run directory.
        statements: What it promises and what not, in its own words.
        promises: What was found of each promise when the report was made.
    """

    model: str
    digest: str
    path: str
    statements: tuple[str, ...] = ()
    promises: tuple[Promise, ...] = ()


@final
class VerificationSummary(Record):
    """How a stranger checks all this.

    Attributes:
        separation: Which parts different keys played.
        counter_signers: Who repeated a sitting and signed that the results agree.
        ledger_head: Root of the signed ledger head.
    """

    separation: Separation
    counter_signers: tuple[str, ...] = ()
    steps: tuple[VerificationStep, ...]
    certificates: tuple[CertificateReference, ...]
    ledger_head: str | None = None
