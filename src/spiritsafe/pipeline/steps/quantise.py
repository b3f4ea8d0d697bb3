"""Steps that quantise: a model is stored as a GGUF file, after it learnt to be that file where the recipe asks for it.

In: a model of the run, sets to calibrate or to learn on. Out: a file model. Learning is a ``distil`` step's, with the
model as its own teacher: what that costs and keeps in memory, and what can stand in its way, is asked of that step.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import FILE_TYPES, predict_file_bytes
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import reading_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, reading_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.quantise import QuantiseRecipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import TrainedRecipe
from spiritsafe.pipeline.stages.quantise import MASTER, WHOLE, quantise_model
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.distil import DistilStep
from spiritsafe.pipeline.steps.tune import learns_faults, learns_words
from spiritsafe.report import count_text

_TOKENS_AT_ONCE = 2048


@final
@register_kind("steps")
class QuantiseStep(QuantiseRecipe, Step):
    """A GGUF file out of a model."""

    def learning(self) -> DistilStep | None:
        """What learns before the file is written."""
        table = self.distil_table()
        return None if table is None else DistilStep.model_validate(table)

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """What a distillation is told."""
        learning = self.learning()
        return [] if learning is None else learning.faults_among(nodes)

    def words(self, node: Node) -> Words:
        """The type, and what is learnt."""
        kind = self.to.upper()
        line = f"{node.name}: {self.origin} as {kind}"
        if self.calibrate:
            line += f", weighed by {', '.join(self.calibrate)}"
        learning = self.learning()
        if learning is None:
            return Words(
                line=line, role="quantised", hypothesis=f"{self.origin} keeps its score when it is stored as {kind}."
            )
        return Words(
            line=f"{line}, learns {learns_words(learning.learns)} on that grid{learning.budget_words()}",
            role="quantised",
            hypothesis=f"{self.origin} keeps its score when it is stored as {kind} after learning on that grid.",
            loss=learning.words(node).loss,
        )

    def training(self) -> TrainedRecipe | None:
        """What it learns."""
        return self.learning()

    def file_bytes(self, config: Config) -> int | None:
        """The number itself, not an estimate."""
        return predict_file_bytes(config, self.to, importance=bool(self.calibrate))

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """GGUF must hold the family; llama.cpp writes its own types."""
        found = learns_faults(node.name, self.calibrate, forecast) if self.calibrate else []
        config = forecast.configs.get(self.origin)
        if config is not None:
            try:
                self.file_bytes(config)
            except CompatibilityError as error:
                return [*found, f"{node.name}: {error.diagnostics()}"]
        why = self._llama_reason(node, forecast.recipe)
        if why is not None and importlib.util.find_spec("llama_cpp_py_sync") is None:
            found.append(f"{node.name}: {why}: run `pip install 'spiritsafe[gguf]'`")
        learning = self.learning()
        return found if learning is None else [*found, *learning.faults(node, forecast)]

    def _llama_reason(self, node: Node, recipe: Recipe) -> str | None:
        """What needs llama.cpp; None: nothing does."""
        if self.calibrate or not FILE_TYPES[self.to].is_written_here:
            return f"llama.cpp's quantiser writes {self.to}{' by importance' if self.calibrate else ''}"
        sits = any(node.name in recipe.examinees(exam) for exam in recipe.exams)
        asked = any(node.name in one.recipe.needs.asks for one in recipe.made)
        return "llama.cpp answers from its file" if sits or asked else None

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Learning, or reading what importance is measured on; writing takes seconds."""
        learning, config = self.learning(), forecast.configs.get(self.origin)
        if learning is not None:
            return learning.costs(node, forecast)
        if not self.calibrate or config is None:
            return []
        count = min(self.calibration, forecast.num_documents(self.calibrate))
        return [reading_cost(node.name, config, count, forecast.size_of(self.calibrate), _TOKENS_AT_ONCE)]

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Learning, or reading; a file is written one matrix at a time."""
        learning, config = self.learning(), forecast.configs.get(self.origin)
        if learning is not None:
            return learning.peak(node, forecast)
        if not self.calibrate or config is None:
            return None
        return reading_peak(forecast.recipe, self.origin, config, _TOKENS_AT_ONCE, forecast.device)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        learning = self.learning()
        return [
            StageSpec(
                name=node.name,
                work=partial(quantise_model, self, learning),
                settings=made_settings(node, recipe),
                after=node.needs if learning is None else learning.stages_before(node, recipe),
                scratch=("training", "rounds", MASTER, WHOLE),
                is_exact=learning is None and not self.calibrate,
                is_collective=learning is not None,
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Type and bits; documents, where it learnt."""
        result: dict[str, Any] = context.stage(node.name).result()
        kind = f"as {self.to.upper()}, {result['file_facts']['bits_per_weight']:.2f} bits a weight"
        documents = sum(result.get("documents", {}).values())
        if not documents:
            return "quantised", kind
        return "distilled on its grid and quantised", f"{kind}, {count_text(documents)} documents"
