"""Steps that distil: a student follows its teacher's distributions, live or captured, on sets or on its own answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import require_same_vocabulary, size_of
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import Beside
from spiritsafe.pipeline.plan.stage_cost import StageCost, joined, sampling_cost, training_cost
from spiritsafe.pipeline.recipe.distil import DistilRecipe, objectives
from spiritsafe.pipeline.recipe.graph import Node, weights_of
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, wanted_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.distil.stage import distil_model, student_beside
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Words, made_settings
from spiritsafe.pipeline.steps.capture import CaptureStep
from spiritsafe.pipeline.steps.learning.trained import BudgetedStep
from spiritsafe.pipeline.steps.tune import learns_faults, learns_words
from spiritsafe.report import count_text
from spiritsafe.training import TrainConfig


@final
@register_kind("steps")
class DistilStep(DistilRecipe, BudgetedStep):
    """A student follows its teacher."""

    def words(self, node: Node) -> Words:
        """Teacher, objective, sets; that little is lost."""
        teacher = " and ".join(self.teachers) or f"signal {self.signal}"
        learns = learns_words(self.learns)
        return Words(
            line=f"{node.name}: from {self.origin}, follows {teacher} on {learns} ({self.objective})"
            + self.budget_words(),
            role="student",
            hypothesis="The student keeps most of the teacher's gain at fewer bytes.",
            loss=self._loss(),
            gain_of=self.teachers[0] if len(self.teachers) == 1 else None,
        )

    def _loss(self) -> str:
        """Divergence, and what is added to it."""
        name = f"{objectives()[self.objective]} to the teacher"
        name += " + cross-entropy" if self.ce_share else ""
        name += " + hidden states" if self.hidden is not None else ""
        return name + (", on its own answers" if self.on_policy is not None else "")

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """A signal must hold what is learnt from."""
        found = super().faults_among(nodes)
        captures = {node.name: node.recipe for node in nodes if isinstance(node.recipe, CaptureStep)}
        capture = captures.get(self.signal or "")
        if capture is None:
            return found
        has, wanted = wanted_of(capture.learns), wanted_of(self.learns)
        missing = [name for name, count in wanted.items() if not _holds(has, name, count)]
        if missing:
            found.append(
                f"{self.name!r} learns from {', '.join(missing)}, of which {self.signal!r} captures less: "
                f"let {self.signal!r} learn it as well"
            )
        return found

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Teacher and student must have the same tokens, but for "across"."""
        found = [*super().faults(node, forecast), *learns_faults(node.name, self.learns, forecast)]
        if self.hidden is not None:  # the last layer is left to the logits
            names = (self.origin, *self.teachers)
            flat = [name for name in names if forecast.configs.get(name, {}).get("num_hidden_layers") == 1]
            found += [
                f"{node.name}: {name} has one layer alone, so no hidden state is matched: leave hidden out"
                for name in flat
            ]
        recipe = forecast.recipe
        for teacher in self.needs.follows or self._captured(recipe):
            roots = [weights_of(recipe.nodes, name)[-1] for name in (teacher, self.origin)]
            theirs, ours = (forecast.chats.get(root) for root in roots)
            if self.objective == "across" or roots[0] == roots[1] or theirs is None or ours is None:
                continue
            try:
                require_same_vocabulary(theirs, ours)
            except CompatibilityError as error:
                found.append(
                    f"{node.name}: {teacher} and {self.origin} have other tokens ({error.message}); set objective = "
                    '"across", or learn from answers alone (kind = "tune")'
                )
        return found

    def _captured(self, recipe: Recipe) -> tuple[str, ...]:
        """Whose captured signal it follows."""
        capture = None if self.signal is None else recipe.node(self.signal).recipe
        return (capture.origin,) if isinstance(capture, FromEntry) else ()

    def planned_train(self, forecast: Forecast, config: Config) -> TrainConfig:
        """By the student's size and what it may learn from."""
        rounds = None if self.on_policy is None else self.on_policy.num_steps
        tokens = forecast.epoch_tokens(self.learns)
        train = self.train.config(size_of(config).num_active, epoch_tokens=tokens, way=self.way, max_steps=rounds)
        reading = max((size_of(c).num_active for c in self._live(forecast).values()), default=0)
        drawn = (*wanted_of(self.learns), *self.needs.signals)
        return self.budgeted(train, config, drawn, forecast, teacher_parameters=reading)

    def _live(self, forecast: Forecast) -> dict[str, Config]:
        return {name: config for name in self.teachers if (config := forecast.configs.get(name)) is not None}

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Training, a live teacher's reading, its own answers."""
        config = forecast.configs.get(node.name)
        if config is None:
            return []
        size, count = forecast.size_of(wanted_of(self.learns)), forecast.num_documents(self.learns)
        train, parts = self.planned_train(forecast, config), list[StageCost]()
        if self.on_policy is not None:  # steps are as long as their documents
            policy = self.on_policy
            num_answers = policy.num_rounds * policy.num_drawn
            step_tokens = max(1, math.ceil(num_answers / policy.share * size.num_tokens / policy.num_steps))
            train = train.model_copy(update={"tokens_per_step": step_tokens})
            most = policy.sampling.max_tokens
            parts.append(sampling_cost(node.name, config, num_answers, size, most, forecast.recipe))
        live = next(iter(self._live(forecast).values()), None)
        parts.insert(0, training_cost(node.name, train, count, size, config, live, lora=self.lora, base=self.base))
        return [joined(node.name, parts)]

    def beside(self, forecast: Forecast, config: Config) -> Beside:
        """A live teacher or its captured signal, matched layers, an engine where it answers itself."""
        train = self.planned_train(forecast, config)
        live = self._live(forecast)
        return student_beside(self, forecast.recipe, config, forecast.device, train, teachers=live)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        return [
            StageSpec(
                name=node.name,
                work=partial(distil_model, self),
                settings=made_settings(node, recipe),
                after=self.stages_before(node, recipe),
                scratch=("training", "rounds"),
                is_collective=True,
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Documents."""
        audit: dict[str, JSON] = read_json(context.stage(node.name).path / "audit.json")
        return "distilled", f"{count_text(int(str(audit['num_documents'])))} documents"


def _holds(has: dict[str, int | None], name: str, count: int | None) -> bool:
    """Whether so many of a set are captured."""
    if name not in has:
        return False
    most = has[name]
    return most is None or (count is not None and count <= most)
