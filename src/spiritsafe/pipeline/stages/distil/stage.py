"""Stages that distil: a model follows a teacher's distributions on sets, or on what it writes itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.distil import (
    ROUNDS_FILE,
    OnPolicyFeed,
)
from spiritsafe.models import (
    read_model_config,
    save_checkpoint,
)
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, as_text, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.memory import CACHED_ENTRIES, Beside, engine_beside
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.distil.objective import across_objective, distil_objective
from spiritsafe.pipeline.stages.distil.parts import DistilParts, gather_parts
from spiritsafe.pipeline.stages.sets import task_of
from spiritsafe.pipeline.stages.source import (
    lineage_of,
    parents_in_run,
    type_to_save,
)
from spiritsafe.pipeline.stages.training import (
    begin_lora,
    dev_evaluation,
    discard_training,
    documents_path,
    end_lora,
    train_model,
)
from spiritsafe.training import (
    Feed,
    Objective,
    TrainConfig,
    document_digests,
    document_lengths,
)


def distil_model(step: DistilRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Distil one student: 1. what goes in, 2. checks, 3. training, 4. the checkpoint.

    Raises:
        CompatibilityError: Teacher and student do not read the documents alike.
        BudgetError: It does not fit into this machine's memory.
    """
    parts = gather_parts(step, context, stage, events)  # 1.
    objective: Objective
    if step.objective == "across":
        documents, objective = across_objective(
            stage,
            parts.teacher.model,
            parts.teacher.chat,
            parts.student,
            parts.traces,
            ce_share=step.ce_share,
            directory=documents_path(stage).parent,
        )
        parts = replace(parts, documents=documents)
    else:
        objective = distil_objective(step, context, stage, parts)
    wish = step.train.config(
        parts.student.num_active,
        epoch_tokens=int(document_lengths(parts.documents).sum()),
        way=step.way,
        max_steps=None if step.on_policy is None else step.on_policy.num_steps,
    )
    audit_stage(  # 2.
        stage,
        parts.student,
        parts.documents,
        _audited(step, parts),
        wish,
        events,
        teacher=None if parts.is_renumbered else parts.teacher.chat,
        same_tokens=step.objective != "across",
    )
    is_frozen = step.lora is not None
    train = within_budget(
        context,
        wish,
        step.budget,
        (*parts.sets, *step.needs.signals),
        num_parameters=parts.student.num_active,
        teacher_parameters=parts.num_reading,
        frozen=is_frozen,
    )
    config = fit_memory(
        stage,
        parts.student,
        parts.documents,
        train,
        events,
        device=context.device,
        beside=_beside(step, context, parts, train),
    )
    begin_lora(step.lora, context, parts.student, name=step.name)  # 3.
    feed = _feed(step, context, stage, parts, config, events)
    evaluate = dev_evaluation(context, parts.student, step)
    learnt = feed or parts.documents
    result = train_model(context, stage, parts.student, learnt, objective, config, events, evaluate=evaluate)
    if not stage.is_main:
        return {}
    made = end_lora(step.lora, context, stage, parts.student, name=step.name)
    start = lineage_of(context, step.origin)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        made,
        parts.student.chat,
        name=f"{context.recipe.name}-{step.name}",
        license=start.license,
        parents=parents_in_run(context, step.name),
        recipe=context.run.hash,
        dtype=type_to_save(context, step.origin, step.save_dtype),
    )
    discard_training(stage)
    said = f"{result.tokens:,} tokens, loss {result.final_loss:.3f}"
    teacher_bytes = parts.teacher.checkpoint.weight_bytes
    if teacher_bytes:
        said = f"{checkpoint.weight_bytes / teacher_bytes:.1%} of the teacher's bytes, {said}"
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": _compute(step, stage, parts, result.tokens).to_json(),
        "documents": {name: len(traces) for name, traces in parts.sets.items()},
        "summary": said,
    }


def _beside(step: DistilRecipe, context: RunContext, parts: DistilParts, train: TrainConfig) -> Beside:
    """What is in memory beside the student."""
    live = {
        teacher.name: read_model_config(teacher.loaded.directory)
        for teacher in parts.teachers
        if teacher.loaded is not None
    }
    student = read_model_config(parts.student.directory)
    beside = student_beside(step, context.recipe, student, context.device, train, teachers=live)
    if step.on_policy is None:
        return beside
    policy = step.on_policy
    prompts = (len(parts.student.chat.prompt_ids(trace.problem.messages)) for trace in parts.traces)
    return replace(
        beside,
        longest_answer=max(prompts) + policy.sampling.max_tokens,
        documents_per_step=math.ceil(policy.num_drawn / policy.steps_per_round / policy.share),
    )


def student_beside(
    step: DistilRecipe,
    recipe: Recipe,
    config: Mapping[str, Any],
    device: torch.device,
    train: TrainConfig,
    *,
    teachers: Mapping[str, Mapping[str, Any]],
) -> Beside:
    """What stands in memory beside a student in training, as the recipe says: a plan and its stage both ask this.

    Args:
        config: ``config.json`` of the student.
        teachers: The same of live teachers, by name.
    """
    engine = 0 if step.on_policy is None and step.dev is None else engine_beside(recipe, config, device, train)
    readings = {name: reading_of(recipe, name, device) for name in teachers}
    sizes = [readings[name].num_bytes(other) for name, other in teachers.items()]
    return Beside(
        teacher=next(iter(teachers.values()), None),
        reading=next(iter(readings.values()), None),
        matched_layers=0 if step.hidden is None else step.hidden.pairs,
        cached_entries=CACHED_ENTRIES if step.signal is not None else 0,
        lora=step.lora,
        base=step.base,
        other_bytes=engine + sum(sizes[1:]),
    )


def _compute(step: DistilRecipe, stage: StageDirectory, parts: DistilParts, num_tokens: int) -> Compute:
    """What was trained on, what a live teacher read of it, and what the student wrote itself."""
    size = parts.student.num_active
    compute = Compute.training(num_tokens, size, frozen=step.lora is not None)
    if parts.num_reading:
        compute += Compute.reading(num_tokens, parts.num_reading)
    rounds = stage.path / "rounds" / ROUNDS_FILE
    drawn = read_json_lines(rounds) if rounds.is_file() else []
    return compute + Compute.generating(round(sum(row["num_answers"] * row["mean_tokens"] for row in drawn)), size)


def _audited(step: DistilRecipe, parts: DistilParts) -> Sequence[Trace]:
    """What each document was made of, in the student's tokens."""
    chat = parts.student.chat
    if parts.plan is not None and parts.plan.kept_ids is not None:
        new = {old: index for index, old in enumerate(parts.plan.kept_ids)}
        return MappedSequence(
            parts.traces, lambda _, trace: replace(trace, token_ids=tuple(new[token] for token in trace.token_ids))
        )
    if step.objective == "across":  # not every trace could be paired
        traces = MappedSequence(parts.traces, lambda _, trace: replace(as_text(trace), turns=()))
        texts = (chat.document(trace.problem.messages, trace.text, use="align") for trace in traces)
        places = {bytes(name): place for place, name in enumerate(document_digests(texts))}
        wanted = [places[bytes(name)] for name in document_digests(parts.documents)]
        return MappedSequence(wanted, lambda _, place: traces[place])
    return in_vocabulary(parts.traces, chat.vocab_fingerprint)


def _feed(
    step: DistilRecipe,
    context: RunContext,
    stage: StageDirectory,
    parts: DistilParts,
    config: TrainConfig,
    events: EventSink,
) -> Feed | None:
    """The student's own answers to the problems of its traces, mixed with the traces; None trains on these alone."""
    if step.on_policy is None:
        return None
    problems = list({trace.problem.id: trace.problem for trace in parts.traces}.values())
    own = step.on_policy.model_copy(update={"seed": context.seed("on policy", step.name)})
    return OnPolicyFeed(
        parts.student,
        problems,
        own,
        config,
        directory=stage.shared / "rounds",
        off_policy=parts.documents if own.share < 1.0 else (),
        task=task_of(context, _data_of(context, tuple(parts.sets))),
        events=events,
        max_batch=context.recipe.engine.max_batch,
    )


def _data_of(context: RunContext, sets: Sequence[str]) -> tuple[str, ...]:
    """The data sets whose problems some sets answer."""
    found: dict[str, None] = {}
    for name in sets:
        recipe = context.recipe.node(name).recipe
        found.update(dict.fromkeys((name,) if recipe.makes == "problems" else recipe.needs.problems))
    return tuple(found)
