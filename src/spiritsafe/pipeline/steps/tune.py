"""Steps that tune: a model of the run is fine-tuned on sets of answers, as DeepSeek-R1's base was on an RL model's.

In: a model, named sets of answers and how many of each. Out: ``model``, ``curve.json``, ``audit.json``, and how many
answers of each set were used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, Self, final

import torch
from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.models import LoraConfig, load_model, read_model_config, save_checkpoint
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, Traces, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.costs import budgeted
from spiritsafe.pipeline.plan.memory import Beside, dev_engine_bytes, training_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, training_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import MOST_REPEATS, WORKED, BudgetRecipe, Needs, StepEntry
from spiritsafe.pipeline.recipe.schema import Recipe, TeachRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.source import answerers, model_directory, parents_of
from spiritsafe.pipeline.stages.traces import cut_to_answers, tune_traces, worked_traces
from spiritsafe.pipeline.stages.training import (
    begin_lora,
    discard_training,
    documents_of,
    documents_path,
    end_lora,
    train_model,
)
from spiritsafe.pipeline.step import (
    Config,
    Forecast,
    StageSpec,
    Step,
    Words,
    engine_settings,
    made_settings,
    measured_settings,
)
from spiritsafe.report import count_text
from spiritsafe.tasks import load_task
from spiritsafe.training import TracesObjective, TrainConfig, TrainResult

ON_TRACES = "cross-entropy on traces"


def budget_words(budget: BudgetRecipe | None) -> str:
    """A budget in the plan."""
    return "" if budget is None else f", as many operations as {budget.share:g} of {budget.of}"


class TrainedStep(StepEntry, Step):
    """A step that trains the model it starts from, all of it or adapters that are merged then."""

    train: TrainConfig
    lora: LoraConfig | None = None
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)

    def refuse_seeds(self) -> None:
        """Refuse seeds of its own."""
        for name, part in (("train", self.train), ("lora", self.lora)):
            if part is not None and part.seed != 0:
                raise ValueError(f"{name}.seed has no effect: the recipe's seed gives each step its own, leave it out")

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return super().one_of(name, one).model_copy(update={"repeat": 1})

    def obstacles(self, name: str, foreign: set[str]) -> list[str]:
        """Adapters go on a Decoder alone."""
        return [f"{name} cannot put adapters on {self.start}"] if self.lora and self.start in foreign else []

    def peak(self, node: Node, forecast: Forecast) -> int:
        """Training; what a run trains it keeps in float32, whatever the base came in."""
        config = forecast.configs[node.name]
        config = config if self.start == "base" else {**config, "dtype": "float32"}
        beside = self.beside(forecast.recipe, config, forecast.device)
        return training_peak(self.train, config, forecast.device, beside)

    @abstractmethod
    def beside(self, recipe: Recipe, config: Config, device: torch.device) -> Beside:
        """What is in memory beside the model that is trained."""


@final
@register_kind("steps")
class TuneStep(TrainedStep):
    """Fine-tuning on sets of answers.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from.
        task: Decides only which dev problems the curve is measured on; None: the recipe's task.
        traces: Name of a set of answers, and the most documents taken of it: "worked", "sampled", sample steps.
        budget: Train for as many operations as another model took.
        lora: Train a low-rank correction only; it is merged into the weights of the model that is made.
        repeat: Make so many models, alike but for the seed; they are called name-1, name-2 and so on.
    """

    kind: Literal["tune"] = "tune"
    traces: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    budget: BudgetRecipe | None = None

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        self.refuse_seeds()
        return self

    @property
    def needs(self) -> Needs:
        """Its start, answers, and the model whose cost is its budget."""
        budget = () if self.budget is None else (self.budget.of,)
        worked = self.traces.get(WORKED, 0)
        return replace(super().needs, answers=tuple(self.traces), waits_for=budget, num_worked=worked)

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        budget = None if self.budget is None else self.budget.model_copy(update={"of": one(self.budget.of)})
        return super().one_of(name, one).model_copy(update={"budget": budget})

    def words(self, node: Node) -> Words:
        """Documents, and a gain."""
        documents = ", ".join(f"{count} {name}" for name, count in self.traces.items())
        return Words(
            line=f"tune      {node.name}: from {self.start}, at most {documents}{budget_words(self.budget)}",
            hypothesis=f"Fine-tuning on verified answers raised the score over {self.start}'s.",
            loss=ON_TRACES,
        )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Training on all that it may take."""
        own = forecast.configs[node.name]
        train = budgeted(self.train, self.budget, own, tuple(self.traces), forecast)
        return [training_cost(node.name, train, sum(self.traces.values()), forecast.size, own)]

    def beside(self, recipe: Recipe, config: Config, device: torch.device) -> Beside:
        """An engine for dev problems, adapters."""
        return Beside(lora=self.lora, other_bytes=dev_engine_bytes(recipe, config, device, self.train))

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        return [
            StageSpec(
                name=node.name,
                work=partial(tune_model, self),
                settings={**made_settings(node, recipe), **measured_settings(recipe)},
                after=node.stages_before,
                scratch=("training",),
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Answers of each set that were used."""
        counts: dict[str, Any] = dict(context.stage(node.name).result()["documents"])  # type: ignore[arg-type]
        return "fine-tuned", ", ".join(f"{count_text(count)} {name}" for name, count in counts.items())


@final
@register_kind("teach")
class Teach(TeachRecipe, Step):
    """The recipe's own section that tunes: the base model, on worked solutions."""

    def words(self, node: Node) -> Words:
        """Documents, and a gain."""
        return Words(
            line=f"teach     {self.problems} worked solutions, learning rate {self.train.learning_rate:g}",
            role="teacher",
            hypothesis="Teaching raised the score over the base model's.",
            loss=ON_TRACES,
        )

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Training."""
        return [training_cost(node.stage, self.train, self.problems, forecast.size, forecast.configs["base"])]

    def beside(self, recipe: Recipe, config: Config, device: torch.device) -> Beside:
        """An engine for dev problems; nothing heavy ran before."""
        return Beside(other_bytes=dev_engine_bytes(recipe, config, device, self.train), is_first=True)

    def peak(self, node: Node, forecast: Forecast) -> int:
        """Training."""
        config = forecast.configs["base"]
        return training_peak(self.train, config, forecast.device, self.beside(forecast.recipe, config, forecast.device))

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        return [
            StageSpec(
                name=node.stage,
                work=partial(teach, self),
                settings={**engine_settings(recipe), "teach": self.to_json()},
                after=("source", "traces"),
                scratch=("training",),
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Worked solutions that were accepted."""
        counts: dict[str, Any] = dict(context.stage("traces").result()["counts"])  # type: ignore[arg-type]
        return "fine-tuned", f"{count_text(counts['teach']['verified'])} worked solutions"


def tune_model(step: TuneStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune.

    Raises:
        RecipeError: None of the sets holds an answer.
        BudgetError: It does not fit into this machine's memory, or nothing is left of its budget.
    """
    chosen = tune_traces(context, step.traces)
    traces = Traces.joined(list(chosen.values()))
    if not traces:
        raise RecipeError(
            f"There is no answer to tune {step.name} on: {', '.join(step.traces)} hold none.",
            hint="Add worked solutions (traces = { worked = 100 }), or let the model that samples learn longer.",
        )
    result, trained = _fine_tune(
        step,
        context,
        stage,
        events,
        traces,
        name=step.name,
        start=step.start,
        budget=step.budget,
        lora=step.lora,
        task=step.task,
    )
    counts = {name: len(part) for name, part in chosen.items()}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    summary = f"{said}; {trained.tokens:,} tokens, loss {trained.final_loss:.3f}"
    return {**result, "documents": dict(counts), "summary": summary}


def teach(settings: Teach, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune the base model on its share of the worked traces."""
    traces: Sequence[Trace] = worked_traces(context, "teach")
    share = settings.direct_share
    if share:
        traces = cut_to_answers(load_task(context.recipe.task.spec), traces, share, seed=context.seed("direct"))
    result, trained = _fine_tune(settings, context, stage, events, traces, name="teacher", start="base")
    return {**result, "summary": f"{trained.steps} steps on {trained.tokens:,} tokens, loss {trained.final_loss:.3f}"}


def _fine_tune(
    made: TuneStep | Teach,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
    traces: Sequence[Trace],
    *,
    name: str,
    start: str,
    budget: BudgetRecipe | None = None,
    lora: LoraConfig | None = None,
    task: str | None = None,
) -> tuple[dict[str, JSON], TrainResult]:
    """1. what goes in, 2. checks, 3. training, 4. the checkpoint."""
    loaded = load_model(model_directory(context, start), dtype=torch.float32, device=context.device)  # 1.
    traces = in_vocabulary(traces, loaded.chat.vocab_fingerprint)
    documents = documents_of(loaded, traces, documents_path(stage))
    audit_stage(stage, loaded, documents, traces, made.train, events)  # 2.
    train = within_budget(
        context, made.train, budget, made.needs.answers, num_parameters=loaded.num_active, frozen=lora is not None
    )
    beside = made.beside(context.recipe, read_model_config(loaded.directory), context.device)
    config = fit_memory(stage, loaded, documents, train, events, device=context.device, beside=beside)
    begin_lora(lora, context, loaded, name=name)  # 3.
    result = train_model(context, stage, loaded, documents, TracesObjective(), config, events, task_spec=task)
    end_lora(lora, context, stage, loaded, name=name)
    writers = answerers(context, made.needs.answers)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        loaded.model,
        loaded.chat,
        name=f"{context.recipe.name}-{name}",
        license=loaded.checkpoint.license,
        parents=parents_of([(loaded.checkpoint, ("weights",)), *((writer, ("outputs",)) for writer in writers)]),
        recipe=context.run.hash,
    )
    discard_training(stage)
    told: dict[str, JSON] = {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": Compute.training(result.tokens, loaded.num_active, frozen=lora is not None).to_json(),
    }
    return told, result
