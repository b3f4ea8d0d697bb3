"""Students: a model cut from its teacher, a random one of its shape, or one of its own, is distilled.

In: what :class:`~spiritsafe.pipeline.recipe.students.StudentRecipe` says. Out: stages "cut-…" and the student's own,
what they cost, and what is told of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import size_of
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.costs import budgeted
from spiritsafe.pipeline.plan.memory import Beside, training_peak
from spiritsafe.pipeline.plan.stage_cost import (
    StageCost,
    joined,
    reading_cost,
    sampling_cost,
    student_config,
    training_cost,
)
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.students import StudentRecipe, objectives
from spiritsafe.pipeline.stages.cut import cut_stage, make_cut
from spiritsafe.pipeline.stages.distil import make_student, student_beside
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.tune import ON_TRACES, budget_words
from spiritsafe.report import count_text
from spiritsafe.training import TrainConfig


@final
@register_kind("students")
class Student(StudentRecipe, Step):
    """One rung of the ladder."""

    copies_on_disk: ClassVar[int] = 2
    """As cut, and as healed."""

    def config_of(self, configs: Mapping[str, Config], sources: Mapping[str, Config]) -> Config:
        """Of its source, or of a cut in depth; a source that is not there is taken to be as large as the base."""
        if self.source is None:
            return student_config(configs[self.teacher], self)
        return configs.get(self.source) or sources.get(self.source) or configs["base"]

    def obstacles(self, name: str, foreign: set[str]) -> list[str]:
        """A cut is made from a Decoder alone."""
        return [f"{name} cannot be cut from {self.teacher}"] if self.source is None and self.teacher in foreign else []

    def words(self, node: Node) -> Words:
        """Size, objective, documents; that little is lost."""
        size = f"at most {self.share or 1.0:.0%} of the teacher's bytes"
        if self.source is not None:
            size = f"from {self.source}"
        elif self.max_bytes is not None:
            size = f"at most {self.max_bytes / 1e6:,.1f} MB in {self.quantisation}"
        budget = budget_words(self.budget)
        return Words(
            line=f"student   {node.name}: {size}, {self.objective}, {self.problems} documents{budget}",
            role="student",
            hypothesis="The student keeps most of the teacher's gain at fewer bytes.",
            loss=self._loss(),
            gain_of=self.teacher,
        )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """A student's training, its own answers, and its cut if it is the first that has it."""
        own, config, size = forecast.configs[self.name], forecast.configs[self.teacher], forecast.size
        reading = size_of(config).num_active if self.has_live_teacher else 0
        whole = budgeted(self.train, self.budget, own, self.traces, forecast, teacher_parameters=reading)
        train, parts = whole, list[StageCost]()
        if self.on_policy is not None:  # steps are as long as their documents
            policy = self.on_policy
            num_answers = policy.num_rounds * policy.num_drawn
            step_tokens = math.ceil(num_answers / policy.share * size.num_tokens / policy.num_steps)
            train = train.model_copy(update={"tokens_per_step": step_tokens})
            most = policy.sampling.max_tokens
            parts.append(sampling_cost(self.name, own, num_answers, size, most, forecast.recipe))
        teacher = config if self.has_live_teacher else None
        parts.insert(0, training_cost(self.name, train, self.problems, size, own, teacher))
        if self.source is None and self._is_first_cut(forecast.recipe):
            parts += self._cut_costs(whole, forecast)
        return [joined(self.name, parts)]

    def _is_first_cut(self, recipe: Recipe) -> bool:
        cuts = [s for s in (node.recipe for node in recipe.nodes) if isinstance(s, Student)]
        return next(s.name for s in cuts if (s.teacher, s.cut) == (self.teacher, self.cut)) == self.name

    def _cut_costs(self, train: TrainConfig, forecast: Forecast) -> list[StageCost]:
        """Calibration: block influence is one pass; "loss" tries each layer that is left, for each that goes."""
        own, config = forecast.configs[self.name], forecast.configs[self.teacher]
        layers, kept = int(config["num_hidden_layers"]), int(own["num_hidden_layers"])
        passes = 1.0
        if self.criterion == "loss":
            passes += sum(left * (left - 1) / layers for left in range(kept + 1, layers + 1))
        num_documents = math.ceil(passes * min(self.calibration, self.problems))
        parts = [reading_cost(self.name, config, num_documents, forecast.size, tokens_per_pass=2048)]
        if self.shape == "race":
            short = train.model_copy(update={"max_steps": self.race_steps, "max_epochs": None})
            lane = training_cost(self.name, short, self.problems, forecast.size, own, config)
            parts += [lane] * self.candidates
        return parts

    def beside(self, recipe: Recipe, config: Config, device: torch.device, *, teacher: Config | None = None) -> Beside:
        """A live teacher or its cached signal, matched layers, an engine where it answers itself."""
        return student_beside(self, recipe, config, device, teacher=teacher)

    def peak(self, node: Node, forecast: Forecast) -> int:
        """Training."""
        config = forecast.configs[self.name]
        beside = self.beside(forecast.recipe, config, forecast.device, teacher=forecast.configs[self.teacher])
        return training_peak(self.train, config, forecast.device, beside)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """A student and, where it is cut from its teacher, the cut."""
        settings, before = made_settings(node, recipe), node.stages_before
        cuts: list[StageSpec] = []
        if self.source is None:
            cut: dict[str, JSON] = {
                **{key: settings[key] for key in ("seed", "task")},
                "cut": self.cut.to_json(),
                "traces": list(self.traces),
                "problems": self.problems,
                # a race heals its candidates in the student's own way
                "train": self.train.to_json() if self.shape == "race" else None,
            }
            work, name = partial(make_cut, self), cut_stage(self, recipe.nodes)
            cuts = [StageSpec(name=name, work=work, settings=cut, after=before, scratch=("candidates", "race"))]
        cached = ("capture",) if self.needs.cache else ()
        made = StageSpec(
            name=self.name,
            work=partial(make_student, self),
            settings=settings,
            after=(*before, *(stage.name for stage in cuts), *cached),
            scratch=("training", "start", "rounds"),
        )
        return [*cuts, made]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Documents."""
        audit = read_json(context.stage(node.name).path / "audit.json")
        made_by = "fine-tuned" if self.objective == "traces" else "distilled"
        return made_by, f"{count_text(audit['num_documents'])} documents"

    def _loss(self) -> str:
        """Divergence, and what is added to it."""
        if self.objective == "traces":
            return ON_TRACES
        name = f"{objectives()[self.objective]} to the teacher"
        name += " + cross-entropy" if self.ce_share else ""
        name += " + hidden states" if self.hidden is not None else ""
        return name + (", on its own answers" if self.on_policy is not None else "")
