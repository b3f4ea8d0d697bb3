"""Steps that sample: a model answers problems, and answers worth learning from are kept.

In: a model of the run, or one behind an endpoint, and data sets. Out: ``traces.jsonl``, ``report.json`` of what was
kept and why the rest was not, and the attempts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Sampling
from spiritsafe.pipeline.context import RunContext, Trace, write_traces
from spiritsafe.pipeline.plan.memory import sampling_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, joined, sampling_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, Makes, Needs, Sets
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.answerer import drawing_compute, is_served, open_answerer
from spiritsafe.pipeline.stages.sets import TRACES_FILE, problems_of, task_of
from spiritsafe.pipeline.stages.source import chat_of
from spiritsafe.pipeline.step import DataFacts, Forecast, StageSpec, Step, Talk, Talks, Words, made_settings
from spiritsafe.report import count_text
from spiritsafe.rollouts import VerifiedAttempts, collect, read_attempts


def collected(directory: Path) -> Iterable[Talk]:
    """Attempts that a stage kept."""
    return ((a.problem_id, a.text, a.finish_reason, verdict) for a, verdict in read_attempts(directory))


@final
@register_kind("steps")
class SampleStep(FromEntry, Step):
    """Answers worth learning from.

    Attributes:
        name: Of the set of answers.
        from: The model that answers, here or behind its endpoint.
        on: Data sets whose problems are asked.
        num_samples: Attempts at each problem.
        keep: "verified": answers that the verifier accepts; of data that has none, all that came to their end. "all":
            every answer that came to its end, right or wrong. "rejected": those that the verifier finds wrong, for a
            control: what a student gains from these as well, it does not owe to the verdict.
        max_per_problem: Most answers kept of one problem.
        sampling: How tokens are drawn.
        shard_size: Problems that are written (and resumed) together.
    """

    makes: ClassVar[Makes] = "answers"
    kind: Literal["sample"] = "sample"
    on: Sets
    num_samples: int = Field(default=1, ge=1)
    keep: Literal["verified", "all", "rejected"] = "verified"
    max_per_problem: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling(temperature=0.7)
    shard_size: int = Field(default=128, ge=1)

    @property
    def needs(self) -> Needs:
        """Who answers what."""
        return replace(super().needs, problems=self.on, asks=(self.origin,), takes_files=(self.origin,))

    def words(self, node: Node) -> Words:
        """Who answers what."""
        attempts = f", {self.num_samples} attempts each" if self.num_samples > 1 else ""
        return Words(
            line=f"{node.name}: {self.origin} answers {', '.join(self.on)}{attempts}",
            origin=f"{self.origin}’s attempts ({node.name})",
            start=self.origin,
        )

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Nothing could be verified, or more is to be kept than drawn."""
        found = []
        facts = [forecast.sets[name] for name in self.on if name in forecast.sets]
        if self.keep == "verified" and facts and not any(one.verifies for one in facts):
            found.append(f'{node.name}: keep = "verified", and none of {", ".join(self.on)} has a verifier: set "all"')
        if self.keep == "rejected" and not all(one.verifies for one in facts):
            found.append(f'{node.name}: keep = "rejected", and not all of {", ".join(self.on)} have a verifier')
        if self.max_per_problem > self.num_samples:
            found.append(f"{node.name}: max_per_problem is {self.max_per_problem}, num_samples {self.num_samples}")
        return found

    def facts_of(self, node: Node, forecast: Forecast) -> DataFacts | None:
        """At most so many answers as are kept of each problem."""
        facts = [forecast.sets[name] for name in self.on if name in forecast.sets]
        count = sum(one.num_problems for one in facts)
        return DataFacts(
            task=facts[0].task if facts else "",
            num_problems=count,
            num_documents=count * min(self.num_samples, self.max_per_problem),
            verifies=any(one.verifies for one in facts),
            size=forecast.size_of(self.on),
        )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Drawing; what an endpoint draws costs nothing here."""
        answering = forecast.answering(self.origin)
        if not answering or is_served(forecast.recipe, self.origin):
            return []
        count = sum(forecast.sets[name].num_problems for name in self.on if name in forecast.sets) * self.num_samples
        size, most = forecast.size_of(self.on), self.sampling.max_tokens
        parts = [
            sampling_cost(node.name, config, count // len(answering), size, most, forecast.recipe)
            for config in answering.values()
        ]
        return [joined(node.name, parts)]

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Of the engine."""
        if is_served(forecast.recipe, self.origin):
            return None
        answering = forecast.answering(self.origin).items()
        peaks = [sampling_peak(forecast.recipe, name, config, forecast.device) for name, config in answering]
        return max(peaks, default=None)  # one of several is in memory at a time

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One; its attempts hold seconds, which differ each time: their digest without them is in the result."""
        settings, after = made_settings(node, recipe), node.needs
        work = partial(sample_answers, self)
        return [StageSpec(name=node.name, work=work, settings=settings, after=after, scratch=("attempts",))]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How many answers were kept."""
        result: dict[str, Any] = context.stage(node.name).result()
        return "sampled", f"{count_text(result['verified'])} of {count_text(result['asked'])} kept"

    def talks(self, context: RunContext, node: Node) -> Talks | None:
        """Attempts."""
        attempts = collected(context.stage(node.name).path / "attempts")
        return Talks(self.origin, problems_of(context, self.on), attempts)


def sample_answers(step: SampleStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Draw, keep what is worth it.

    Raises:
        EndpointError: The endpoint does not answer; what was answered is kept, and the same call goes on.
        BudgetError: What the endpoint may cost is spent.
    """
    task, problems = task_of(context, step.on), problems_of(context, step.on)
    generator = open_answerer(context, step.origin, events)
    try:
        report = collect(
            task,
            problems,
            generator,
            step.sampling,
            num_samples=step.num_samples,
            seed=context.seed("sample", step.name),
            directory=stage.path / "attempts",
            shard_size=step.shard_size,
            events=events,
        )
    finally:
        generator.close()
    unverified = frozenset(
        name for name in step.on if not context.stage(name).result()["verifies"] or step.keep == "all"
    )
    free = {problem.id for name in unverified for problem in problems_of(context, (name,))}
    kept = VerifiedAttempts(
        stage.path / "attempts",
        max_per_problem=step.max_per_problem,
        wanted="wrong" if step.keep == "rejected" else "correct",
        without_verifier=free,
    )
    by_id = {problem.id: problem for problem in problems}
    # what a stop string ended has no end of turn among its tokens: it is learnt as a text, which is given one
    vocabulary = "" if step.sampling.stop else _vocabulary(context, step.origin)
    write_traces(
        stage.path / TRACES_FILE,
        (
            Trace(
                problem=by_id[name],
                text=attempt.text,
                token_ids=attempt.token_ids if vocabulary else (),
                vocabulary=vocabulary,
            )
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
        "compute": drawing_compute(context, step.origin, report.num_tokens).to_json(),
        "summary": f"{counts.num_kept:,} of {counts.num_asked:,} answers kept",
    }


def _vocabulary(context: RunContext, name: str) -> str:
    """Of the tokens of a model's answers; "" where they are not here, or may be of several vocabularies."""
    is_one_here = not is_served(context.recipe, name) and context.recipe.node(name).recipe.outcome != "routed"
    return chat_of(context, name).vocab_fingerprint if is_one_here else ""
