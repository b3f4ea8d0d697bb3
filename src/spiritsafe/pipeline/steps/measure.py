"""Steps that measure: numbers about models on held-out problems, as practice; never a certificate.

In: models of the run, data sets, and what to measure. Out: ``measures.json``: every number with its interval, and every
model but the first with its paired difference from the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.errors import CompatibilityError, SpiritsafeError, TaskError
from spiritsafe.core.records import Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import require_same_vocabulary
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import reading_peak, sampling_peak
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.plan.stage_cost import StageCost, joined, reading_cost, sampling_cost
from spiritsafe.pipeline.recipe.cut import CutSettings
from spiritsafe.pipeline.recipe.data import DataRecipe
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Node, weights_of
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import NAME_PATTERN, Makes, Name, Needs, StepEntry, changed
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.answerer import is_served
from spiritsafe.pipeline.stages.measuring.measure import (
    LEAST_HELD_OUT,
    Asked,
    held_out_problems,
    measure_models,
    measures_of,
)
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.report import Measured, MeasuredCurve
from spiritsafe.tasks import build_task

_KL = "kl:"
_READ_AT_ONCE = 8192

What = Annotated[str, Field(pattern=rf"^(nll|accuracy|curve|kl:{NAME_PATTERN.strip('^$')})$")]


@final
@register_kind("steps")
class MeasureStep(StepEntry, Step):
    """How well models do on what was held out.

    Attributes:
        name: Of the measurement.
        from: Models; the others are held against the first.
        on: Data sets, of which problems are measured on that none of the recipe's sets trains on (the dev bucket).
        what: "nll": likelihood of the sets' answers, by the token and by the byte. "kl:<model>": the divergence of that
            teacher's distributions from the models'. "accuracy": the share of answers that the verifier accepts.
            "curve": accuracy against the tokens that are spent on a problem.
        problems: Most problems of each set.
        num_samples: Answers to each problem, for "accuracy" and "curve".
        sampling: How these are drawn.
    """

    makes: ClassVar[Makes] = "numbers"
    kind: Literal["measure"] = "measure"
    origins: tuple[Name, ...] = Field(alias="from", min_length=1)
    on: tuple[Name, ...] = Field(min_length=1)
    what: tuple[What, ...] = Field(default=("nll",), min_length=1)
    problems: int = Field(default=256, ge=LEAST_HELD_OUT)
    num_samples: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling(temperature=0.0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        for key, names in (("from", self.origins), ("on", self.on), ("what", self.what)):
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names one thing twice")
        if sum(one.startswith(_KL) for one in self.what) > 1:
            raise ValueError("what names two teachers: measure from each in a step of its own")
        if not self.asked.answers and (useless := changed(self, {"num_samples", "sampling"})):
            raise ValueError(f'{", ".join(useless)}: no effect without "accuracy" or "curve", leave it out')
        if self.num_samples > 1 and self.sampling.temperature == 0.0:
            raise ValueError("at temperature 0 all answers are one: set sampling.temperature, or num_samples = 1")
        if self.asked.curve and self.num_samples < 2:
            raise ValueError("a curve needs several answers: set num_samples = 8 and sampling = { temperature = 0.7 }")
        return self

    @property
    def asked(self) -> Asked:
        """What is measured."""
        teachers = [one.removeprefix(_KL) for one in self.what if one.startswith(_KL)]
        return Asked(
            likelihood="nll" in self.what,
            teacher=teachers[0] if teachers else None,
            accuracy="accuracy" in self.what,
            curve="curve" in self.what,
            problems=self.problems,
            num_samples=self.num_samples,
            sampling=self.sampling,
        )

    @property
    def needs(self) -> Needs:
        """Models and sets; nothing is made of them."""
        teacher = () if self.asked.teacher is None else (self.asked.teacher,)
        models = tuple(dict.fromkeys((*self.origins, *teacher)))
        asks = () if self.asked.reads else self.origins
        return Needs(models=models, problems=self.on, reads=models, asks=asks, takes_files=self.origins)

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        what = tuple(f"{_KL}{one(w.removeprefix(_KL))}" if w.startswith(_KL) else w for w in self.what)
        return self.model_copy(update={"name": name, "origins": tuple(map(one, self.origins)), "what": what})

    def words(self, node: Node) -> Words:
        """What of whom."""
        return Words(line=f"{node.name}: {', '.join(self.what)} of {', '.join(self.origins)} on {', '.join(self.on)}")

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Too little held out, nothing to read or to verify with, weights that are not here, other tokens."""
        found = [f"{node.name}: {fault}" for name in self.on for fault in self._set_faults(name, forecast.recipe)]
        tasks = [forecast.sets[name].task for name in self.on if name in forecast.sets]
        if len(set(tasks)) < len(tasks):
            found.append(f"{node.name}: two of {', '.join(self.on)} are of one task, so the same is held out: name one")
        if not self.asked.reads:
            return found
        served = [name for name in self.needs.models if _is_only_served(forecast.recipe, name)]
        found += [
            f"{node.name}: {name} is behind an endpoint, and its distributions are needed: add source to "
            f'[models.{name}], or measure "accuracy" alone'
            for name in served
        ]
        return found + [f"{node.name}: {fault}" for fault in self._vocabulary_faults(forecast)]

    def _set_faults(self, name: str, recipe: Recipe) -> Iterator[str]:
        table = recipe.data.get(name)
        if not isinstance(table, DataRecipe):
            return
        try:
            task = build_task(table.spec())
        except SpiritsafeError:
            return  # a fault of the set, which tells it
        if self.asked.answers and not task.verifies:
            yield f'{name} has no verifier, so its answers cannot be graded: measure "nll"'
        try:
            problems, _ = held_out_problems(task, self.problems, set(), seed=derive_seed(recipe.seed, "measure"))
        except TaskError as error:
            yield f"{error.message} Set problems to fewer"
            return
        if len(problems) < LEAST_HELD_OUT:
            yield f"{name} holds out {len(problems)} problems, and {LEAST_HELD_OUT} are needed: give it more rows"
        elif self.asked.reads and sum(one.solution is not None for one in problems) < LEAST_HELD_OUT:
            yield f'{name} has no answers to be read: measure "accuracy", or on a set with answers'

    def _vocabulary_faults(self, forecast: Forecast) -> Iterator[str]:
        teacher = self.asked.teacher
        if teacher is None:
            return
        nodes = forecast.recipe.nodes
        theirs = tokens_from(nodes, teacher)
        for name in self.origins:
            ours = tokens_from(nodes, name)
            chats = [forecast.chats.get(root) for root in (theirs, ours)]
            is_cut = any(root not in forecast.recipe.models for root in (theirs, ours))
            if theirs == ours or (None in chats and not is_cut):
                continue
            try:
                if is_cut:
                    raise CompatibilityError("a cut dropped some of them", hint="")
                require_same_vocabulary(*(chat for chat in chats if chat is not None))
            except CompatibilityError as error:
                yield (
                    f"{teacher} and {name} have other tokens ({error.message.rstrip('.')}): "
                    'measure "nll", whose bits a byte compare any two models'
                )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Reading by each model and the teacher beside it, and drawing; what an endpoint draws costs nothing here."""
        parts: list[StageCost] = []
        teacher = forecast.configs.get(self.asked.teacher or "")
        for name in self.on:
            size = forecast.size_of([name])
            for model in self.origins:
                answering = forecast.answering(model)
                for config in answering.values() if self.asked.reads else ():
                    readers = [one for one in (config, teacher) if one is not None]
                    parts += [reading_cost(node.name, one, self.problems, size, _READ_AT_ONCE) for one in readers]
                if self.asked.answers and not is_served(forecast.recipe, model):
                    count = self.problems * (self.num_samples + self.asked.curve)
                    parts += [
                        sampling_cost(
                            node.name,
                            config,
                            count // len(answering),
                            size,
                            self.sampling.max_tokens,
                            forecast.recipe,
                        )
                        for config in answering.values()
                    ]
        return [joined(node.name, parts)] if parts else []

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Of the largest model that reads, with the teacher's weights beside it, or that answers."""
        recipe, device, teacher = forecast.recipe, forecast.device, forecast.configs.get(self.asked.teacher or "")
        beside = 0
        if self.asked.teacher is not None and teacher is not None:
            beside = reading_of(recipe, self.asked.teacher, device).num_bytes(teacher)
        configs = {name: config for model in self.origins for name, config in forecast.answering(model).items()}
        peaks = []
        for name, config in configs.items():
            if self.asked.reads:
                peaks.append(reading_peak(recipe, name, config, _READ_AT_ONCE, device) + beside)
            if self.asked.answers:
                peaks.append(sampling_peak(recipe, name, config, device))
        return max(peaks, default=None)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One; attempts hold seconds, which differ each time."""
        work = partial(measure_models, self.origins, self.on, self.asked)
        settings, after = made_settings(node, recipe), (*node.needs, *recipe.data)
        return [
            StageSpec(
                name=node.name,
                work=work,
                settings=settings,
                after=tuple(dict.fromkeys(after)),
                scratch=("attempts",),
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """What was found."""
        return "measured", str(context.stage(node.name).result()["summary"])

    def measured(self, context: RunContext, node: Node) -> tuple[list[Measured], list[MeasuredCurve]]:
        """Every number, and curves."""
        return measures_of(context.stage(node.name)).reported(node.name)


def _is_only_served(recipe: Recipe, name: str) -> bool:
    given = recipe.models.get(name)
    return isinstance(given, GivenRecipe) and given.source is None


def tokens_from(nodes: Sequence[Node], name: str) -> str:
    """The model that a model's tokens are those of: a given one, or a cut that dropped some."""
    by_name = {node.name: node.recipe for node in nodes}
    chain = weights_of(nodes, name)
    return next(
        (one for one in chain if isinstance(recipe := by_name[one], CutSettings) and recipe.vocabulary == "seen"),
        chain[-1],
    )
