"""What a report shows, as one frozen record.

In: the pipeline fills a :class:`ReportData` from the run directory. Out: ``build_report`` and ``terminal_summary`` read
nothing else, so a page can be rebuilt from the record's JSON alone. Scores cannot be given without an interval (each
is an :class:`~spiritsafe.stats.paired.Estimate`) and transcripts cannot come from the exam bucket: types, not habits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self, final

from pydantic import AwareDatetime, Field, model_validator

from spiritsafe.core.records import Checkpoint, FinishReason, Message, Record, Verdict, omit_default
from spiritsafe.report.data.exam import ExamInfo, Outcomes, Role, Rung, VerificationSummary
from spiritsafe.report.data.learning import MadeRow, Reinforced, Versus
from spiritsafe.report.numbers import memory_text
from spiritsafe.stats import Estimate

MEMORY_TOLERANCE = 0.1
"""A predicted peak that is off by more was missed."""


@final
class RunInfo(Record):
    """Which run this was, and how to repeat it.

    Attributes:
        recipe: Digest of the resolved recipe; names the run.
        finished: When the last stage ended.
        machine: Processor, accelerator, memory and operating system in one line.
        versions: Name of a program or library to its version.
        command: What repeats the run.
        platforms: What computed, in order, where the run was begun on one and continued on another.
        mixed_stages: Stages that no single one of them computed.
    """

    name: str
    recipe: str
    finished: AwareDatetime
    machine: str
    versions: dict[str, str]
    command: str
    platforms: tuple[str, ...] = omit_default(())
    mixed_stages: tuple[str, ...] = omit_default(())


@final
class Source(Record):
    """A model that went in: ``spec`` is what the recipe said (``hf:org/name``), the digest what was used."""

    name: str
    spec: str
    digest: str
    license: str
    num_parameters: int = Field(ge=0)
    weight_bytes: int = Field(ge=0)


@final
class TaskInfo(Record):
    """What was taught and examined.

    Attributes:
        name: Canonical task spec with its parameters.
        floor: What the best trivial answer scores, where the task was audited.
    """

    name: str
    verifier: str
    version: str
    example: str | None = None
    floor: Estimate | None = None


@final
class TraceCounts(Record):
    """How many traces were asked for, how many the verifier let through, and why the rest were dropped.

    Attributes:
        origin: Where they came from ("worked solutions", "teacher's attempts").
        dropped: Reason to count; with ``num_verified`` it adds up to ``num_asked``.
    """

    origin: str
    num_asked: int = Field(ge=0)
    num_verified: int = Field(ge=0)
    dropped: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.num_verified + sum(self.dropped.values()) != self.num_asked:
            raise ValueError("verified and dropped traces do not add up to those asked for")
        return self


@final
class Inputs(Record):
    """What went in."""

    sources: tuple[Source, ...]
    task: TaskInfo
    traces: tuple[TraceCounts, ...] = ()


@final
class Stage(Record):
    """One stage of the pipeline; ``num_tokens_trained`` only where it trained."""

    name: str
    seconds: float = Field(ge=0.0)
    num_tokens_trained: int | None = Field(default=None, ge=0)


@final
class LossPoint(Record):
    """Training loss after a step, in nats a token."""

    step: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    loss: float


@final
class AccuracyPoint(Record):
    """Score on dev problems at a step."""

    step: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    score: Estimate


@final
class TrainingCurve(Record):
    """How one training stage went.

    Attributes:
        loss_name: What the loss is ("cross-entropy on traces", "forward KL to the teacher").
    """

    stage: str
    loss_name: str
    losses: tuple[LossPoint, ...]
    accuracies: tuple[AccuracyPoint, ...] = ()


@final
class Transcript(Record):
    """One answer to one train or dev problem. Exam problems have no place in a report."""

    model: str
    split: Literal["train", "dev"]
    messages: tuple[Message, ...]
    text: str
    finish_reason: FinishReason
    verdict: Verdict


@final
class MemoryUse(Record):
    """What the plan said a step would need, and what it took.

    Attributes:
        predicted_bytes: None where nothing could be predicted.
        note: What is to be known of the prediction: what it leaves out, or why there is none.
    """

    what: str
    predicted_bytes: int | None = Field(default=None, ge=1)
    measured_bytes: int | None = Field(default=None, ge=1)
    note: str = ""

    @property
    def missed(self) -> str | None:
        """Where a whole prediction was off by more than a tenth: by how much, in words."""
        if self.measured_bytes is None or self.predicted_bytes is None or self.note:
            return None
        share = self.measured_bytes / self.predicted_bytes - 1.0
        if abs(share) <= MEMORY_TOLERANCE:
            return None
        return (
            f"{self.what}: predicted {memory_text(self.predicted_bytes)}, measured {memory_text(self.measured_bytes)}: "
            f"{abs(share):.0%} too {'low' if share > 0 else 'high'}"
        )


@final
class ReportData(Record):
    """Everything one report shows.

    Attributes:
        stages: In the order they ran.
        ladder: Base and teacher first, then what steps and students made; the report keeps the order given.
        exam: None when no exam was sat.
        made: The staircase: every model and set of answers in the order of making, with what it took.
        reinforced: What learning by reward did, one a step.
        versus: Pairs of models that the recipe asked to compare.
        lineage: Every model of the run with its parents and licences.
    """

    run: RunInfo
    inputs: Inputs
    stages: tuple[Stage, ...] = ()
    curves: tuple[TrainingCurve, ...] = ()
    ladder: tuple[Rung, ...] = ()
    made: tuple[MadeRow, ...] = ()
    reinforced: tuple[Reinforced, ...] = ()
    versus: tuple[Versus, ...] = ()
    exam: ExamInfo | None = None
    outcomes: tuple[Outcomes, ...] = ()
    transcripts: tuple[Transcript, ...] = ()
    memory: tuple[MemoryUse, ...] = ()
    verification: VerificationSummary | None = None
    lineage: tuple[Checkpoint, ...] = ()

    @model_validator(mode="after")
    def _one_base_one_teacher(self) -> Self:
        roles = [rung.role for rung in self.ladder]
        for role in ("base", "teacher"):
            if roles.count(role) > 1:
                raise ValueError(f"a ladder has one {role}, this one has {roles.count(role)}")
        return self

    def rung_of(self, role: Role) -> Rung | None:
        """The first model with that role."""
        return next((rung for rung in self.ladder if rung.role == role), None)

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def estimates(self) -> Iterator[Estimate]:
        """Every estimate that the report shows."""
        if self.inputs.task.floor:
            yield self.inputs.task.floor
        for rung in self.ladder:
            yield from (estimate for estimate in (rung.sealed, rung.change, rung.gain_kept) if estimate)
            if rung.public:
                yield from (rung.public.score, rung.public.gap.gap)
        yield from (row.gain for row in self.made if row.gain)
        for pair in self.versus:
            yield from (pair.first_sealed, pair.second_sealed, pair.difference)
        for step in self.reinforced:
            yield from step.estimates()
        for curve in self.curves:
            yield from (point.score for point in curve.accuracies)
