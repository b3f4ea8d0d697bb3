"""Steps that route: a router learns which of several models is likely to be right, and asks that one.

In: models of the run, and data whose problems they have not learnt from. Out: ``model``, a routed system, which answers
and sits exams like a model; and the attempts that it was learnt from. How a router is learnt is said in
:mod:`spiritsafe.serve.routing.calibrate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import ModelUse, Sampling
from spiritsafe.models import new_directory
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import sampling_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, joined, sampling_cost
from spiritsafe.pipeline.recipe.graph import Node, history_of
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import Makes, Name, Needs, Sets, StepEntry, changed, each_once
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.answerer import drawing_compute, is_served, open_answerer
from spiritsafe.pipeline.stages.sets import problems_of, task_of
from spiritsafe.pipeline.stages.source import lineage_of, model_directory, parents_in_run
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.rollouts import CollectReport, collect
from spiritsafe.serve import (
    LEAST_PROBLEMS,
    Router,
    RouterKind,
    calibrate_router,
    evidence_of,
    place_of,
    write_routed,
)

_KINDS: dict[str, RouterKind] = {"best": "best", "cheapest": "prompt"}


@final
@register_kind("steps")
class RouteStep(StepEntry, Step):
    """One system that asks one of several models for each answer, by the prompt.

    Attributes:
        name: Of the system that it makes. It answers, is measured and sits exams; nothing goes on from its weights, for
            it has none of its own.
        from: Models whose weights are here, of any architectures and tokenizers; files, too.
        on: Data sets whose problems all of them answer, so that the router learns who is right at what. None of the
            models has learnt from these.
        rule: "best": whoever is likeliest to be right is asked, whatever that costs. "cheapest": the cheapest model
            whose chance comes near enough to the best one's, as far as ``max_loss`` allows. An answer costs the model's
            bytes times the tokens that it drew.
        max_loss: Most accuracy to lose by "cheapest" against always asking the costliest model, with 95 % confidence.
        num_samples: Answers to each problem.
        sampling: How these are drawn.
    """

    makes: ClassVar[Makes] = "routed"
    kind: Literal["route"] = "route"
    origins: tuple[Name, ...] = Field(alias="from", min_length=2)
    on: Sets
    rule: Literal["best", "cheapest"] = "best"
    max_loss: float = Field(default=0.01, gt=0.0, lt=1.0)
    num_samples: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling(temperature=0.0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        each_once(self.origins)
        if self.rule == "best" and changed(self, {"max_loss"}):
            raise ValueError('max_loss: no effect on "best", which does not look at costs: set rule = "cheapest"')
        if self.num_samples > 1 and self.sampling.temperature == 0.0:
            raise ValueError("at temperature 0 all answers are one: set sampling.temperature, or num_samples = 1")
        return self

    @property
    def needs(self) -> Needs:
        """Models, whose weights are in the system as much as in a merged one; and problems."""
        used_as: tuple[tuple[str, tuple[ModelUse, ...]], ...] = tuple((name, ("weights",)) for name in self.origins)
        return Needs(
            models=self.origins, problems=self.on, reads=self.origins, used_as=used_as, takes_files=self.origins
        )

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return self.model_copy(update={"name": name, "origins": tuple(map(one, self.origins))})

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """What a model has learnt from says little of how good it is."""
        return [
            f"{self.name!r}: on names {name!r}, which {model!r} was made with: its answers there say too much for it; "
            "route on a data set of its own"
            for model in self.origins
            for name in self.on
            if name in history_of(nodes, model)
        ]

    def words(self, node: Node) -> Words:
        """Who is asked, and what that is learnt on."""
        how = "" if self.rule == "best" else f", the cheapest within {100 * self.max_loss:g} points"
        named = ", ".join(self.origins)
        return Words(
            line=f"{node.name}: one of {named} by the prompt, learnt on {', '.join(self.on)}{how}",
            role="routed",
            hypothesis=f"A router that asks one of {named} is right where the best of them is.",
            start=self.origins[0],
        )

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """It is no model with a configuration."""
        return None

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Nothing to tell right from wrong by, or too little; somebody else who would answer."""
        facts = {name: forecast.sets[name] for name in self.on if name in forecast.sets}
        found = [
            f"{node.name}: {name} has no verifier, so nobody knows who is right there: name another set in on"
            for name, one in facts.items()
            if not one.verifies
        ]
        found += [
            f"{node.name}: the endpoint of {name} would answer, and a routed system asks weights that are here: leave "
            f"endpoint out of [models.{name}]"
            for name in self.origins
            if is_served(forecast.recipe, name)
        ]
        count = sum(one.num_problems for one in facts.values())
        if len(facts) == len(self.on) and count < LEAST_PROBLEMS:
            found.append(f"{node.name}: a router learns from {LEAST_PROBLEMS} problems at least, and on has {count}")
        return found

    def _configs(self, forecast: Forecast) -> dict[str, Config]:
        return {name: forecast.configs[name] for name in self.origins if name in forecast.configs}

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Drawing, by each model; what is learnt then takes seconds."""
        count = sum(forecast.sets[name].num_problems for name in self.on if name in forecast.sets) * self.num_samples
        size, most = forecast.size_of(self.on), self.sampling.max_tokens
        parts = [
            sampling_cost(node.name, config, count, size, most, forecast.recipe)
            for config in self._configs(forecast).values()
        ]
        return [joined(node.name, parts)] if parts else []

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Of the largest: one model is in memory at a time."""
        configs = self._configs(forecast).items()
        peaks = [sampling_peak(forecast.recipe, name, config, forecast.device) for name, config in configs]
        return max(peaks, default=None)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One; its attempts hold seconds, which differ each time: the router is made of what does not."""
        settings, work = made_settings(node, recipe), partial(route_models, self)
        return [StageSpec(name=node.name, work=work, settings=settings, after=node.needs, scratch=("attempts",))]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Who has how many of the answers."""
        return "routed", str(context.stage(node.name).result()["summary"])


def route_models(step: RouteStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Write the routed system: 1. all models answer all problems, 2. a router learns from that, 3. it is written.

    Raises:
        CompatibilityError: Fewer problems than a router needs were graded, or two models are one.
    """
    reports = {name: _collected(step, name, context, stage, events) for name in step.origins}  # 1.
    models = {name: lineage_of(context, name) for name in step.origins}
    evidence = evidence_of(  # 2.
        [stage.path / "attempts" / name for name in step.origins],
        {problem.id: problem.messages for problem in problems_of(context, step.on)},
        cost="tokens",
        sizes=[models[name].weight_bytes for name in step.origins],
        names=step.origins,
    )
    router = calibrate_router(
        evidence, kind=_KINDS[step.rule], max_loss=step.max_loss, seed=context.seed("route", step.name, "learn")
    )
    target = stage.path / "model"
    with new_directory(target) as temporary:  # 3.
        checkpoint = write_routed(
            temporary,
            router,
            {
                models[name].digest: place_of(model_directory(context, name), target, context.run.path)
                for name in step.origins
            },
            list(models.values()),
            name=f"{context.recipe.name}-{step.name}",
            parents=parents_in_run(context, step.name),
            recipe=context.run.hash,
        )
    spent = [drawing_compute(context, name, report.num_tokens) for name, report in reports.items()]
    return {"digest": checkpoint.digest, "compute": Compute.total(spent).to_json(), "summary": _summary(router)}


def _collected(
    step: RouteStep, name: str, context: RunContext, stage: StageDirectory, events: EventSink
) -> CollectReport:
    """One model's attempts at all problems; the same call goes on after an interruption."""
    generator = open_answerer(context, name, events)
    try:
        return collect(
            task_of(context, step.on),
            problems_of(context, step.on),
            generator,
            step.sampling,
            num_samples=step.num_samples,
            seed=context.seed("route", step.name),
            directory=stage.path / "attempts" / name,
            events=events,
        )
    finally:
        generator.close()


def _summary(router: Router) -> str:
    asked = ", ".join(
        f"{rung.name} {share:.0%}" for rung, share in zip(router.rungs, router.point.answered, strict=True)
    )
    better = "" if router.is_better else "; not shown to be better than a coin"
    return f"{asked}; {router.point.accuracy.value:.0%} right on {router.num_problems:,} practice problems{better}"
