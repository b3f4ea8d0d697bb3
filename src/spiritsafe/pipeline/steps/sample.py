"""Steps that sample: answers worth learning from, each accepted by the task's verifier.

In: a model of the run and problems of the train bucket, or worked solutions. Out: ``traces.jsonl``, and ``report.json``
of attempts. The recipe's own section does it with the taught teacher.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.models import ChatFormat, active_parameters, open_generator, preferred_dtype, read_checkpoint
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, write_traces
from spiritsafe.pipeline.plan.memory import sampling_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, sampling_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import WORKED, Makes, Needs, StepEntry
from spiritsafe.pipeline.recipe.schema import Recipe, SampleRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.stages.traces import (
    TRACES_FILE,
    drawn_settings,
    kept_words,
    problem_parts,
    problems_of,
    write_solutions,
)
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Talk, Talks, Words, engine_settings
from spiritsafe.report import count_text
from spiritsafe.rollouts import VerifiedAttempts, collect, read_attempts
from spiritsafe.tasks import Task, load_task


def _collected(directory: Path) -> Iterable[Talk]:
    """Attempts that a stage kept."""
    return ((a.problem_id, a.text, a.finish_reason, verdict) for a, verdict in read_attempts(directory))


def _verified(context: RunContext, node: Node) -> tuple[str, str]:
    result: dict[str, Any] = context.stage(node.stage).result()
    return "sampled", f"{count_text(result['verified'])} of {count_text(result['asked'])} verified"


@final
@register_kind("steps")
class SampleStep(StepEntry, Step):
    """Answers worth learning from, each accepted by the verifier.

    Attributes:
        name: Of the set of answers.
        from: The model that answers (rejection sampling), or "worked": the solutions that come with the task.
        task: Whose problems; None: the recipe's task.
        problems: Of the train bucket, apart from those of every other step.
        keep: Most verified attempts kept of one problem.
        shard_size: Problems that are written (and resumed) together.
        direct_share: Of worked solutions, the share cut to their answer alone, as ``teach.direct_share`` does.
    """

    makes: ClassVar[Makes] = "answers"
    kind: Literal["sample"] = "sample"
    problems: int = Field(ge=1)
    num_samples: int = Field(default=1, ge=1)
    keep: int = Field(default=1, ge=1)
    sampling: Sampling | None = None
    shard_size: int = Field(default=128, ge=1)
    direct_share: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        if self.start != WORKED and self.direct_share:
            raise ValueError("direct_share cuts worked solutions; this step takes a model's attempts, leave it out")
        if self.start == WORKED:
            given = {"num_samples", "keep", "sampling", "shard_size"} & self.model_fields_set
            useless = {name for name in given if getattr(self, name) != type(self).model_fields[name].default}
            if useless:
                raise ValueError(f"{', '.join(sorted(useless))}: no effect on worked solutions, leave it out")
        elif self.sampling is None:
            raise ValueError("give sampling: how the model's attempts are drawn")
        return self

    @property
    def needs(self) -> Needs:
        """Who answers, and problems."""
        writer = () if self.start == WORKED else (self.start,)
        return Needs(models=writer, reads=writer, num_problems=self.problems)

    def words(self, node: Node) -> Words:
        """Who answers how many problems."""
        what = f"{self.problems} worked solutions"
        if self.sampling is not None:
            what = f"{self.start} answers {self.problems} problems × {self.num_samples}"
        writer = "worked solutions" if self.start == WORKED else f"{self.start}’s attempts"
        return Words(line=f"sample    {node.name}: {what}", origin=f"{writer} ({node.name})", start=self.start)

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Drawing; worked solutions cost nothing."""
        if self.sampling is None:
            return []
        config, size = forecast.configs[self.start], forecast.sizes.get(self.task or "", forecast.size)
        num_answers, most = self.problems * self.num_samples, self.sampling.max_tokens
        return [sampling_cost(node.name, config, num_answers, size, most, forecast.recipe)]

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Of the engine."""
        if self.sampling is None:
            return None
        return sampling_peak(forecast.recipe, forecast.configs[self.start], forecast.device)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        settings, after = drawn_settings(node, recipe)
        work = partial(sample_for, self)
        return [StageSpec(name=node.name, work=work, settings=settings, after=after, scratch=("attempts",))]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How many answers were kept."""
        return _verified(context, node)

    def talks(self, context: RunContext, node: Node) -> Talks | None:
        """Attempts."""
        if self.sampling is None:
            return None
        attempts = _collected(context.stage(node.name).path / "attempts")
        return Talks(self.start, problems_of(context, node.entry), attempts)


@final
@register_kind("sample")
class Sample(SampleRecipe, Step):
    """The recipe's own section that samples: the taught teacher answers."""

    def words(self, node: Node) -> Words:
        """Who answers how many problems."""
        return Words(
            line=f"sample    {self.problems} training problems × {self.num_samples} attempts",
            origin="teacher's attempts",
            start="teacher",
        )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Drawing."""
        config, num_answers, most = forecast.configs["base"], self.problems * self.num_samples, self.sampling.max_tokens
        return [sampling_cost(node.stage, config, num_answers, forecast.size, most, forecast.recipe)]

    def peak(self, node: Node, forecast: Forecast) -> int:
        """Of the engine."""
        return sampling_peak(forecast.recipe, forecast.configs["base"], forecast.device)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One; its attempts hold seconds, which differ each time: their digest without them is in the result."""
        return [
            StageSpec(
                name=node.stage,
                work=partial(sample_teacher, self),
                settings={**engine_settings(recipe), "sample": self.to_json()},
                after=("teach",),
                scratch=("attempts",),
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How many answers were kept."""
        return _verified(context, node)

    def talks(self, context: RunContext, node: Node) -> Talks:
        """Attempts."""
        return Talks("teacher", problems_of(context, "sample"), _collected(context.stage("sample").path / "attempts"))


def sample_teacher(made: Sample, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """The taught teacher answers its share of training problems; the verifier filters."""
    task = load_task(problem_parts(context.recipe)["sample"].task)
    problems = problems_of(context, "sample")
    return _sample(made, context, stage, events, "teacher", task, problems, made.sampling, seed=("sample",))


def sample_for(step: SampleStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """A step's answers: worked solutions, or a model's verified attempts."""
    task = load_task(step.task or context.recipe.task.spec)
    problems = problems_of(context, step.name)
    if step.sampling is None:
        cut = (step.direct_share, context.seed("direct", step.name))
        counts = write_solutions(task, problems, stage.path / TRACES_FILE, cut=cut)
        return {**counts, "summary": kept_words(counts)}
    seed = ("sample", step.name)
    return _sample(step, context, stage, events, step.start, task, problems, step.sampling, seed=seed)


def _sample(
    made: SampleStep | Sample,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
    model: str,
    task: Task,
    problems: list[Problem],
    sampling: Sampling,
    *,
    seed: tuple[str, ...],
) -> dict[str, JSON]:
    directory = model_directory(context, model)
    generator = open_generator(
        directory,
        max_batch=context.recipe.engine.max_batch,
        max_context=context.recipe.engine.max_context,
        device=context.device,
        dtype=preferred_dtype(context.device),
    )
    try:
        report = collect(
            task,
            problems,
            generator,
            sampling,
            num_samples=made.num_samples,
            seed=context.seed(*seed),
            directory=stage.path / "attempts",
            shard_size=made.shard_size,
            events=events,
        )
    finally:
        generator.close()
    kept = VerifiedAttempts(stage.path / "attempts", max_per_problem=made.keep)
    by_id = {problem.id: problem for problem in problems}
    vocabulary = ChatFormat(directory).vocab_fingerprint
    write_traces(
        stage.path / TRACES_FILE,
        (
            Trace(problem=by_id[name], text=attempt.text, token_ids=attempt.token_ids, vocabulary=vocabulary)
            for name, attempt in kept
        ),
    )
    counts = kept.report
    write_json(stage.path / "report.json", counts.to_json())
    return {
        "rows": report.rows_digest,
        "asked": counts.num_asked,
        "verified": counts.num_kept,
        "dropped": {str(reason): count for reason, count in counts.dropped.items()},
        "compute": Compute.generating(
            report.num_tokens, active_parameters(directory, read_checkpoint(directory))
        ).to_json(),
        "summary": f"{counts.num_kept} of {counts.num_asked} attempts verified",
    }
