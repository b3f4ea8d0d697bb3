"""The plan: what a recipe will do, before anything heavy.

In: a recipe. Out: text with stages, tokens, memory, disk and licence duties; and the predicted peaks that the report
later holds against the measured ones. Needs the base model's ``config.json`` only; for a model that is not fetched yet
it says what fetching will cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.core.files import read_json
from spiritsafe.models import (
    find_source,
    kv_cache_bytes,
    layers_within,
    predict_footprint,
    predict_training,
    read_checkpoint,
    shallower,
)
from spiritsafe.pipeline.recipe import Recipe
from spiritsafe.tasks import load_task
from spiritsafe.training import TrainConfig, choose_dtype

__all__ = ["plan_recipe", "predicted_memory"]

_PROCESS_BYTES = 350_000_000
"""torch, transformers and the interpreter, before any weight (measured with torch 2.13 on Linux, CPU)."""


def _compute_dtype(wish: Any, device: str) -> Any:
    return "bf16" if choose_dtype(wish, torch.device(device)) == torch.bfloat16 else "fp32"


def predicted_memory(recipe: Recipe, config: Mapping[str, Any]) -> dict[str, int]:
    """Predicted peak bytes of each heavy stage.

    Args:
        recipe: The recipe.
        config: The base model's ``config.json``.
    """
    device = "cuda" if recipe.engine.device != "cpu" and torch.cuda.is_available() else "cpu"
    cache = kv_cache_bytes(
        config, context=recipe.engine.max_context, num_sequences=recipe.engine.max_batch, kv_dtype="fp32"
    )
    teach = predict_training(
        config,
        num_tokens=_tokens_at_once(recipe.teach.train),
        compute_dtype=_compute_dtype(recipe.teach.train.compute_dtype, device),
    )
    peaks = {"teach": teach.total_bytes + (cache if recipe.teach.dev_problems else 0) + _PROCESS_BYTES}
    if recipe.sample is not None:
        # on a CPU the engine keeps a second copy of the weights, in the layout that it multiplies fastest
        peaks["sample"] = 2 * predict_footprint(config, "fp32").weight_bytes + cache + _PROCESS_BYTES
    for student in recipe.students:
        training = predict_training(
            _student_config(config, student.share),
            num_tokens=_tokens_at_once(student.train),
            compute_dtype=_compute_dtype(student.train.compute_dtype, device),
            teacher=config,
        )
        peaks[student.name] = training.total_bytes + _PROCESS_BYTES
    return peaks


def _tokens_at_once(train: TrainConfig) -> int:
    """Tokens of one pass: a micro-batch, or a whole step where that is smaller."""
    return min(train.micro_batch_tokens, train.tokens_per_step)


def _student_config(config: Mapping[str, Any], share: float) -> dict[str, Any]:
    budget = int(share * predict_footprint(config, "fp32").weight_bytes)
    return shallower(config, range(layers_within(config, budget, "fp32")))


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
        lines.append(f"source    {recipe.source.model}: not fetched yet (memory and disk are planned once it is)")
        return "\n".join([*lines, "", *_steps(recipe), "", "Fetch it first: " + _fetch(recipe)])
    checkpoint = read_checkpoint(found)
    lines.append(
        f"source    {checkpoint.name}: {checkpoint.num_parameters / 1e6:,.1f} M parameters, {checkpoint.license}"
    )
    lines += ["", *_steps(recipe), ""]
    try:
        config = dict(read_json(found / "config.json"))
        peaks = predicted_memory(recipe, config)
        lines += ["memory (predicted peak)", *(f"  {name:<12}{size / 1e9:6.2f} GB" for name, size in peaks.items())]
        lines += ["", f"disk      {_disk(recipe, config) / 1e9:.1f} GB for models and resume points"]
    except SpiritsafeError as error:
        lines.append(f"memory    not predicted: {error.diagnostics()}")
    return "\n".join([*lines, "", f"licence   {_duties(checkpoint.license)}"])


def _fetch(recipe: Recipe) -> str:
    return f"spiritsafe models fetch {recipe.source.model}"


def _steps(recipe: Recipe) -> list[str]:
    rows = [
        f"seal      {recipe.exam.problems} exam problems, half public, half sealed",
        f"teach     {recipe.teach.problems} worked solutions, learning rate {recipe.teach.train.learning_rate:g}",
    ]
    if recipe.sample is not None:
        rows.append(f"sample    {recipe.sample.problems} training problems × {recipe.sample.num_samples} attempts")
    rows += [
        f"student   {s.name}: at most {s.share:.0%} of the teacher's bytes, {s.objective}, {s.problems} documents"
        for s in recipe.students
    ]
    models = 2 + len(recipe.students)
    most = models * recipe.exam.problems * recipe.exam.sampling.max_tokens
    rows.append(f"exam      {models} models × {recipe.exam.problems} problems, at most {most:,} tokens")
    return rows


def _disk(recipe: Recipe, config: Mapping[str, Any]) -> int:
    teacher = predict_footprint(config, "fp32").weight_bytes
    students = [
        predict_footprint(_student_config(config, student.share), "fp32").weight_bytes for student in recipe.students
    ]
    # every student is kept twice (as cut, as healed); one resume point holds weights and two moments
    return teacher + 2 * sum(students) + 3 * max([teacher, *students])


def _duties(license_id: str) -> str:
    if license_id in ("Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause"):
        return f"{license_id}: ship the licence text and copyright notice with every student."
    return f"{license_id}: read its terms before you publish a student; this version knows no duties for it."
