"""The plan: what a recipe will do, before anything heavy.

In: a recipe. Out: text with stages, tokens, memory, time, disk and licence duties, and everything that cannot work.
Needs of a model no more than its ``config.json`` and tokenizer.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Literal

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.models import (
    ERROR_FACTOR,
    MachineRates,
    measure_machine,
    predict_footprint,
    predict_training,
    saved_dtype,
)
from spiritsafe.pipeline.plan.costs import partly_predicted, predicted_memory, stage_costs
from spiritsafe.pipeline.plan.duties import duty_lines, planned_duties
from spiritsafe.pipeline.plan.known import GivenFacts, forecast_of
from spiritsafe.pipeline.plan.memory import WITHOUT_ACTIVATIONS, compute_dtype, kind_of, planned_device
from spiritsafe.pipeline.plan.peak_memory import available_bytes
from spiritsafe.pipeline.plan.stage_cost import StageCost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.made import StepEntry
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import TrainedRecipe, TrainRecipe
from spiritsafe.pipeline.step import Config, Forecast, step_of

_WIDTH = 110


def plan_recipe(recipe: Recipe, *, cache: Path) -> tuple[str, dict[str, JSON], list[str]]:
    """The plan.

    Returns:
        As text; as JSON; and what cannot work.
    """
    forecast, given, faults = forecast_of(recipe, cache=cache)
    lines = [f"{recipe.name}: {recipe.summary}".rstrip(": "), ""]
    lines += [_row(kind, said) for kind, said in _rows(recipe, forecast, given)]
    told: dict[str, JSON] = {"recipe": recipe.to_json(), "faults": list(faults)}
    if not faults:
        peaks, partial = predicted_memory(forecast), partly_predicted(forecast)
        rates, costs = _rates(recipe), stage_costs(forecast)
        if peaks:
            lines += ["", *_memory_lines(recipe, peaks, partial)]
        if any(cost.work.flops for cost in costs):
            lines += ["", *_time_lines(recipe, costs, rates)]
        disk = _disk(forecast)
        if disk:
            lines += ["", _row("disk", f"{disk / 1e9:.1f} GB for models and resume points")]
        told |= {
            "memory_bytes": dict(peaks),
            "stages": [{"name": cost.name, "seconds": rates.seconds(cost.work), **_tokens(cost)} for cost in costs],
            "disk_bytes": disk,
        }
    duties = duty_lines(forecast)
    if duties:
        lines += ["", *(line for said in duties for line in _wrapped("licence", said))]
    told["duties"] = {name: found.to_json() for name, found in planned_duties(forecast).items()}
    if faults:
        lines += ["", f"cannot run: {len(faults)} fault{'s' * (len(faults) > 1)}", *(f"  {fault}" for fault in faults)]
    return "\n".join(lines), told, faults


def _row(kind: str, said: str) -> str:
    return f"{kind:<10}{said}"


def _wrapped(kind: str, said: str) -> list[str]:
    """A row whose words go on below each other."""
    first, *others = textwrap.wrap(said, width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_row(kind, first), *(_row("", line) for line in others)]


def _rows(recipe: Recipe, forecast: Forecast, given: dict[str, GivenFacts]) -> list[tuple[str, str]]:
    """One line for each thing of the recipe, in its own words."""
    rows = []
    for node in recipe.nodes:
        said = step_of(node).words(node).line
        if node.entry in recipe.models:
            facts = given[node.name]
            size = f": {facts.num_parameters / 1e6:,.1f} M parameters, {facts.licence}" if facts.num_parameters else ""
            rows += [("model", said + size), *(("note", f"{node.name}: {note}") for note in facts.notes)]
        elif node.entry in recipe.data:
            rows.append(("data", f"{said}{_counted(forecast, node.name)}"))
        else:
            rows.append((_kind(node), said))
    for exam in recipe.exams:
        names = recipe.examinees(exam)
        most = len(names) * exam.problems * exam.sampling.max_tokens
        rows.append(("seal", f"{exam.problems} problems of {exam.task}, half public, half sealed"))
        rows.append(
            (
                exam.name[:9],
                f"{', '.join(names)}: {len(names)} models × {exam.problems} problems, at most {most:,} tokens",
            )
        )
    return rows


def _counted(forecast: Forecast, name: str) -> str:
    facts = forecast.sets.get(name)
    if facts is None:
        return ""
    verifier = "" if facts.verifies else ", no verifier"
    return f" ({facts.num_problems:,} to train on, {facts.num_documents:,} with a solution{verifier})"


def _kind(node: Node) -> str:
    return str(getattr(node.recipe, "kind", "")) if isinstance(node.recipe, StepEntry) else ""


def _memory_lines(recipe: Recipe, peaks: dict[str, int], partial: set[str]) -> list[str]:
    width = max(12, *(len(name) + 2 for name in peaks))
    available = available_bytes(planned_device(recipe))
    lines = ["memory (predicted peak)"]
    narrow = {node.name for node in recipe.made if _train_of(node).moments == "8bit"}
    for name, size in peaks.items():
        said = f", {WITHOUT_ACTIVATIONS}" if name in partial else ""
        said += ", moments in 8 bits" if name in narrow else ""
        lines.append(f"  {name:<{width}}{size / 1e9:6.2f} GB{said}")
    if available is not None:
        largest = max(peaks.values())
        said = (
            ("enough as far as it is predicted" if partial else "enough")
            if largest <= available
            else "too little: micro-batches will be made smaller, or the run refused; "
            "`lora = { rank = 16 }` in a step trains a fraction of the weights"
        )
        lines.append(f"  {'available':<{width}}{available / 1e9:6.2f} GB, {said}")
    return lines


def _rates(recipe: Recipe) -> MachineRates:
    device = planned_device(recipe)
    return measure_machine(kind_of(device), compute_dtype("auto", device))


def _tokens(cost: StageCost) -> dict[str, JSON]:
    counts = {"trained": cost.trained_tokens, "read": cost.read_tokens, "sampled": cost.sampled_tokens}
    return {f"{what}_tokens": count for what, count in counts.items() if count}


def _time_lines(recipe: Recipe, costs: list[StageCost], rates: MachineRates) -> list[str]:
    width = max(12, *(len(cost.name) + 2 for cost in costs))
    lines = [
        f"time (within a factor of {ERROR_FACTOR:g}: this machine makes {rates.flops_per_s / 1e9:,.0f} GFLOP/s "
        f"and moves {rates.bytes_per_s / 1e9:,.0f} GB/s)"
    ]
    for cost in costs:
        counts: dict[str, Any] = {
            "trained": cost.trained_tokens,
            "read": cost.read_tokens,
            "sampled": cost.sampled_tokens,
        }
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


def _disk(forecast: Forecast) -> int:
    made = [(node, forecast.configs[node.name]) for node in forecast.recipe.made if node.name in forecast.configs]
    saved = [predict_footprint(config, _stored(config)).weight_bytes for _, config in made]
    # one resume point holds what learns and its two moments
    states = [predict_training(config, num_tokens=1, **_learning(node)) for node, config in made]
    return sum(saved) + max((state.master_bytes + state.optimiser_bytes for state in states), default=0)


def _train_of(node: Node) -> TrainRecipe:
    return node.recipe.train if isinstance(node.recipe, TrainedRecipe) else TrainRecipe()


def _learning(node: Node) -> dict[str, Any]:
    lora = node.recipe.lora if isinstance(node.recipe, TrainedRecipe) else None
    return {"moments": _train_of(node).moments, "lora": lora}


def _stored(config: Config) -> Literal["fp32", "bf16"]:
    return "bf16" if saved_dtype("auto", config) == torch.bfloat16 else "fp32"
