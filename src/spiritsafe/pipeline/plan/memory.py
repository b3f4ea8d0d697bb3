"""Memory before it is taken: the predicted peak of each stage, and the check before a stage trains.

In: a recipe or a training configuration, and ``config.json`` of the models. Out: bytes, and a micro-batch that fits.
The report holds the predictions against the measured peaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.records import Record, omit_default
from spiritsafe.models import (
    PACK_LIMIT_BYTES,
    LoraConfig,
    MemoryFit,
    WeightFormat,
    decoder_config,
    fit_micro_batch,
    held_bytes,
    kv_cache_bytes,
    predict_footprint,
    predict_training,
    preferred_dtype,
)
from spiritsafe.pipeline.plan.peak_memory import BITSANDBYTES_BYTES, PROCESS_BYTES, available_bytes
from spiritsafe.pipeline.plan.reading import Reading, reading_of
from spiritsafe.pipeline.plan.stage_cost import tokens_at_once
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.training import ComputeDtype, TrainConfig, choose_dtype, current_parallel

CACHED_ENTRIES = 64
"""Entries a row of a cached signal, about: a few bytes a row beside megabytes of logits."""

_TOKENIZER_BYTES = 1_500
"""Of a tokenizer in memory, for each token of its vocabulary."""
_EARLIER_BYTES = 130_000_000
"""What earlier stages of a run leave in a CPU's process: modules, and freed memory that the allocator cannot return."""

_DTYPES: dict[torch.dtype, Literal["fp32", "bf16"]] = {torch.float32: "fp32", torch.bfloat16: "bf16"}


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
        tokens_at_once: Of a micro-batch, where a step has fewer tokens than it may hold.
        longest: Tokens of the longest document: no micro-batch can be smaller.
        is_spread: Whether several processes must spread the blocks over themselves, for one cannot hold all.
    """

    micro_batch_tokens: int
    checkpointing: bool
    predicted_bytes: int
    available_bytes: int | None
    note: str = ""
    tokens_at_once: int = 0
    longest: int = 0
    is_spread: bool = omit_default(False)

    def eased(self) -> MemoryCheck | None:
        """What to go on with after memory ran out all the same: half as much at once, then activations recomputed.

        None where both have been tried.
        """
        micro = max(self.longest, min(self.micro_batch_tokens, self.tokens_at_once) // 2)
        if micro >= min(self.micro_batch_tokens, self.tokens_at_once):
            if self.checkpointing:
                return None
            changed: dict[str, Any] = {"checkpointing": True, "note": "activations recomputed (about a third slower)"}
        else:
            changed = {"micro_batch_tokens": micro, "tokens_at_once": micro, "note": f"micro_batch_tokens {micro}"}
        changed["note"] = f"Memory ran out before: {changed['note']}; the updates stay the same."
        return self.model_copy(update=changed)


def compute_dtype(wish: ComputeDtype, device: torch.device) -> Literal["fp32", "bf16"]:
    """The number format that training would choose there."""
    return _DTYPES[choose_dtype(wish, device)]


def _process_bytes(
    config: Mapping[str, Any], device: torch.device, *, is_first: bool = False, is_quantised: bool = False
) -> int:
    """What the process takes beside weights and what is made of them."""
    if device.type == "cuda":
        return 0
    libraries = PROCESS_BYTES + (BITSANDBYTES_BYTES if is_quantised else 0)
    return libraries + _TOKENIZER_BYTES * int(config.get("vocab_size") or 0) + (0 if is_first else _EARLIER_BYTES)


def kind_of(device: torch.device) -> Literal["cpu", "cuda"]:
    """The kind of device, as memory and time are predicted for it."""
    return "cuda" if device.type == "cuda" else "cpu"


@final
@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is in memory beside the model in training, and which of its weights learn.

    Attributes:
        teacher: ``config.json`` of a live teacher or reference.
        reading: How it is held; None: in float32.
        matched_layers: Pairs of layers whose hidden states are matched.
        cached_entries: Entries a row of a cached signal.
        lora: Adapters that learn in place of the weights.
        base: How the weights below them are held; None: as is computed.
        other_bytes: What else the stage holds: an engine, a teacher of another family.
        longest_answer: Tokens of the longest document that the student may write itself.
        documents_per_step: Documents of a step of such answers and traces.
        is_first: Whether nothing heavy ran before it in the run.
        on_grid: Whether its passes run on what a quantised file holds of its weights.
    """

    teacher: Mapping[str, Any] | None = None
    reading: Reading | None = None
    matched_layers: int = 0
    cached_entries: int = 0
    lora: LoraConfig | None = None
    base: WeightFormat | None = None
    other_bytes: int = 0
    longest_answer: int = 0
    documents_per_step: int = 0
    is_first: bool = False
    on_grid: bool = False

    def settings(self, config: Mapping[str, Any], train: TrainConfig, device: torch.device) -> dict[str, Any]:
        """Arguments of :func:`~spiritsafe.models.predict_training`, the same for a plan and for a stage."""
        is_quantised = self.base is not None or (self.reading is not None and self.reading.weights is not None)
        process = _process_bytes(config, device, is_first=self.is_first, is_quantised=is_quantised)
        return {
            "compute_dtype": compute_dtype(train.compute_dtype, device),
            "device": kind_of(device),
            "teacher": self.teacher,
            "teacher_dtype": "fp32" if self.reading is None else self.reading.size,
            "teacher_weights": None if self.reading is None else self.reading.weights,
            "matched_layers": self.matched_layers,
            "cached_entries": self.cached_entries,
            "process_bytes": process + self.other_bytes,
            "lora": self.lora,
            "num_shards": current_parallel().size if train.parallel == "fsdp" else 1,
            "base": self.base,
            "moments": train.moments,
            "on_grid": self.on_grid,
        }


def check_memory(
    config: Mapping[str, Any],
    train: TrainConfig,
    lengths: Sequence[int],
    *,
    device: torch.device,
    supervised_share: float = 1.0,
    beside: Beside | None = None,
    available: int | None = None,
) -> MemoryCheck:
    """Whether training fits this machine; where it does not, the micro-batch with which it does.

    Call it before the stage's first step; what this process holds already is counted as available to it.

    Args:
        config: ``config.json`` of the model that learns.
        train: How it is to be trained.
        lengths: Tokens of each document.
        supervised_share: Share of the documents' tokens that is learnt from.
        beside: What is there beside the model; None: nothing.
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

    def fit_of(train: TrainConfig) -> MemoryFit:
        return fit_micro_batch(
            config,
            2**62 if found is None else found,
            wanted_tokens=max(wanted, max(lengths)),
            lengths=lengths,
            supervised_share=supervised_share,
            **(beside or Beside(is_first=True)).settings(config, train, device),
        )

    is_spread = False
    try:
        fit = fit_of(train)
    except BudgetError:
        if train.parallel != "auto" or current_parallel().size == 1:
            raise
        fit, is_spread = fit_of(train.model_copy(update={"parallel": "fsdp"})), True
    fits_as_wished = fit.micro_batch_tokens >= wanted and not fit.checkpointing and not is_spread
    micro = train.micro_batch_tokens if fit.micro_batch_tokens >= wanted else fit.micro_batch_tokens
    note = "" if fits_as_wished else _replanned(train, micro, fit, found or 0, is_spread=is_spread)
    return MemoryCheck(
        micro_batch_tokens=micro,
        checkpointing=fit.checkpointing,
        predicted_bytes=fit.memory.total_bytes,
        available_bytes=found,
        note=note,
        tokens_at_once=min(micro, wanted),
        longest=max(lengths),
        is_spread=is_spread,
    )


def _replanned(train: TrainConfig, micro: int, fit: MemoryFit, available: int, *, is_spread: bool) -> str:
    changes = ['the model spread over the processes (parallel "fsdp")'] if is_spread else []
    if micro != train.micro_batch_tokens:
        changes.append(f"micro_batch_tokens {micro} instead of {train.micro_batch_tokens}")
    if fit.checkpointing:
        changes.append("activations recomputed (about a third slower)")
    return (
        f"{available / 1e9:.2f} GB of memory: {' and '.join(changes)}, "
        f"predicted peak {fit.memory.total_bytes / 1e9:.2f} GB; the updates stay the same."
    )


def planned_device(recipe: Recipe) -> torch.device:
    """Where the recipe would run on this machine."""
    wish = recipe.engine.device
    if wish == "mps":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")


def training_peak(train: TrainConfig, config: Mapping[str, Any], device: torch.device, beside: Beside) -> int:
    """Predicted peak bytes of a stage that trains."""
    settings = beside.settings(config, train, device)
    return predict_training(config, num_tokens=tokens_at_once(train), **settings).total_bytes


def sampling_peak(recipe: Recipe, name: str, config: Mapping[str, Any], device: torch.device) -> int:
    """Predicted peak bytes of a stage in which a model answers."""
    dtype = _DTYPES[preferred_dtype(device)]
    held = reading_of(recipe, name, device).weights
    process = _process_bytes(config, device, is_quantised=held is not None)
    return held_bytes(config, dtype, held) + engine_bytes(recipe, config, device, dtype) + process


def reading_peak(recipe: Recipe, name: str, config: Mapping[str, Any], num_tokens: int, device: torch.device) -> int:
    """Predicted peak bytes of a stage in which a model reads so many tokens at once."""
    reading = reading_of(recipe, name, device)
    process = _process_bytes(config, device, is_quantised=reading.weights is not None)
    return reading.num_bytes(config) + _reading_bytes(config, num_tokens) + process


def engine_beside(recipe: Recipe, config: Mapping[str, Any], device: torch.device, train: TrainConfig) -> int:
    """What an engine takes beside a model in training."""
    return engine_bytes(recipe, config, device, compute_dtype(train.compute_dtype, device))


def engine_bytes(
    recipe: Recipe, config: Mapping[str, Any], device: torch.device, dtype: Literal["fp32", "bf16"]
) -> int:
    """What sampling takes beside a model's weights: the key-value cache, and what a CPU's engine copies.

    Args:
        recipe: Bounds of the engine.
        config: ``config.json`` of the model that answers.
        dtype: Of its weights.
    """
    on_cpu = device.type == "cpu"  # its cache is float32, or half of that where compiled loops read bfloat16
    cache = kv_cache_bytes(
        config,
        context=recipe.engine.max_context,
        num_sequences=recipe.engine.max_batch,
        kv_dtype="fp32" if on_cpu else dtype,
        windowed=False,  # the engine keeps a windowed layer's tokens all the same
    )
    weights = predict_footprint(config, dtype).weight_bytes
    # on a CPU the engine keeps a second copy of the weights, in the layout that it multiplies fastest
    is_copied = on_cpu and decoder_config(config) is not None and weights <= PACK_LIMIT_BYTES
    return cache + (weights if is_copied else 0)


def _reading_bytes(config: Mapping[str, Any], num_tokens: int) -> int:
    """A forward without gradients: what a teacher's takes beyond its weights, and one chunk of logits."""
    c = decoder_config(config)
    layer = 0 if c is None else 5 * c.hidden_size + 4 * c.intermediate_size
    logits = 128 << 20 if c is None else min(128 << 20, num_tokens * 4 * c.vocab_size)
    return num_tokens * 4 * layer + logits
