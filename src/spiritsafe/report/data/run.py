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
from spiritsafe.report.data.earlier import is_earlier, lifted
from spiritsafe.report.data.exam import ExamPart, ExamScore
from spiritsafe.report.data.inputs import Inputs
from spiritsafe.report.data.learning import MadeRow, Reinforced
from spiritsafe.report.data.measured import Measured, MeasuredCurve
from spiritsafe.report.data.models import Rung
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
    """One answer to one train or dev problem. Exam problems have no place in a report.

    Attributes:
        verdict: None where nothing here can grade the answer.
    """

    model: str
    split: Literal["train", "dev"]
    messages: tuple[Message, ...]
    text: str
    finish_reason: FinishReason
    verdict: Verdict | None = None


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
        ladder: Every model: those that were given first, then what steps made; the report keeps the order given.
        made: The staircase: every model and set of answers in the order of making, with what it took.
        reinforced: What learning by reward did, one a step.
        measured: What ``measure`` steps found.
        compute: Accuracy against compute, of ``measure`` steps.
        exams: Empty where the recipe has none: then nothing is certified.
        lineage: Every model of the run with its parents and licences.
    """

    run: RunInfo
    inputs: Inputs
    stages: tuple[Stage, ...] = ()
    curves: tuple[TrainingCurve, ...] = ()
    ladder: tuple[Rung, ...] = ()
    made: tuple[MadeRow, ...] = ()
    reinforced: tuple[Reinforced, ...] = ()
    measured: tuple[Measured, ...] = ()
    compute: tuple[MeasuredCurve, ...] = ()
    exams: tuple[ExamPart, ...] = ()
    transcripts: tuple[Transcript, ...] = ()
    memory: tuple[MemoryUse, ...] = ()
    lineage: tuple[Checkpoint, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, value: object) -> object:
        return lifted(value) if is_earlier(value) else value

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        models, exams = [rung.name for rung in self.ladder], [exam.name for exam in self.exams]
        for names in (models, exams):
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"{twice[0]} stands there twice")
        for exam in self.exams:
            if strangers := [score.model for score in exam.scores if score.model not in models]:
                raise ValueError(f"{strangers[0]} sat {exam.name} and is no model of the run")
        return self

    @property
    def teacher(self) -> Rung | None:
        """The one teacher whose size is known: what sizes are shares of."""
        teachers = [rung for rung in self.ladder if rung.role == "teacher"]
        return teachers[0] if len(teachers) == 1 and teachers[0].weight_bytes else None

    def is_given(self, rung: Rung) -> bool:
        """Whether a model was made elsewhere."""
        return rung.role in ("base", "given") or any(source.name == rung.name for source in self.inputs.sources)

    @property
    def unsat(self) -> tuple[Rung, ...]:
        """Models that sat no exam."""
        sat = {score.model for exam in self.exams for score in exam.scores}
        return tuple(rung for rung in self.ladder if rung.name not in sat)

    def sat(self, exam: ExamPart) -> list[tuple[Rung, ExamScore]]:
        """Who sat an exam, with the scores, in the ladder's order."""
        found = [(rung, exam.score_of(rung.name)) for rung in self.ladder]
        return [(rung, score) for rung, score in found if score is not None]

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def estimates(self) -> Iterator[Estimate]:
        """Every estimate that the report shows, but for curves of accuracy against compute, which say their own."""
        yield from (entry.floor for entry in self.inputs.data if entry.floor)
        for exam in self.exams:
            yield from exam.estimates()
        for step in self.reinforced:
            yield from step.estimates()
        for one in self.measured:
            yield from (found for found in (one.value, one.difference) if found)
        for curve in self.curves:
            yield from (point.score for point in curve.accuracies)
