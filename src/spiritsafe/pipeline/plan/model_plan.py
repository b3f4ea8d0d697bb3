"""What it takes to train a model at all: each way of training against GPUs of some sizes, without a recipe.

In: a model's ``config.json`` and the longest document. Out: a :class:`ModelPlan`: the predicted peak of each way, and
for each size of memory the micro-batch, and whether activations are recomputed, with which it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.records import Record
from spiritsafe.models import (
    LORA_TARGETS,
    LoraConfig,
    MemoryFit,
    TrainingMemory,
    architecture_config,
    decoder_config,
    fit_micro_batch,
    num_adapted,
    predict_training,
    size_of,
)

_WAYS: tuple[tuple[str, Callable[[int], dict[str, Any]]], ...] = (
    ("full", lambda rank: {}),
    ("full, 8-bit moments", lambda rank: {"moments": "8bit"}),
    ("LoRA", lambda rank: {"lora": LoraConfig(rank=rank, alpha=2.0 * rank)}),
    ("QLoRA, 4-bit base", lambda rank: {"lora": LoraConfig(rank=rank, alpha=2.0 * rank), "base": "4bit"}),
)
"""Ways to train: name, and what it is to :func:`~spiritsafe.models.predict_training`, by the rank of adapters. A new
way is a line here."""

_WANTED_TOKENS = 16_384
"""Of a micro-batch: more makes a GPU no faster."""
_DEVICE: dict[str, Any] = {"device": "cuda", "compute_dtype": "bf16"}


@final
class MemoryOffer(Record):
    """One way of training on one GPU.

    Attributes:
        memory_bytes: Of the GPU.
        fit: The micro-batch with which it fits; None: it does not.
    """

    memory_bytes: int
    fit: MemoryFit | None


@final
class WayPlan(Record):
    """One way of training.

    Attributes:
        name: Of the way.
        peak: Predicted with a micro-batch of the longest document.
        recomputed: The same with activations recomputed: the least that it takes.
        offers: Each GPU.
    """

    name: str
    peak: TrainingMemory
    recomputed: TrainingMemory
    offers: tuple[MemoryOffer, ...]


@final
class ModelPlan(Record):
    """What training a model takes.

    Attributes:
        model: Its name.
        num_parameters: Numbers in its tensors.
        longest_tokens: Of a document.
        teacher: Name of the live teacher beside it.
        is_lower_bound: Whether activations are not counted, because transformers runs the model.
        ways: Each way.
    """

    model: str
    num_parameters: int
    longest_tokens: int
    teacher: str | None
    is_lower_bound: bool
    ways: tuple[WayPlan, ...]

    def text(self) -> str:
        """As a table, with what is to be known of it."""
        memories = [offer.memory_bytes for offer in self.ways[0].offers]
        head = ["way", "peak", "recomputed", *(f"{memory / 1e9:g} GB" for memory in memories)]
        rows = [
            [way.name, _gb(way.peak.total_bytes), _gb(way.recomputed.total_bytes), *map(_offer_text, way.offers)]
            for way in self.ways
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
        beside = f", beside the live teacher {self.teacher}" if self.teacher else ""
        notes = [
            "peak: weights, gradients, moments, activations and logits of a micro-batch that is the longest document; "
            "recomputed: the same with activation checkpointing, about a third slower.",
            "tokens: the largest micro-batch that fits with 8 % to spare; updates do not depend on it.",
            "Predicted for one GPU (bfloat16, float32 masters) and not measured there; the CUDA context is extra.",
        ]
        if self.is_lower_bound:
            notes.insert(0, "At least: transformers runs this model, so its activations are not counted.")
        parameters = f"{self.num_parameters / 1e9:,.2f} B" if self.num_parameters >= 1e9 else f"{self.num_parameters:,}"
        first = f"{self.model}: {parameters} parameters, documents of up to {self.longest_tokens:,} tokens{beside}"
        return "\n".join([first, "", *(line.rstrip() for line in table), "", *notes])


def plan_model(
    spec: str,
    memory_bytes: Sequence[int],
    *,
    longest_tokens: int = 4096,
    teacher: str | None = None,
    lora_rank: int = 16,
    cache: Path | None = None,
) -> ModelPlan:
    """Each way of training a model on GPUs of such sizes.

    Args:
        spec: As :func:`~spiritsafe.models.architecture_config` takes it.
        memory_bytes: Of each GPU, at least one.
        longest_tokens: Tokens of the longest document.
        teacher: A live teacher, in bfloat16 on the same GPU.
        lora_rank: Of adapters.

    Raises:
        SourceError: A model is not there, or no code here knows its architecture.
        CompatibilityError: No code here can train it.
    """
    name, config = architecture_config(spec, cache=cache)
    beside = None if teacher is None else architecture_config(teacher, cache=cache)
    settings = {**_DEVICE, "teacher": None if beside is None else beside[1]}
    is_foreign = decoder_config(config) is None
    return ModelPlan(
        model=name,
        num_parameters=size_of(config).num_parameters,
        longest_tokens=longest_tokens,
        teacher=None if beside is None else beside[0],
        is_lower_bound=is_foreign,
        ways=tuple(
            _way(way, config, memory_bytes, longest_tokens, {**settings, **says(lora_rank)})
            for way, says in _WAYS
            if "lora" not in says(lora_rank) or not is_foreign or num_adapted(config, lora_rank, LORA_TARGETS)
        ),
    )


def _way(
    name: str, config: Mapping[str, Any], memories: Sequence[int], longest: int, settings: dict[str, Any]
) -> WayPlan:
    peak, recomputed = (
        predict_training(config, num_tokens=longest, checkpointing=checkpointing, **settings)
        for checkpointing in (False, True)
    )
    offers = tuple(MemoryOffer(memory_bytes=one, fit=_fit(config, one, longest, settings)) for one in memories)
    return WayPlan(name=name, peak=peak, recomputed=recomputed, offers=offers)


def _fit(config: Mapping[str, Any], memory: int, longest: int, settings: dict[str, Any]) -> MemoryFit | None:
    try:
        return fit_micro_batch(
            config, memory, wanted_tokens=max(_WANTED_TOKENS, longest), lengths=[longest], **settings
        )
    except BudgetError:
        return None


def _offer_text(offer: MemoryOffer) -> str:
    if offer.fit is None:
        return "no"
    return f"{offer.fit.micro_batch_tokens:,} tokens{', recomputed' if offer.fit.checkpointing else ''}"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB"
