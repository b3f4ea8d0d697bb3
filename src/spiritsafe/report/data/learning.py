"""What a report shows of steps and of learning by reward, as frozen records.

In: the pipeline fills them from the run directory. Out: parts of :class:`~spiritsafe.report.data.run.ReportData`. Every
score is an :class:`~spiritsafe.stats.paired.Estimate`; a comparison with a control is a paired difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.records import Record
from spiritsafe.stats import Estimate

ArmKind = Literal["reinforced", "random", "format", "rft"]


@final
class MadeRow(Record):
    """One line of the staircase: a model or a set of answers, what it was made of, and what that took.

    Attributes:
        name: As in the ladder, for a model.
        made_by: How ("fine-tuned", "reinforced", "sampled", "distilled").
        start: What it went on from; None for a model that was given.
        counts: How much of what went in, in words ("512 of 2048 attempts kept").
        generated_tokens: Drawn for it.
        trained_tokens: That it learnt from, prompts included.
        read_tokens: Read by a live teacher.
        flops: Operations of its own stage.
        total_flops: Of all that it was made of, back to the models that were given.
    """

    name: str
    made_by: str
    start: str | None = None
    counts: str = ""
    generated_tokens: int = Field(default=0, ge=0)
    trained_tokens: int = Field(default=0, ge=0)
    read_tokens: int = Field(default=0, ge=0)
    flops: int = Field(default=0, ge=0)
    total_flops: int = Field(default=0, ge=0)


@final
class Versus(Record):
    """Two ways to a model, over their seeds.

    Attributes:
        num_seeds: Models of each that were added up.
        difference: First minus second on the same sealed problems, paired.
        p_value: Of that difference.
        first_flops: Operations spent on a first since both had the same weights, the drawing of its answers included.
        second_flops: The same of a second.
    """

    first: str
    second: str
    num_seeds: int = Field(ge=1)
    first_sealed: Estimate
    second_sealed: Estimate
    difference: Estimate
    p_value: float
    first_flops: int = Field(ge=0)
    second_flops: int = Field(ge=0)


@final
class RoundPoint(Record):
    """One round of answers. Shares and means are over the answers that were drawn; None: not known.

    Attributes:
        num_tokens: Drawn up to here.
        reward: Mean.
        right: Share of the answers that are correct, whatever was rewarded.
        solved: pass@k of the round's problems.
        length: Mean tokens of an answer.
        entropy: Nats a token.
        idle: Share of groups without an advantage, which teach nothing.
        changed: Share of weights that the round's updates changed.
        gap: Mean difference of log-probability between sampler and trainer, nats a token.
        dev: Score on dev problems after the round, where it was measured.
    """

    round: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    reward: float | None = None
    right: float | None = None
    solved: float | None = None
    length: float | None = None
    entropy: float | None = None
    idle: float | None = None
    changed: float | None = None
    gap: float | None = None
    dev: Estimate | None = None


@final
class RewardRun(Record):
    """One model's course.

    Attributes:
        kind: The real reward, or which control.
        trained_tokens: That it learnt from, prompts included.
        drawing_s: Seconds spent on drawing answers.
        grading_s: Waited for verdicts after that.
        training_s: Spent on updates.
        warnings: Why the start was not ready, before anything was learnt.
        alarms: Raised on the way, each a sentence with its round.
        ended_by: Why it ended before its last round.
    """

    name: str
    kind: ArmKind
    rounds: tuple[RoundPoint, ...]
    trained_tokens: int = Field(default=0, ge=0)
    drawing_s: float = Field(ge=0.0)
    grading_s: float = Field(ge=0.0)
    training_s: float = Field(ge=0.0)
    warnings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    ended_by: str | None = None


@final
class PassPoint(Record):
    """pass@k on dev problems, before and after; ``gain`` is paired by problem."""

    k: int = Field(ge=1)
    before: Estimate
    after: Estimate
    gain: Estimate


@final
class Arm(Record):
    """All models taught in one way, over their seeds.

    Attributes:
        exam: Which one's problems.
        num_seeds: Models that were pooled.
        sealed: Share of right answers to the sealed problems.
        gain: Against the start, paired by problem.
        behind: The real reward's arm minus this one, paired by problem; None for the real one.
        p_value: Of that difference.
    """

    kind: ArmKind
    num_seeds: int = Field(ge=1)
    sealed: Estimate
    gain: Estimate
    behind: Estimate | None = None
    p_value: float | None = None
    exam: str = "exam"


@final
class Reinforced(Record):
    """One table of a recipe's reinforcing steps, with its repetitions and controls.

    Attributes:
        start: What it went on from.
        method: The loss, in words.
        task: What was rewarded.
        k: Answers to a problem.
        runs: One a model, the real ones first.
        passes: pass@k before and after, pooled over seeds; empty when it was not measured.
        well_formed: Share of dev answers that could be read, before and after.
        arms: The real reward first, then its controls; of every exam that they sat.
    """

    name: str
    start: str
    method: str
    task: str
    k: int = Field(ge=1)
    runs: tuple[RewardRun, ...] = Field(min_length=1)
    passes: tuple[PassPoint, ...] = ()
    well_formed: tuple[Estimate, Estimate] | None = None
    arms: tuple[Arm, ...] = ()

    def arms_of(self, exam: str) -> tuple[Arm, ...]:
        """Those that sat one exam."""
        return tuple(arm for arm in self.arms if arm.exam == exam)

    def estimates(self) -> Iterator[Estimate]:
        """Every estimate that is shown."""
        for point in self.passes:
            yield from (point.before, point.after, point.gain)
        yield from self.well_formed or ()
        yield from (point.dev for run in self.runs for point in run.rounds if point.dev)
        for arm in self.arms:
            yield from (estimate for estimate in (arm.sealed, arm.gain, arm.behind) if estimate)
