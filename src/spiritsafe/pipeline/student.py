"""Student stages: layers are cut from the taught teacher to a byte budget, then the rest is distilled."""

from __future__ import annotations

import random

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import write_json
from spiritsafe.core.records import Parent
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.distill import ForwardKLObjective
from spiritsafe.models import (
    Decoder,
    LoadedModel,
    choose_layers,
    cut_depth,
    layers_for_fraction,
    load_model,
    require_same_vocabulary,
    save_checkpoint,
)
from spiritsafe.pipeline.context import RunContext, Trace
from spiritsafe.pipeline.recipe import StudentRecipe
from spiritsafe.pipeline.teach import documents_of, train_model
from spiritsafe.pipeline.traces import sampled_traces, worked_traces
from spiritsafe.training import Objective, TracesObjective, discard_state

__all__ = ["make_student"]


def make_student(
    recipe: StudentRecipe, context: RunContext, stage: StageDirectory, events: EventSink
) -> dict[str, JSON]:
    """Cut, then distil one student."""
    teacher = load_model(context.stage("teach").path / "model", dtype=torch.float32, device=context.device)
    student, plan = _cut(recipe, context, stage, teacher, events)
    require_same_vocabulary(teacher.chat, student.chat)
    traces = _traces(recipe, context)
    objective, used_as = _objective(recipe, teacher)
    result = train_model(context, stage, student, documents_of(student, traces), objective, recipe.train, events)
    parent = Parent(
        name=teacher.checkpoint.name,
        digest=teacher.checkpoint.digest,
        license=teacher.checkpoint.license,
        used_as=("weights", *used_as, *(("outputs",) if "sampled" in recipe.traces else ())),
    )
    checkpoint = save_checkpoint(
        stage.path / "model",
        student.model,
        student.chat,
        name=f"{context.recipe.name}-{recipe.name}",
        license=teacher.checkpoint.license,
        parents=(parent,),
        recipe=context.run.hash,
    )
    discard_state(stage.path / "training")  # three times the weights, and no longer needed
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "share": checkpoint.weight_bytes / teacher.checkpoint.weight_bytes,
        "cut": plan,
        "summary": (
            f"{checkpoint.weight_bytes / teacher.checkpoint.weight_bytes:.1%} of the teacher's bytes, "
            f"{result.tokens:,} tokens, loss {result.final_loss:.3f}"
        ),
    }


def _cut(
    recipe: StudentRecipe, context: RunContext, stage: StageDirectory, teacher: LoadedModel, events: EventSink
) -> tuple[LoadedModel, dict[str, JSON]]:
    if not isinstance(teacher.model, Decoder):
        raise CompatibilityError(
            f"{teacher.checkpoint.name} is not of the Decoder's family, so its layers cannot be cut.",
            hint="Take a dense Llama, Mistral, Qwen2, Qwen3 or Granite model as source.",
        )
    # Calibrated on traces the student will learn from: train bucket only.
    calibration = documents_of(teacher, _traces(recipe, context)[: recipe.calibration])
    num_keep = layers_for_fraction(teacher.directory, recipe.share, "fp32")
    plan = choose_layers(teacher.model, calibration, num_keep, criterion=recipe.criterion, events=events)
    report: dict[str, JSON] = {
        "keep": list(plan.keep),
        "removed": list(plan.removed),
        "loss_before": plan.loss_before,
        "loss_after": plan.loss_after,
    }
    write_json(stage.path / "cut.json", report)
    directory = stage.path / "cut"
    cut_depth(teacher.directory, directory, plan.keep, name=f"{recipe.name}-cut", recipe=context.run.hash)
    return load_model(directory, dtype=torch.float32, device=context.device), report


def _traces(recipe: StudentRecipe, context: RunContext) -> list[Trace]:
    """What this student learns from, at most ``recipe.problems``, mixed by the seed."""
    traces: list[Trace] = []
    if "sampled" in recipe.traces:
        traces += sampled_traces(context)
    if "worked" in recipe.traces:
        traces += worked_traces(context, recipe.name)
    random.Random(context.seed("mix", recipe.name)).shuffle(traces)
    return traces[: recipe.problems]


def _objective(recipe: StudentRecipe, teacher: LoadedModel) -> tuple[Objective, tuple[str, ...]]:
    if recipe.objective == "traces":
        return TracesObjective(), ()
    objective = ForwardKLObjective(
        teacher.model, ce_share=recipe.ce_share, temperature=recipe.temperature, same_tokenizer=True
    )
    return objective, ("logits",)
