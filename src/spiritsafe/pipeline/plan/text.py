"""The plan: what a recipe will do, before anything heavy.

In: a recipe. Out: text with stages, tokens, memory, time, disk and licence duties. Needs the base model's
``config.json`` and tokenizer only; for a model that is not fetched yet it says what to fetch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiritsafe.core.errors import BudgetError, SpiritsafeError
from spiritsafe.models import (
    ERROR_FACTOR,
    ChatFormat,
    find_source,
    measure_machine,
    predict_footprint,
    read_checkpoint,
    read_model_config,
)
from spiritsafe.pipeline.plan.costs import model_configs, stage_costs
from spiritsafe.pipeline.plan.memory import WITHOUT_ACTIVATIONS, compute_dtype, kind_of, planned_device
from spiritsafe.pipeline.plan.peak_memory import available_bytes
from spiritsafe.pipeline.plan.peaks import partly_predicted, predicted_memory
from spiritsafe.pipeline.plan.stage_cost import typical_document
from spiritsafe.pipeline.plan.suitability import check_models, own_sources
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import step_of
from spiritsafe.tasks import load_task


def plan_recipe(recipe: Recipe, *, cache: Path) -> str:
    """The plan as text.

    Raises:
        TaskError: The task cannot be used.
        BudgetError: A student's budget does not hold even one layer.
        RecipeError: A step needs the Decoder, and its model is another.
    """
    task = load_task(recipe.task.spec)
    lines = [f"{recipe.name}: {recipe.summary}".rstrip(": "), "", f"task      {task.name}"]
    found = find_source(recipe.source.model, cache=cache, **recipe.source.told)
    if found is None:
        lines.append(f"source    {recipe.source.model}: not fetched yet (memory, time and disk are planned once it is)")
        return "\n".join([*lines, "", *_steps(recipe), "", "Fetch it first: " + _fetch(recipe)])
    checkpoint = read_checkpoint(found)
    lines.append(
        f"source    {checkpoint.name}: {checkpoint.num_parameters / 1e6:,.1f} M parameters, {checkpoint.license}"
    )
    lines += [f"note      {note}" for note in check_models(recipe, found, cache=cache)]
    lines += ["", *_steps(recipe), ""]
    try:
        config = read_model_config(found)
        sources = _sources(recipe, cache)
        lines += [*_memory_lines(recipe, config, sources), "", *_time_lines(recipe, config, found, sources)]
        lines += ["", f"disk      {_disk(recipe, config, sources) / 1e9:.1f} GB for models and resume points"]
    except BudgetError:
        raise
    except SpiritsafeError as error:
        lines.append(f"memory    not predicted: {error.diagnostics()}")
    return "\n".join([*lines, "", f"licence   {_duties(checkpoint.license)}"])


_Configs = Mapping[str, Mapping[str, Any]]


def _sources(recipe: Recipe, cache: Path) -> _Configs:
    """``config.json`` of students' own sources, where they are at hand."""
    places = {spec: find_source(spec, cache=cache, **told) for spec, told in own_sources(recipe).items()}
    return {spec: read_model_config(place) for spec, place in places.items() if place is not None}


def _memory_lines(recipe: Recipe, config: Mapping[str, Any], sources: _Configs) -> list[str]:
    peaks = predicted_memory(recipe, config, sources=sources)
    width = max(12, *(len(name) + 2 for name in peaks))
    available = available_bytes(planned_device(recipe))
    partial = partly_predicted(recipe, config, sources)
    lines = ["memory (predicted peak)"]
    for name, size in peaks.items():
        said = f", {WITHOUT_ACTIVATIONS}" if name in partial else ""
        lines.append(f"  {name:<{width}}{size / 1e9:6.2f} GB{said}")
    if available is not None:
        largest = max(peaks.values())
        said = (
            ("enough as far as it is predicted" if partial else "enough")
            if largest <= available
            else "too little: micro-batches will be made smaller, or the run refused"
        )
        lines.append(f"  {'available':<{width}}{available / 1e9:6.2f} GB, {said}")
    return lines


def _time_lines(recipe: Recipe, config: Mapping[str, Any], directory: Path, sources: _Configs) -> list[str]:
    chat, most = ChatFormat(directory), recipe.exam.sampling.max_tokens
    size = typical_document(load_task(recipe.task.spec), chat, seed=recipe.seed, max_tokens=most)
    sizes = {
        step.task: typical_document(load_task(step.task), chat, seed=recipe.seed, max_tokens=most)
        for step in recipe.steps
        if step.task is not None
    }
    device = planned_device(recipe)
    rates = measure_machine(kind_of(device), compute_dtype(recipe.teach.train.compute_dtype, device))
    costs = stage_costs(recipe, config, size, sizes=sizes, sources=sources)
    width = max(12, *(len(cost.name) + 2 for cost in costs))
    lines = [
        f"time (within a factor of {ERROR_FACTOR:g}: this machine makes {rates.flops_per_s / 1e9:,.0f} GFLOP/s "
        f"and moves {rates.bytes_per_s / 1e9:,.0f} GB/s)"
    ]
    for cost in costs:
        counts = {"trained": cost.trained_tokens, "read": cost.read_tokens, "sampled": cost.sampled_tokens}
        said = ", ".join(f"{count:,} tokens {what}" for what, count in counts.items() if count)
        lines.append(f"  {cost.name:<{width}}{_duration(rates.seconds(cost.work)):>9}  {said}")
    total = sum(rates.seconds(cost.work) for cost in costs)
    lines.append(f"  {'total':<{width}}{_duration(total):>9}")
    notes = dict.fromkeys(step_of(node).words(node).time_note for node in recipe.made)
    return [*lines, *(f"  {line}" for note in notes for line in note)]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _fetch(recipe: Recipe) -> str:
    return f"spiritsafe models fetch {recipe.source.model}"


def _steps(recipe: Recipe) -> list[str]:
    rows = [f"seal      {recipe.exam.problems} exam problems, half public, half sealed"]
    rows += [step_of(node).words(node).line for node in recipe.made]
    models = 2 + len(recipe.models)
    most = models * recipe.exam.problems * recipe.exam.sampling.max_tokens
    rows.append(f"exam      {models} models × {recipe.exam.problems} problems, at most {most:,} tokens")
    return rows


def _disk(recipe: Recipe, config: Mapping[str, Any], sources: _Configs) -> int:
    sizes = {
        name: predict_footprint(own, "fp32").weight_bytes
        for name, own in model_configs(recipe, config, sources).items()
        if name != "base"
    }
    again = sum(sizes[node.name] * (step_of(node).copies_on_disk - 1) for node in recipe.models)
    return sum(sizes.values()) + again + 3 * max(sizes.values())  # one resume point holds weights and two moments


def _duties(license_id: str) -> str:
    if license_id in ("Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause"):
        return f"{license_id}: ship the licence text and copyright notice with every student."
    return f"{license_id}: read its terms before you publish a student; this version knows no duties for it."
