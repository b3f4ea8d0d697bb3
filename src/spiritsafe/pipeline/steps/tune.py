"""Steps that tune: a model of the run is fine-tuned on solutions and answers, as DeepSeek-R1's students were.

In: a model, named sets and how many documents of each. Out: ``model``, ``curve.json``, ``audit.json``, and how many
documents of each set were used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self, final

from pydantic import model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.models import read_model_config, save_checkpoint, size_of
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Traces, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.memory import Beside, engine_beside
from spiritsafe.pipeline.plan.stage_cost import StageCost, training_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import Learns, Needs, wanted_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import lineage_of, load_learner, parents_in_run, type_to_save
from spiritsafe.pipeline.stages.training import (
    begin_lora,
    dev_evaluation,
    discard_training,
    documents_of,
    documents_path,
    end_lora,
    train_model,
    within_context,
)
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Words, made_settings
from spiritsafe.pipeline.steps.trained import ON_TRACES, BudgetedStep, is_first
from spiritsafe.report import count_text
from spiritsafe.training import TracesObjective, TrainConfig


def learns_words(learns: Learns) -> str:
    """What is learnt from, in the plan."""
    return ", ".join(name if count is None else f"at most {count} {name}" for name, count in wanted_of(learns).items())


def learns_faults(name: str, learns: Learns, forecast: Forecast) -> list[str]:
    """Sets that hold nothing to learn from."""
    empty = [s for s in wanted_of(learns) if s in forecast.sets and not forecast.sets[s].num_documents]
    return [
        f"{name} learns from {one!r}, which has no solutions"
        + (
            ': let a model answer its problems (kind = "sample") and learn from those'
            if one in forecast.recipe.data
            else ""
        )
        for one in empty
    ]


@final
@register_kind("steps")
class TuneStep(BudgetedStep):
    """Fine-tuning on solutions and answers.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from.
        learns: Data sets (their solutions) and sets of answers; with a number, at most so many of each.
    """

    kind: Literal["tune"] = "tune"
    learns: Learns

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        self.refuse_seeds()
        return self

    @property
    def needs(self) -> Needs:
        """Its start and sets."""
        sets = tuple(wanted_of(self.learns))
        return replace(super().needs, sets=sets, learnt=sets)

    def words(self, node: Node) -> Words:
        """Documents, and a gain."""
        return Words(
            line=f"{node.name}: from {self.origin}, learns {learns_words(self.learns)}{self.budget_words()}",
            hypothesis=f"Fine-tuning raised the score over {self.origin}'s.",
            loss=ON_TRACES,
        )

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Nothing to learn from."""
        return [*super().faults(node, forecast), *learns_faults(node.name, self.learns, forecast)]

    def planned_train(self, forecast: Forecast, config: Config) -> TrainConfig:
        """By the model's size and what it may learn from."""
        size = size_of(config).num_active
        train = self.train.config(size, epoch_tokens=forecast.epoch_tokens(self.learns), way=self.way)
        return self.budgeted(train, config, tuple(wanted_of(self.learns)), forecast)

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Training on all that it may take."""
        config = forecast.configs.get(node.name)
        if config is None:
            return []
        train, count = self.planned_train(forecast, config), forecast.num_documents(self.learns)
        return [
            training_cost(
                node.name,
                train,
                count,
                forecast.size_of(wanted_of(self.learns)),
                config,
                lora=self.lora,
                base=self.base,
            )
        ]

    def beside(self, forecast: Forecast, config: Config) -> Beside:
        """An engine for dev problems, adapters."""
        return self._beside(forecast.recipe, config, forecast.device, self.planned_train(forecast, config))

    def _beside(self, recipe: Recipe, config: Mapping[str, Any], device: Any, train: TrainConfig) -> Beside:
        engine = 0 if self.dev is None else engine_beside(recipe, config, device, train)
        return Beside(lora=self.lora, base=self.base, other_bytes=engine)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        return [
            StageSpec(
                name=node.name,
                work=partial(tune_model, self),
                settings=made_settings(node, recipe),
                after=self.stages_before(node, recipe),
                scratch=("training",),
                is_collective=True,
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Documents of each set that were used."""
        counts: dict[str, Any] = dict(context.stage(node.name).result()["documents"])  # type: ignore[arg-type]
        return "fine-tuned", ", ".join(f"{count_text(count)} {name}" for name, count in counts.items())


def tune_model(step: TuneStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune: 1. what goes in, 2. checks, 3. training, 4. the checkpoint.

    Raises:
        RecipeError: None of the sets holds an answer.
        BudgetError: It does not fit into this machine's memory, or nothing is left of its budget.
    """
    chosen = chosen_traces(context, step.learns)  # 1.
    if not any(chosen.values()):
        raise RecipeError(
            f"There is no answer to tune {step.name} on: {', '.join(chosen)} hold none.",
            hint="Add data with solutions, or let the model that samples learn longer.",
        )
    loaded = load_learner(context, step.origin, step.base)
    chosen = within_context(loaded.chat, loaded.model.max_context, chosen, events, name=step.name)
    if not any(chosen.values()):
        raise RecipeError(
            f"Every answer is longer than the {loaded.model.max_context} tokens that {step.origin} reads.",
            hint="Lower max_tokens of the step that samples, or take a model with a longer context.",
        )
    traces = in_vocabulary(Traces.joined(list(chosen.values())), loaded.chat.vocab_fingerprint)
    documents = documents_of(loaded, traces, documents_path(stage))
    wish = step.train.config(loaded.num_active, epoch_tokens=documents.num_tokens, way=step.way)
    audit_stage(stage, loaded, documents, traces, wish, events)  # 2.
    is_frozen = step.lora is not None
    train = within_budget(context, wish, step.budget, tuple(chosen), num_parameters=loaded.num_active, frozen=is_frozen)
    beside = step._beside(context.recipe, read_model_config(loaded.directory), context.device, train)
    beside = replace(beside, is_first=is_first(context.recipe, step.name))
    config = fit_memory(stage, loaded, documents, train, events, device=context.device, beside=beside)
    begin_lora(step.lora, context, loaded, name=step.name)  # 3.
    evaluate = dev_evaluation(context, loaded, step)
    result = train_model(context, stage, loaded, documents, TracesObjective(), config, events, evaluate=evaluate)
    if not stage.is_main:
        return {}
    made = end_lora(step.lora, context, stage, loaded, name=step.name)
    start = lineage_of(context, step.origin)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        made,
        loaded.chat,
        name=f"{context.recipe.name}-{step.name}",
        license=start.license,
        parents=parents_in_run(context, step.name),
        recipe=context.run.hash,
        dtype=type_to_save(context, step.origin, step.save_dtype),
    )
    discard_training(stage)
    counts = {name: len(part) for name, part in chosen.items()}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": Compute.training(result.tokens, loaded.num_active, frozen=is_frozen).to_json(),
        "documents": dict(counts),
        "summary": f"{said}; {result.tokens:,} tokens, loss {result.final_loss:.3f}",
    }
