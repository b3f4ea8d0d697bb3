"""Steps that cut: a smaller model out of a larger one, within a budget of bytes.

In: a dense decoder, sets to calibrate on. Out: ``model`` with ``cut.json`` beside its weights, which says what it is
made of, and ``report.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import BudgetError
from spiritsafe.models import DECODER_NAMES, decoder_config, size_of
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.stage_cost import StageCost, joined, reading_cost, student_config, training_cost
from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.cut import make_cut
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.tune import learns_faults


@final
@register_kind("steps")
class CutStep(CutRecipe, Step):
    """A smaller model out of a larger one."""

    def sits_by_default(self, *, is_gone_on_from: bool) -> bool:
        """Most cuts are there to be healed."""
        return not is_gone_on_from

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """Of a cut in depth."""
        whole = configs.get(self.origin)
        if whole is None or decoder_config(whole) is None:
            return whole
        try:
            config = student_config(whole, self)
        except BudgetError:
            return None  # it is a fault of the recipe, told as one
        return config if self.save_dtype == "auto" else {**config, "dtype": self.save_dtype}

    def words(self, node: Node) -> Words:
        """Size."""
        size = f"at most {self.share or 1.0:.0%} of its bytes"
        if self.max_bytes is not None:
            size = f"at most {self.max_bytes / 1e6:,.1f} MB in {self.quantisation}"
        random = ", random weights" if self.start == "random" else ""
        return Words(
            line=f"{node.name}: from {self.origin}, {size}{random}",
            role="cut",
            hypothesis=f"A cut that was not healed scores less than {self.origin}.",
            start=self.origin,
        )

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """A cut is made from a dense decoder alone, and must hold a layer."""
        found = learns_faults(node.name, self.calibrate, forecast)
        config = forecast.configs.get(self.origin)
        if config is None:
            return found
        if decoder_config(config) is None:
            return [
                *found,
                f"{node.name} cannot be cut from {self.origin}: transformers runs it, and cuts are for dense "
                f"{DECODER_NAMES} models; give its student a small model of its own, "
                '(with objective = "across" the tokenizer may be another)',
            ]
        try:
            student_config(config, self)
        except BudgetError as error:
            found.append(f"{node.name}: {error.message}")
        return found

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Calibration: block influence is one pass; "loss" tries each layer that is left, for each that goes."""
        own, config = forecast.configs.get(node.name), forecast.configs.get(self.origin)
        if own is None or config is None or "num_hidden_layers" not in own:
            return []
        size, count = forecast.size_of(self.calibrate), forecast.num_documents(self.calibrate)
        layers, kept = int(config["num_hidden_layers"]), int(own["num_hidden_layers"])
        passes = 1.0
        if self.criterion == "loss":
            passes += sum(left * (left - 1) / layers for left in range(kept + 1, layers + 1))
        num_documents = math.ceil(passes * min(self.calibration, count))
        parts = [reading_cost(node.name, config, num_documents, size, tokens_per_pass=2048)]
        if self.shape == "race":
            train = self.train.config(
                size_of(own).num_active, epoch_tokens=forecast.epoch_tokens(self.calibrate), max_steps=self.race_steps
            )
            parts += [training_cost(node.name, train, count, size, own, config)] * self.candidates
        return [joined(node.name, parts)]

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        return [
            StageSpec(
                name=node.name,
                work=partial(make_cut, self),
                settings=made_settings(node, recipe),
                after=node.needs,
                scratch=("candidates", "race", "start"),
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Its shape."""
        result: dict[str, JSON] = context.stage(node.name).result()
        return ("drawn at random" if self.start == "random" else "cut"), str(result["summary"])
