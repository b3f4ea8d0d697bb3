"""Steps that quantise: a model is stored as a GGUF file, after it learnt to be that file where the recipe asks for it.

In: a model of the run, sets to calibrate or to learn on. Out: a file model. Learning is a ``distil`` step's, with the
model as its own teacher: what that costs and keeps in memory, and what can stand in its way, is asked of that step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self, final, get_args

from pydantic import Field, ValidationError, model_validator

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil import OnPolicyConfig
from spiritsafe.models import FILE_TYPES, FileGrid, FileTypeName, has_llama_cpp, predict_file_bytes
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import reading_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, reading_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import (
    MOST_REPEATS,
    BudgetRecipe,
    FromEntry,
    Learns,
    Makes,
    Name,
    Needs,
    changed,
    each_once,
    wanted_of,
)
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import DevRecipe, TrainedRecipe, TrainRecipe
from spiritsafe.pipeline.stages.measuring.files import MEASURED, measured_file
from spiritsafe.pipeline.stages.quantise import MASTER, WHOLE, Rounding, quantise_model
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.distil import DistilStep
from spiritsafe.pipeline.steps.tune import learns_faults, learns_words
from spiritsafe.report import FileFigures, count_text

_TOKENS_AT_ONCE = 2048
_NOT_WEIGHED = ("f32", "f16", "bf16", "q8_0")
"""Types whose rounding no importance changes."""


@final
@register_kind("steps")
class QuantiseStep(FromEntry, Step):
    """A GGUF file out of a model, which answers and sits exams as that very file.

    Attributes:
        name: Of the file model. Nothing goes on from its weights: steps that train name the model that it is of.
        from: The model that is stored.
        to: File type: "f16", "q8_0", "q4_0" and so on; llama.cpp's K- and IQ-types ("q4_k_m") need
            ``pip install 'spiritsafe[gguf]'``.
        calibrate: Sets whose texts tell which columns of a matrix matter (an importance matrix); llama.cpp then rounds
            by it.
        calibration: Documents that importance is measured on, of all these sets together.
        learns: Learn on the file's grid before it is written (quantisation-aware distillation): the model follows its
            own unquantised distributions on these sets, a part of them of general text, so that the file says what the
            model says. For "q8_0", "q5_1", "q5_0", "q4_1" and "q4_0".
        on_policy: Let the model, as the file holds it, write a share of what it learns from.
        train: How it learns; at most 5e-5 unless it says ``learning_rate``.
        repeat: Make so many files, alike but for the seed; they are called name-1, name-2 and so on.
        dev: Points of accuracy on the learning curve, of the model as the file holds it.
        budget: Learn for as many operations as another model took.
    """

    makes: ClassVar[Makes] = "file"
    kind: Literal["quantise"] = "quantise"
    to: FileTypeName
    calibrate: tuple[Name, ...] = ()
    calibration: int = Field(default=128, ge=1)
    learns: Learns | None = None
    on_policy: OnPolicyConfig | None = None
    train: TrainRecipe = TrainRecipe()
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    dev: DevRecipe | None = None
    budget: BudgetRecipe | None = None

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        each_once(self.calibrate)
        if useless := changed(
            self, {"on_policy", "train", "repeat", "dev", "budget"} if self.learns is None else set()
        ):
            raise ValueError(f"{', '.join(useless)}: an effect with learns only, leave it out")
        if self.learns is not None and self.to not in get_args(FileGrid):
            raise ValueError(
                f"learns is for {', '.join(get_args(FileGrid))}: nothing can be learnt on the grid of {self.to}"
            )
        if self.calibrate and (self.learns is not None or self.to in _NOT_WEIGHED):
            why = "with learns, whose grid is the plain one" if self.learns is not None else f"on {self.to}"
            raise ValueError(f"calibrate has no effect {why}: leave it out")
        if not self.calibrate and FILE_TYPES[self.to].needs_importance:
            raise ValueError(f"{self.to} is rubbish without importance: name sets in calibrate")
        if not self.calibrate and changed(self, {"calibration"}):
            raise ValueError("calibration: an effect with calibrate only, leave it out")
        try:
            self.learning()
        except ValidationError as error:  # what a distillation with these keys is told
            said = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
            raise ValueError("; ".join(said)) from error
        return self

    @property
    def needs(self) -> Needs:
        """What is stored, and what that is measured or learnt on."""
        budget = () if self.budget is None else (self.budget.of,)
        needs = replace(super().needs, sets=self.calibrate, waits_for=budget)
        if self.learns is None:
            return needs
        sets = tuple(wanted_of(self.learns))
        return replace(needs, sets=sets, learnt=sets, used_as=((self.origin, ("weights", "logits")),))

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        budget = None if self.budget is None else self.budget.model_copy(update={"of": one(self.budget.of)})
        return super().one_of(name, one).model_copy(update={"repeat": 1, "budget": budget})

    def learning(self) -> DistilStep | None:
        """What learns before the file is written: a distillation with the model as its own teacher."""
        if self.learns is None:
            return None
        keys = ("learns", "on_policy", "train", "dev", "budget")
        start = {"name": self.name, "from": self.origin, "teacher": self.origin, "grid": self.to}
        return DistilStep.model_validate({**{key: getattr(self, key) for key in keys}, **start})

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
        if why is not None and not has_llama_cpp():
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
        rounding = Rounding(to=self.to, calibrate=self.calibrate, calibration=self.calibration)
        return [
            StageSpec(
                name=node.name,
                work=partial(quantise_model, node.name, self.origin, rounding, learning),
                settings=made_settings(node, recipe),
                after=node.needs if learning is None else learning.stages_before(node, recipe),
                scratch=("training", "rounds", MASTER, WHOLE, MEASURED),
                is_exact=learning is None and not self.calibrate,
                is_collective=learning is not None,
            )
        ]

    def figures(self, context: RunContext, node: Node) -> FileFigures:
        """What the file holds, and what running it took."""
        stage = context.stage(node.name)
        result: dict[str, Any] = stage.result()
        facts, file = result["file_facts"], model_directory(context, node.name) / result["file"]
        found = measured_file(context, stage, self.origin, file)
        fidelity, speed = (found.fidelity, found.speed) if found else (None, None)
        return FileFigures(
            file=result["file"],
            of=self.origin,
            type=self.to.upper(),
            bits_per_weight=facts["bits_per_weight"],
            substituted_share=facts["substituted_share"],
            memory_bytes=speed.memory_bytes if speed else None,
            tokens_per_s=speed.tokens_per_s if speed else None,
            kl=fidelity.general.kl if fidelity else None,
        )

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Type and bits; documents, where it learnt."""
        result: dict[str, Any] = context.stage(node.name).result()
        kind = f"as {self.to.upper()}, {result['file_facts']['bits_per_weight']:.2f} bits a weight"
        documents = sum(result.get("documents", {}).values())
        if not documents:
            return "quantised", kind
        return "distilled on its grid and quantised", f"{kind}, {count_text(documents)} documents"
