"""The plan: what a recipe will do, before anything heavy; and the check of memory before a stage trains.

In: a recipe. Out: text with stages, tokens, memory, time, disk and licence duties; and the predicted peaks that the
report later holds against the measured ones. Needs the base model's ``config.json`` and tokenizer only; for a model
that is not fetched yet it says what to fetch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch

from spiritsafe.core.errors import BudgetError, SpiritsafeError
from spiritsafe.core.files import read_json
from spiritsafe.core.records import Record
from spiritsafe.models import (
    ChatFormat,
    find_source,
    fit_micro_batch,
    kv_cache_bytes,
    predict_footprint,
    predict_training,
    read_checkpoint,
)
from spiritsafe.models.step_cost import ERROR_FACTOR, measure_machine
from spiritsafe.pipeline.peak import PROCESS_BYTES, available_bytes
from spiritsafe.pipeline.recipe import Recipe
from spiritsafe.pipeline.stage_cost import (
    stage_costs,
    student_config,
    tokens_at_once,
    typical_document,
)
from spiritsafe.pipeline.student_recipe import StudentRecipe
from spiritsafe.tasks import load_task
from spiritsafe.training import TrainConfig, choose_dtype

__all__ = ["CACHED_ENTRIES", "MemoryCheck", "check_memory", "engine_bytes", "plan_recipe", "predicted_memory"]

CACHED_ENTRIES = 64
"""Entries a row of a cached signal, about: a few bytes a row beside megabytes of logits."""


@final
class MemoryCheck(Record):
    """How a stage fits the machine.

    Attributes:
        micro_batch_tokens: To train with; the update does not depend on it.
        checkpointing: Whether the model must recompute activations.
        predicted_bytes: Peak with these.
        available_bytes: What this process may take; None where the system does not say.
        note: What was changed and why; empty when nothing was.
    """

    micro_batch_tokens: int
    checkpointing: bool
    predicted_bytes: int
    available_bytes: int | None
    note: str = ""


def _compute_dtype(wish: Any, device: torch.device) -> Literal["fp32", "bf16"]:
    return "bf16" if choose_dtype(wish, device) == torch.bfloat16 else "fp32"


def _kind(device: torch.device) -> Literal["cpu", "cuda"]:
    return "cuda" if device.type == "cuda" else "cpu"


def check_memory(
    config: Mapping[str, Any],
    train: TrainConfig,
    lengths: Sequence[int],
    *,
    device: torch.device,
    supervised_share: float = 1.0,
    teacher: Mapping[str, Any] | None = None,
    matched_layers: int = 0,
    cached_entries: int = 0,
    other_bytes: int = 0,
    available: int | None = None,
) -> MemoryCheck:
    """Whether training fits this machine; where it does not, the micro-batch with which it does.

    Call it before the stage's first step; what this process holds already is counted as available to it.

    Args:
        config: ``config.json`` of the model that learns.
        train: How it is to be trained.
        lengths: Tokens of each document.
        device: Where.
        supervised_share: Share of the documents' tokens that is learnt from.
        teacher: ``config.json`` of a live teacher, held in float32.
        matched_layers: Pairs of layers whose hidden states are matched.
        cached_entries: Entries a row of a cached signal.
        other_bytes: What else the stage holds.
        available: Bytes that the process may take in all; None asks the machine.

    Raises:
        BudgetError: Not even the longest document alone fits.
        CompatibilityError: The model is not of the Decoder's family, so its memory cannot be predicted.
    """
    found = available_bytes(device) if available is None else available
    # steps of an epoch are made even, so one may be longer than tokens_per_step
    num_steps = max(1, round(sum(lengths) / train.tokens_per_step))
    step_tokens = math.ceil(sum(lengths) / num_steps) + max(lengths)
    wanted = min(train.micro_batch_tokens, step_tokens, sum(lengths))
    process = PROCESS_BYTES if device.type == "cpu" else 0
    fit = fit_micro_batch(
        config,
        2**62 if found is None else found,
        wanted_tokens=max(wanted, max(lengths)),
        lengths=lengths,
        compute_dtype=_compute_dtype(train.compute_dtype, device),
        device=_kind(device),
        supervised_share=supervised_share,
        teacher=teacher,
        teacher_dtype="fp32",
        matched_layers=matched_layers,
        cached_entries=cached_entries,
        process_bytes=process + other_bytes,
    )
    fits_as_wished = fit.micro_batch_tokens >= wanted and not fit.checkpointing
    micro = train.micro_batch_tokens if fit.micro_batch_tokens >= wanted else fit.micro_batch_tokens
    note = "" if fits_as_wished else _replanned(train, micro, fit.checkpointing, fit.memory.total_bytes, found or 0)
    return MemoryCheck(
        micro_batch_tokens=micro,
        checkpointing=fit.checkpointing,
        predicted_bytes=fit.memory.total_bytes,
        available_bytes=found,
        note=note,
    )


def _replanned(train: TrainConfig, micro: int, checkpointing: bool, predicted: int, available: int) -> str:
    changes = []
    if micro != train.micro_batch_tokens:
        changes.append(f"micro_batch_tokens {micro} instead of {train.micro_batch_tokens}")
    if checkpointing:
        changes.append("activations recomputed (about a third slower)")
    return (
        f"{available / 1e9:.2f} GB of memory: {' and '.join(changes)}, predicted peak {predicted / 1e9:.2f} GB; "
        "the updates stay the same."
    )


def _device(recipe: Recipe) -> torch.device:
    return torch.device("cuda" if recipe.engine.device != "cpu" and torch.cuda.is_available() else "cpu")


def predicted_memory(recipe: Recipe, config: Mapping[str, Any]) -> dict[str, int]:
    """Predicted peak bytes of each heavy stage.

    Args:
        recipe: The recipe.
        config: The base model's ``config.json``.
    """
    device = _device(recipe)
    process = PROCESS_BYTES if device.type == "cpu" else 0
    weights = predict_footprint(config, "fp32").weight_bytes
    engine = engine_bytes(recipe, config, device)
    teach = predict_training(
        config,
        num_tokens=tokens_at_once(recipe.teach.train),
        compute_dtype=_compute_dtype(recipe.teach.train.compute_dtype, device),
        device=_kind(device),
        process_bytes=process,
    )
    peaks = {"teach": teach.total_bytes + (engine if recipe.teach.dev_problems else 0)}
    if recipe.sample is not None:
        peaks["sample"] = weights + engine + process
    if recipe.cache is not None:
        reading = _reading_bytes(config, recipe.cache.micro_batch_tokens)
        peaks["capture"] = weights + reading + process
    peaks |= {student.name: _student_peak(student, recipe, config, device, process) for student in recipe.rungs}
    return peaks


def engine_bytes(recipe: Recipe, config: Mapping[str, Any], device: torch.device) -> int:
    """What sampling takes beside a model's weights: the key-value cache, and what a CPU's engine copies."""
    cache = kv_cache_bytes(
        config, context=recipe.engine.max_context, num_sequences=recipe.engine.max_batch, kv_dtype="fp32"
    )
    # on a CPU the engine keeps a second copy of the weights, in the layout that it multiplies fastest
    return cache + (predict_footprint(config, "fp32").weight_bytes if device.type == "cpu" else 0)


def _reading_bytes(config: Mapping[str, Any], num_tokens: int) -> int:
    """A forward without gradients: what a teacher's takes beyond its weights, and one chunk of logits."""
    hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    return num_tokens * 4 * (5 * hidden + 4 * wide) + (128 << 20)


def _student_peak(
    student: StudentRecipe, recipe: Recipe, config: Mapping[str, Any], device: torch.device, process: int
) -> int:
    """A student with a source of its own is taken to be as large as the base model."""
    own = config if student.source is not None else student_config(config, student)
    live = student.objective != "traces" and student.signal == "live"
    training = predict_training(
        own,
        num_tokens=tokens_at_once(student.train),
        compute_dtype=_compute_dtype(student.train.compute_dtype, device),
        device=_kind(device),
        teacher=config if live else None,
        teacher_dtype="fp32",
        matched_layers=0 if student.hidden is None else student.hidden.pairs,
        cached_entries=CACHED_ENTRIES if student.signal == "cached" else 0,
        process_bytes=process,
    )
    return training.total_bytes + (0 if student.on_policy is None else engine_bytes(recipe, own, device))


def plan_recipe(recipe: Recipe, *, cache: Path) -> str:
    """The plan as text.

    Raises:
        TaskError: The task cannot be used.
        BudgetError: A student's budget does not hold even one layer.
    """
    task = load_task(recipe.task.spec)
    lines = [f"{recipe.name}: {recipe.summary}".rstrip(": "), "", f"task      {task.name}"]
    found = find_source(recipe.source.model, cache=cache)
    if found is None:
        lines.append(f"source    {recipe.source.model}: not fetched yet (memory, time and disk are planned once it is)")
        return "\n".join([*lines, "", *_steps(recipe), "", "Fetch it first: " + _fetch(recipe)])
    checkpoint = read_checkpoint(found)
    lines.append(
        f"source    {checkpoint.name}: {checkpoint.num_parameters / 1e6:,.1f} M parameters, {checkpoint.license}"
    )
    lines += ["", *_steps(recipe), ""]
    try:
        config = dict(read_json(found / "config.json"))
        lines += [*_memory_lines(recipe, config), "", *_time_lines(recipe, config, found)]
        lines += ["", f"disk      {_disk(recipe, config) / 1e9:.1f} GB for models and resume points"]
    except BudgetError:
        raise
    except SpiritsafeError as error:
        lines.append(f"memory    not predicted: {error.diagnostics()}")
    return "\n".join([*lines, "", f"licence   {_duties(checkpoint.license)}"])


def _memory_lines(recipe: Recipe, config: Mapping[str, Any]) -> list[str]:
    peaks = predicted_memory(recipe, config)
    available = available_bytes(_device(recipe))
    lines = ["memory (predicted peak)", *(f"  {name:<12}{size / 1e9:6.2f} GB" for name, size in peaks.items())]
    if available is not None:
        largest = max(peaks.values())
        said = (
            "enough" if largest <= available else "too little: micro-batches will be made smaller, or the run refused"
        )
        lines.append(f"  {'available':<12}{available / 1e9:6.2f} GB, {said}")
    return lines


def _time_lines(recipe: Recipe, config: Mapping[str, Any], directory: Path) -> list[str]:
    size = typical_document(
        load_task(recipe.task.spec),
        ChatFormat(directory),
        seed=recipe.seed,
        max_tokens=recipe.exam.sampling.max_tokens,
    )
    device = _device(recipe)
    rates = measure_machine(_kind(device), _compute_dtype(recipe.teach.train.compute_dtype, device))
    costs = stage_costs(recipe, config, size)
    lines = [
        f"time (within a factor of {ERROR_FACTOR:g}: this machine makes {rates.flops_per_s / 1e9:,.0f} GFLOP/s "
        f"and moves {rates.bytes_per_s / 1e9:,.0f} GB/s)"
    ]
    for cost in costs:
        counts = {"trained": cost.trained_tokens, "read": cost.read_tokens, "sampled": cost.sampled_tokens}
        said = ", ".join(f"{count:,} tokens {what}" for what, count in counts.items() if count)
        lines.append(f"  {cost.name:<12}{_duration(rates.seconds(cost.work)):>9}  {said}")
    total = sum(rates.seconds(cost.work) for cost in costs)
    return [*lines, f"  {'total':<12}{_duration(total):>9}"]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _fetch(recipe: Recipe) -> str:
    return f"spiritsafe models fetch {recipe.source.model}"


def _steps(recipe: Recipe) -> list[str]:
    rows = [
        f"seal      {recipe.exam.problems} exam problems, half public, half sealed",
        f"teach     {recipe.teach.problems} worked solutions, learning rate {recipe.teach.train.learning_rate:g}",
    ]
    if recipe.sample is not None:
        rows.append(f"sample    {recipe.sample.problems} training problems × {recipe.sample.num_samples} attempts")
    if recipe.cache is not None:
        rows.append("capture   the teacher's view of the documents, once for all students that read it")
    rows += [f"student   {s.name}: {_size_of(s)}, {s.objective}, {s.problems} documents" for s in recipe.rungs]
    models = 2 + len(recipe.rungs)
    most = models * recipe.exam.problems * recipe.exam.sampling.max_tokens
    rows.append(f"exam      {models} models × {recipe.exam.problems} problems, at most {most:,} tokens")
    return rows


def _size_of(student: StudentRecipe) -> str:
    if student.source is not None:
        return f"from {student.source}"
    if student.max_bytes is not None:
        return f"at most {student.max_bytes / 1e6:,.1f} MB in {student.quantisation}"
    return f"at most {student.share or 1.0:.0%} of the teacher's bytes"


def _disk(recipe: Recipe, config: Mapping[str, Any]) -> int:
    teacher = predict_footprint(config, "fp32").weight_bytes
    students = [
        teacher
        if student.source is not None
        else predict_footprint(student_config(config, student), "fp32").weight_bytes
        for student in recipe.rungs
    ]
    # every student is kept twice (as cut, as healed); one resume point holds weights and two moments
    return teacher + 2 * sum(students) + 3 * max([teacher, *students])


def _duties(license_id: str) -> str:
    if license_id in ("Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause"):
        return f"{license_id}: ship the licence text and copyright notice with every student."
    return f"{license_id}: read its terms before you publish a student; this version knows no duties for it."
