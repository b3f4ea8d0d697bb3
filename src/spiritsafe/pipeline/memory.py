"""Memory before it is taken: the predicted peak of each stage, and the check before a stage trains.

In: a recipe or a training configuration, and ``config.json`` of the models. Out: bytes, and a micro-batch that fits.
The report holds the predictions against the measured peaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch

from spiritsafe.core.records import Record
from spiritsafe.models import decoder_config, fit_micro_batch, kv_cache_bytes, predict_footprint, predict_training
from spiritsafe.pipeline.peak import PROCESS_BYTES, available_bytes
from spiritsafe.pipeline.recipe import Recipe
from spiritsafe.pipeline.recipe_cost import model_configs
from spiritsafe.pipeline.stage_cost import tokens_at_once
from spiritsafe.pipeline.step_recipe import ReinforceStep, TuneStep
from spiritsafe.pipeline.student_recipe import StudentRecipe
from spiritsafe.training import TrainConfig, choose_dtype
from spiritsafe.training.config import ComputeDtype

__all__ = [
    "CACHED_ENTRIES",
    "WITHOUT_ACTIVATIONS",
    "MemoryCheck",
    "check_memory",
    "compute_dtype",
    "engine_bytes",
    "kind_of",
    "partly_predicted",
    "planned_device",
    "predicted_memory",
]

CACHED_ENTRIES = 64
"""Entries a row of a cached signal, about: a few bytes a row beside megabytes of logits."""


WITHOUT_ACTIVATIONS = "at least: activations not predicted"
"""Of a stage with a model that transformers runs."""


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


def compute_dtype(wish: ComputeDtype, device: torch.device) -> Literal["fp32", "bf16"]:
    """The number format that training would choose there."""
    return "bf16" if choose_dtype(wish, device) == torch.bfloat16 else "fp32"


def kind_of(device: torch.device) -> Literal["cpu", "cuda"]:
    """The kind of device, as memory and time are predicted for it."""
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
        compute_dtype=compute_dtype(train.compute_dtype, device),
        device=kind_of(device),
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


def planned_device(recipe: Recipe) -> torch.device:
    """Where the recipe would run on this machine."""
    return torch.device("cuda" if recipe.engine.device != "cpu" and torch.cuda.is_available() else "cpu")


def predicted_memory(
    recipe: Recipe, config: Mapping[str, Any], *, sources: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, int]:
    """Predicted peak bytes of each heavy stage.

    Args:
        recipe: The recipe.
        config: The base model's ``config.json``.
        sources: ``config.json`` of students' own sources; one that is not there is taken to be as large as the base.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    device = planned_device(recipe)
    process = PROCESS_BYTES if device.type == "cpu" else 0
    weights = predict_footprint(config, "fp32").weight_bytes
    engine = engine_bytes(recipe, config, device)
    teach = predict_training(
        config,
        num_tokens=tokens_at_once(recipe.teach.train),
        compute_dtype=compute_dtype(recipe.teach.train.compute_dtype, device),
        device=kind_of(device),
        process_bytes=process,
    )
    peaks = {"teach": teach.total_bytes + (engine if recipe.teach.dev_problems else 0)}
    if recipe.sample is not None:
        peaks["sample"] = weights + engine + process
    if recipe.cache is not None:
        reading = _reading_bytes(config, recipe.cache.micro_batch_tokens)
        peaks["capture"] = weights + reading + process
    configs = model_configs(recipe, config, sources)
    for node in recipe.nodes:
        if isinstance(node.recipe, StudentRecipe):
            peaks[node.name] = _student_peak(node.recipe, recipe, configs, device, process)
        elif isinstance(node.recipe, ReinforceStep | TuneStep):
            peaks[node.name] = _step_peak(node.recipe, recipe, configs[node.name], device, process)
        elif node.recipe.sampling is not None:
            own = configs[node.recipe.start]
            weights = predict_footprint(own, "fp32").weight_bytes
            peaks[node.name] = weights + engine_bytes(recipe, own, device) + process
    return peaks


def partly_predicted(
    recipe: Recipe, config: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]] | None = None
) -> set[str]:
    """Stages of :func:`predicted_memory` whose model transformers runs: their peaks are lower bounds."""
    configs = model_configs(recipe, config, sources)
    foreign = {name for name, own in configs.items() if decoder_config(own) is None}
    found = {"teach", "sample", "capture"} if "teacher" in foreign else set[str]()
    for node in recipe.nodes:
        teacher = node.recipe.teacher if isinstance(node.recipe, StudentRecipe) else None
        start = None if isinstance(node.recipe, StudentRecipe) else node.recipe.start
        if foreign & {node.name, teacher, start}:
            found.add(node.name)
    return found


def _step_peak(
    step: ReinforceStep | TuneStep, recipe: Recipe, config: Mapping[str, Any], device: torch.device, process: int
) -> int:
    """Training, sampling, and the reference model of a KL term (under adapters it is there already)."""
    has_reference = isinstance(step, ReinforceStep) and step.config.loss.kl_weight > 0.0 and step.lora is None
    training = predict_training(
        config,
        num_tokens=tokens_at_once(step.train),
        compute_dtype=compute_dtype(step.train.compute_dtype, device),
        device=kind_of(device),
        teacher=config if has_reference else None,
        teacher_dtype="fp32",
        process_bytes=process,
        lora=step.lora,
    )
    samples = isinstance(step, ReinforceStep) or recipe.teach.dev_problems > 0
    return training.total_bytes + (engine_bytes(recipe, config, device) if samples else 0)


def engine_bytes(recipe: Recipe, config: Mapping[str, Any], device: torch.device) -> int:
    """What sampling takes beside a model's weights: the key-value cache, and what a CPU's engine copies."""
    cache = kv_cache_bytes(
        config, context=recipe.engine.max_context, num_sequences=recipe.engine.max_batch, kv_dtype="fp32"
    )
    # on a CPU the engine keeps a second copy of the weights, in the layout that it multiplies fastest
    copies = device.type == "cpu" and decoder_config(config) is not None
    return cache + (predict_footprint(config, "fp32").weight_bytes if copies else 0)


def _reading_bytes(config: Mapping[str, Any], num_tokens: int) -> int:
    """A forward without gradients: what a teacher's takes beyond its weights, and one chunk of logits."""
    c = decoder_config(config)
    layer = 0 if c is None else 5 * c.hidden_size + 4 * c.intermediate_size
    return num_tokens * 4 * layer + (128 << 20)


def _student_peak(
    student: StudentRecipe,
    recipe: Recipe,
    configs: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    process: int,
) -> int:
    own, config = configs[student.name], configs[student.teacher]
    live = student.objective != "traces" and student.signal == "live"
    training = predict_training(
        own,
        num_tokens=tokens_at_once(student.train),
        compute_dtype=compute_dtype(student.train.compute_dtype, device),
        device=kind_of(device),
        teacher=config if live else None,
        teacher_dtype="fp32",
        matched_layers=0 if student.hidden is None else student.hidden.pairs,
        cached_entries=CACHED_ENTRIES if student.signal == "cached" else 0,
        process_bytes=process,
    )
    return training.total_bytes + (0 if student.on_policy is None else engine_bytes(recipe, own, device))
