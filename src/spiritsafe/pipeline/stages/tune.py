"""Steps that tune: a model of the run is fine-tuned on sets of answers, as DeepSeek-R1's base was on an RL model's.

In: a model, named sets of answers and how many of each. Out: ``model``, ``curve.json``, ``audit.json``, and how many
answers of each set were used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.models import load_model, parent_of, read_model_config, save_checkpoint
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, Traces, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.memory import beside_of
from spiritsafe.pipeline.recipe.steps import TuneStep
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.source import answerers, base_directory, model_directory, parents_of
from spiritsafe.pipeline.stages.traces import cut_to_answers, tune_traces, worked_traces
from spiritsafe.pipeline.stages.training import (
    begin_lora,
    discard_training,
    documents_of,
    documents_path,
    end_lora,
    train_model,
)
from spiritsafe.tasks import load_task
from spiritsafe.training import TracesObjective


def tune_model(step: TuneStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune.

    Raises:
        RecipeError: None of the sets holds an answer.
        BudgetError: It does not fit into this machine's memory, or nothing is left of its budget.
    """
    loaded = load_model(model_directory(context, step.start), dtype=torch.float32, device=context.device)
    chosen = tune_traces(context, step.traces)
    fingerprint = loaded.chat.vocab_fingerprint
    traces = in_vocabulary(Traces.joined(list(chosen.values())), fingerprint)
    if not traces:
        raise RecipeError(
            f"There is no answer to tune {step.name} on: {', '.join(step.traces)} hold none.",
            hint="Add worked solutions (traces = { worked = 100 }), or let the model that samples learn longer.",
        )
    documents = documents_of(loaded, traces, documents_path(stage))
    audit_stage(stage, loaded, documents, traces, step.train, events)
    train = within_budget(
        context,
        step.train,
        step.budget,
        step.traces,
        num_parameters=loaded.num_active,
        frozen=step.lora is not None,
    )
    beside = beside_of(step, context.recipe, read_model_config(loaded.directory), context.device)
    config = fit_memory(stage, loaded, documents, train, events, device=context.device, beside=beside)
    begin_lora(step.lora, context, loaded, name=step.name)
    result = train_model(context, stage, loaded, documents, TracesObjective(), config, events, task_spec=step.task)
    end_lora(step.lora, context, stage, loaded, name=step.name)
    checkpoint = save_checkpoint(
        stage.path / "model",
        loaded.model,
        loaded.chat,
        name=f"{context.recipe.name}-{step.name}",
        license=loaded.checkpoint.license,
        parents=parents_of(
            [(loaded.checkpoint, ("weights",)), *((m, ("outputs",)) for m in answerers(context, step.traces))]
        ),
        recipe=context.run.hash,
    )
    discard_training(stage)
    counts = {name: len(part) for name, part in chosen.items()}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "documents": dict(counts),
        "compute": Compute.training(result.tokens, loaded.num_active, frozen=step.lora is not None).to_json(),
        "summary": f"{said}; {result.tokens:,} tokens, loss {result.final_loss:.3f}",
    }


def teach(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune the base model on its share of the worked traces."""
    directory: Path = base_directory(context)
    loaded = load_model(directory, dtype=torch.float32, device=context.device)
    traces: Sequence[Trace] = worked_traces(context, "teach")
    share = context.recipe.teach.direct_share
    if share:
        traces = cut_to_answers(load_task(context.recipe.task.spec), traces, share, seed=context.seed("direct"))
    documents = documents_of(loaded, traces, documents_path(stage))
    audit_stage(stage, loaded, documents, traces, context.recipe.teach.train, events)
    config = fit_memory(
        stage,
        loaded,
        documents,
        context.recipe.teach.train,
        events,
        device=context.device,
        beside=beside_of(None, context.recipe, read_model_config(directory), context.device),
    )
    result = train_model(context, stage, loaded, documents, TracesObjective(), config, events)
    parent = loaded.checkpoint
    checkpoint = save_checkpoint(
        stage.path / "model",
        loaded.model,
        loaded.chat,
        name=f"{context.recipe.name}-teacher",
        license=parent.license,
        parents=(parent_of(parent, "weights"),),
        recipe=context.run.hash,
    )
    discard_training(stage)
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": Compute.training(result.tokens, loaded.num_active).to_json(),
        "summary": f"{result.steps} steps on {result.tokens:,} tokens, loss {result.final_loss:.3f}",
    }
