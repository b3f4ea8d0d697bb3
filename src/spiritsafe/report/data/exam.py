"""What a report shows of an exam: paper, scores, outcomes, comparisons, certificates.

In: results and certificates, read by the pipeline. Out: the parts of :class:`~spiritsafe.report.data.run.ReportData`
that carry scores. A run has no exam, one or several.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, omit_default
from spiritsafe.exam.records import Half, OutcomeStatus, Promise, Separation
from spiritsafe.report.data.learning import Versus
from spiritsafe.stats import Estimate, GapTest


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
class PartScore(Record):
    """What one model scored on one part of a mixed exam.

    Attributes:
        part: The task, as the paper names it.
        sealed: Score on its sealed problems.
    """

    part: str
    sealed: Estimate


@final
class ExamScore(Record):
    """What one model scored in one exam.

    Attributes:
        model: As in the ladder.
        tokens_per_s: Tokens generated a second while sitting; None when not measured.
        sealed: Score on the sealed half.
        change: Against the given model that its weights come from, on the same problems, paired.
        against: That model; None where there is no change to state.
        gain: Against what it was made from, on the same problems, paired.
        gain_kept: Share of the teacher's gain over the base that a student kept.
        public: None when the paper had no public half.
        parts: Of an exam over several tasks each one's score.
    """

    model: str
    tokens_per_s: float | None = Field(default=None, ge=0.0)
    sealed: Estimate
    change: Estimate | None = None
    against: str | None = None
    gain: Estimate | None = None
    gain_kept: Estimate | None = None
    public: PublicHalf | None = None
    parts: tuple[PartScore, ...] = omit_default(())

    @model_validator(mode="after")
    def _says_against_what(self) -> Self:
        if (self.change is None) != (self.against is None):
            raise ValueError(f"{self.model}: a change names the model that it is against, and nothing else does")
        return self

    def estimates(self) -> Iterator[Estimate]:
        """Every estimate that is shown."""
        yield from (found for found in (self.sealed, self.change, self.gain, self.gain_kept) if found)
        if self.public:
            yield from (self.public.score, self.public.gap.gap)
        yield from (part.sealed for part in self.parts)


@final
class SeedsTogether(Record):
    """Models of one step that are alike but for the seed, added up: the best of some is no finding.

    Attributes:
        step: That made them.
        sealed: Share of right answers to the sealed problems.
        change: Against the given model that their weights come from, paired by problem.
        against: That model.
    """

    step: str
    models: tuple[str, ...] = Field(min_length=2)
    sealed: Estimate
    change: Estimate
    against: str


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


@final
class ExamPart(Record):
    """One exam: its paper, who sat it, and what came out.

    Attributes:
        name: In the recipe.
        task: Canonical spec of what was asked.
        paper: Digest.
        scores: Of the models that sat, in the ladder's order.
        seeds: Of steps that the recipe repeats and that learn by no reward (these have arms of their own).
        versus: Pairs of models that the recipe asked to compare.
        verification: None when no certificate was issued.
    """

    name: str
    task: str
    paper: str
    num_sealed: int = Field(ge=0)
    num_public: int = Field(default=0, ge=0)
    scores: tuple[ExamScore, ...] = ()
    outcomes: tuple[Outcomes, ...] = ()
    seeds: tuple[SeedsTogether, ...] = ()
    versus: tuple[Versus, ...] = ()
    verification: VerificationSummary | None = None

    def score_of(self, model: str) -> ExamScore | None:
        """What a model scored; None when it did not sit."""
        return next((score for score in self.scores if score.model == model), None)

    def estimates(self) -> Iterator[Estimate]:
        """Every estimate that is shown."""
        for score in self.scores:
            yield from score.estimates()
        for group in self.seeds:
            yield from (group.sealed, group.change)
        for pair in self.versus:
            yield from (pair.first_sealed, pair.second_sealed, pair.difference)
