"""Memory of one training or distillation step, counted from what is alive at its peak.

In: ``config.json`` of the model that learns (and of a live teacher), and the size of a micro-batch. Out: a
:class:`TrainingMemory` whose parts name the causes; and the largest micro-batch that fits a machine.
``bench/memory_plan.py`` holds the counts against the resident memory of real steps.

The peak of a step is reached when the loss head runs, or right after, when the last block's backward has begun:
weights, gradients and moments are there for the whole run, every layer's activations are kept, and the head's chunk of
logits or one block's backward temporaries stand on top. Two more things cost memory on a CPU, where the step runs
inside :func:`spiritsafe.training.device.kept_memory` and the process's heap only grows:

* The gradient of the embedding is dense, ``[V, H]``, and made when the activations have been freed. Autograd's nodes
  still lie between them, so no free block is as large; only the head's largest
  buffer may be.
* What a sublayer adds to the stream is freed right after the addition, but an aligned request does not fit a freed
  block of exactly its own size: two holes of ``[N, H]`` a layer stay.

Shapes: N tokens of a micro-batch, R of them supervised, H hidden width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, final

import torch
from pydantic import model_validator

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.records import Record
from spiritsafe.models.cost.activations import Formats, activation_bytes, are_alike
from spiritsafe.models.cost.footprint import held_bytes, outer_numbers, tensor_shapes
from spiritsafe.models.cost.moments import MOMENT_BLOCK, moment_bytes
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import SIZE_STEP, fills_batches
from spiritsafe.models.decoder.quantised import WeightFormat
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import lora_shapes
from spiritsafe.models.transformers_backend.sizes import ModelSize, decoder_config, num_adapted, size_of

_LOGITS_BYTES = {"cpu": 128 << 20, "cuda": 2 << 30}
_KERNEL_BYTES = {True: 15_000_000, False: 100_000_000}
"""What oneDNN keeps of the half-precision products of a run on a CPU: some 20 sizes of product for each size of batch,
half a megabyte each. Measured in runs whose documents are all as long (True), and of mixed lengths (False)."""


@final
class TrainingMemory(Record):
    """Predicted peak bytes of training.

    Attributes:
        process_bytes: Interpreter and libraries, before any weight.
        compute_bytes: The weights that the passes run on and that are not masters: a copy of these in half precision,
            and frozen ones.
        master_bytes: fp32 weights that learn.
        gradient_bytes: One fp32 gradient for each of them.
        optimiser_bytes: Adam's two moments.
        frozen_bytes: The own numbers of frozen weights that the compute dtype cannot hold (CPU; beside a GPU they lie
            in main memory, which is not counted).
        teacher_bytes: A live teacher's weights.
        signal_bytes: What is kept of the teacher's view of a micro-batch, and streams of matched layers.
        activation_bytes: Kept for the backward pass.
        working_bytes: The largest of: the loss head's logits, one block's backward temporaries, what a teacher's
            forward takes beyond the student's activations.
        embedding_bytes: The embedding's dense gradient, as far as nothing freed can hold it.
        slack_bytes: Holes in the heap that no later request fits (CPU).
        kernel_bytes: What half-precision products leave behind (CPU).
    """

    process_bytes: int = 0
    compute_bytes: int
    master_bytes: int
    gradient_bytes: int
    optimiser_bytes: int
    frozen_bytes: int = 0
    teacher_bytes: int = 0
    signal_bytes: int = 0
    activation_bytes: int
    working_bytes: int
    embedding_bytes: int = 0
    slack_bytes: int = 0
    kernel_bytes: int = 0
    total_bytes: int

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        parts = sum(value for name, value in self if name != "total_bytes")
        if parts != self.total_bytes:
            raise ValueError(f"the parts sum to {parts}, not {self.total_bytes}")
        return self


@final
class MemoryFit(Record):
    """The micro-batch that a machine can hold.

    Attributes:
        micro_batch_tokens: Most tokens in memory at once.
        checkpointing: Whether activations must be recomputed for it.
        memory: Predicted with these.
        available_bytes: What the machine has.
    """

    micro_batch_tokens: int
    checkpointing: bool
    memory: TrainingMemory
    available_bytes: int


def predict_training(
    config: Mapping[str, Any],
    *,
    num_tokens: int,
    compute_dtype: Literal["fp32", "bf16"] = "bf16",
    device: Literal["cpu", "cuda"] = "cpu",
    lengths: Sequence[int] | None = None,
    supervised_share: float = 1.0,
    logits_bytes: int | None = None,
    checkpointing: bool = False,
    teacher: Mapping[str, Any] | None = None,
    teacher_dtype: Literal["fp32", "bf16"] | None = None,
    matched_layers: int = 0,
    cached_entries: int = 0,
    process_bytes: int = 0,
    lora: LoraConfig | None = None,
    base: WeightFormat | None = None,
    teacher_weights: WeightFormat | None = None,
    num_shards: int = 1,
    moments: Literal["float32", "8bit"] = "float32",
    on_grid: bool = False,
) -> TrainingMemory:
    """Predicted peak bytes of one training step with AdamW and fp32 masters.

    The counts for a CPU are held against measurements by ``bench/memory_plan.py``; those for a GPU follow the same
    code (fused norms, no holes) and are not measured yet. Of a model that transformers runs, weights, gradients and
    moments are counted; activations only where a pass of the loaded model was measured, else its peak is a lower bound.

    Args:
        num_tokens: N of one micro-batch.
        compute_dtype: Of the passes.
        device: Where they run.
        lengths: Tokens of the micro-batch's documents; None: all alike, so that attention pads nothing.
        supervised_share: R / N.
        logits_bytes: Most memory the loss head may hold logits in; None is its own default on that device.
        checkpointing: Keep only each block's input and recompute the rest.
        teacher: A live teacher's ``config.json``.
        teacher_dtype: Of its weights; None: as the passes.
        matched_layers: Pairs of layers whose hidden states are matched.
        cached_entries: Entries a row of a cached signal.
        process_bytes: Interpreter and libraries, to be counted in.
        lora: Adapters that learn in place of the weights.
        base: How the weights below adapters are held; None: as the passes compute.
        teacher_weights: How a live teacher's layers are held; None: in ``teacher_dtype``.
        num_shards: Processes over which the blocks are spread (FSDP); each is predicted alike.
        moments: How AdamW's are kept; of a model that transformers runs all are counted as large matrices.
        on_grid: Whether the passes run on what a quantised file holds of the weights, a copy in float32 as well.

    Raises:
        CompatibilityError: Another architecture that was not measured.
    """
    c = decoder_config(config)
    t = None if teacher is None else decoder_config(teacher)
    teacher_size = _size(teacher_dtype or compute_dtype)
    teacher_bytes = 0 if teacher is None else held_bytes(teacher, teacher_dtype or compute_dtype, teacher_weights)
    if c is None:
        fixed = _fixed(config, compute_dtype, device, moments, lora, base, on_grid=on_grid)
        fixed.update(process_bytes=process_bytes, teacher_bytes=teacher_bytes, activation_bytes=0, working_bytes=0)
        known = TrainingMemory(**fixed, total_bytes=sum(fixed.values()))
        return _with_pass(known, size_of(config), num_tokens, compute_dtype, device, checkpointing=checkpointing)
    formats = Formats(narrow=_size(compute_dtype), wide=4, on_gpu=device == "cuda")
    num_tokens, lengths = _filled(num_tokens, lengths, formats, device)
    rows = max(1, math.ceil(supervised_share * num_tokens))
    budget = _LOGITS_BYTES[device] if logits_bytes is None else logits_bytes
    activations = activation_bytes(c, num_tokens, lengths, formats, lora, checkpointing=checkpointing)
    head, block = _head_bytes(c, t, rows, budget, formats)
    temporaries = _backward_temporaries(c, num_tokens, formats, lora) + _dequantised(c, base, formats.narrow)
    working = max(head + 3 * rows * c.hidden_size * formats.narrow, temporaries)
    if t is not None:
        reading = _teacher_forward(t, num_tokens, teacher_size, matched_layers)
        working = max(working, reading + _dequantised(t, teacher_weights, teacher_size) - activations)
    slack = 0 if formats.on_gpu or checkpointing else 2 * c.num_layers * num_tokens * c.hidden_size * formats.narrow
    num_frozen = 0 if lora is None else c.num_parameters
    num_rounded = num_frozen - (in_blocks(c) if base is not None else 0)
    learning = list((tensor_shapes(config) if lora is None else lora_shapes(c, lora)).values())
    num_learning = sum(map(math.prod, learning))
    is_half = compute_dtype == "bf16"
    keeps_frozen = is_half and device == "cpu" and not _is_half_checkpoint(config)
    parts = {
        "process_bytes": process_bytes,
        "compute_bytes": (held_bytes(config, compute_dtype, base) if lora else 0)
        + _copy_bytes(num_learning, is_half=is_half, on_grid=on_grid),
        "master_bytes": 4 * num_learning,
        "gradient_bytes": 4 * num_learning,  # accumulated in fp32 whatever the passes compute in
        "optimiser_bytes": moment_bytes(learning, moments),
        "frozen_bytes": 4 * num_rounded if keeps_frozen else 0,
        "teacher_bytes": teacher_bytes,
        "signal_bytes": _signal_bytes(c, t, num_tokens, rows, matched_layers, cached_entries, formats),
        "activation_bytes": activations,
        "working_bytes": working,
        "embedding_bytes": 0 if lora else _embedding_extra(c, activations + head, block, formats),
        "slack_bytes": slack,
        "kernel_bytes": _KERNEL_BYTES[are_alike(lengths)] if is_half and device == "cpu" else 0,
    }
    if num_shards > 1:
        parts = _spread(parts, c, formats, num_shards, is_whole=lora is None, on_grid=on_grid)
    return TrainingMemory(**parts, total_bytes=sum(parts.values()))


def _copy_bytes(num_learning: int, *, is_half: bool, on_grid: bool) -> int:
    """Of the numbers that the passes run on, where these are not the masters themselves."""
    return (2 if is_half else 4 if on_grid else 0) * num_learning


def _spread(
    parts: Mapping[str, int], c: DecoderConfig, formats: Formats, num_shards: int, *, is_whole: bool, on_grid: bool
) -> dict[str, int]:
    """The same where a process holds its rows of the blocks, and two blocks at a time as they compute.

    Not less than loading takes: the model is on every device in float32 before it is spread.
    """
    blocks = c.num_parameters - (1 if c.tied else 2) * c.vocab_size * c.hidden_size
    kept, gone = blocks // num_shards, blocks - blocks // num_shards
    spread = dict(parts)
    if is_whole:  # blocks compute by what is gathered; their rows are float32 masters
        computing = 0 if not parts["compute_bytes"] else blocks * formats.narrow
        spread["compute_bytes"] += (4 * kept if on_grid else 0) - computing  # rows on the grid are no masters
        for name, size in (("master_bytes", 4), ("gradient_bytes", 4)):
            spread[name] -= gone * size
        spread["optimiser_bytes"] -= parts["optimiser_bytes"] * gone // c.num_parameters
    else:  # adapters stay whole, the base's rows in the format that it came in
        spread["compute_bytes"] += kept * 4 - blocks * formats.narrow
    spread["working_bytes"] += blocks // c.num_layers * (2 * formats.narrow + 4)
    loading = parts["process_bytes"] + parts["teacher_bytes"] + 4 * c.num_parameters
    spread["working_bytes"] += max(0, loading - sum(spread.values()))
    return spread


def _fixed(
    config: Mapping[str, Any],
    compute_dtype: Literal["fp32", "bf16"],
    device: str,
    moments: Literal["float32", "8bit"],
    lora: LoraConfig | None,
    base: WeightFormat | None,
    *,
    on_grid: bool,
) -> dict[str, int]:
    """Weights, gradients and moments of a model that transformers runs."""
    num_parameters, is_half = size_of(config).num_parameters, compute_dtype == "bf16"
    num_learning = num_parameters if lora is None else num_adapted(config, lora.rank, lora.targets)
    frozen = 0
    if lora is not None and is_half and device == "cpu" and not _is_half_checkpoint(config):
        frozen = num_parameters if base is None else outer_numbers(config)
    return {
        "compute_bytes": (held_bytes(config, compute_dtype, base) if lora else 0)
        + _copy_bytes(num_learning, is_half=is_half, on_grid=on_grid),
        "master_bytes": 4 * num_learning,
        "gradient_bytes": 4 * num_learning,
        "optimiser_bytes": moment_bytes([(-(-num_learning // MOMENT_BLOCK), MOMENT_BLOCK)], moments),
        "frozen_bytes": 4 * frozen,
    }


def _with_pass(
    known: TrainingMemory, size: ModelSize, num_tokens: int, compute_dtype: str, device: str, *, checkpointing: bool
) -> TrainingMemory:
    """What a pass keeps and a chunk of logits added, where a pass was measured."""
    kept = size.recomputed_bytes if checkpointing else size.activation_bytes
    if not size.activation_bytes:
        return known
    added = {"activation_bytes": num_tokens * kept * _size(compute_dtype) // 4, "working_bytes": _LOGITS_BYTES[device]}
    return known.model_copy(update={**added, "total_bytes": known.total_bytes + sum(added.values())})


def _size(dtype: str) -> int:
    return 2 if dtype == "bf16" else 4


def _is_half_checkpoint(config: Mapping[str, Any]) -> bool:
    """Whether the weights were written in bfloat16, which holds them exactly then."""
    return (config.get("dtype") or config.get("torch_dtype")) == "bfloat16"


def _filled(
    num_tokens: int, lengths: Sequence[int] | None, formats: Formats, device: str
) -> tuple[int, Sequence[int] | None]:
    """The batch with the document that the Decoder puts behind it in half precision."""
    dtype = torch.bfloat16 if formats.narrow < formats.wide else torch.float32
    filler = -num_tokens % SIZE_STEP
    if lengths is None or not filler or not fills_batches(lengths, dtype, device):
        return num_tokens, lengths
    return num_tokens + filler, (*lengths, filler)


def _head_bytes(c: DecoderConfig, t: DecoderConfig | None, rows: int, budget: int, formats: Formats) -> tuple[int, int]:
    """Bytes of one chunk's logits, an exact teacher's and half-precision copies included; and of the largest buffer."""
    row = c.vocab_size * (formats.wide + (formats.narrow if formats.narrow < formats.wide else 0))
    if t is not None:
        row += min(c.vocab_size, t.vocab_size) * formats.wide
    chunk = -(-rows // -(-rows // max(1, budget // row)))
    return chunk * row, chunk * c.vocab_size * formats.wide


def _backward_temporaries(c: DecoderConfig, num_tokens: int, formats: Formats, lora: LoraConfig | None) -> int:
    """Gradients inside one feed-forward, and of its largest weight (if it learns) before it is added to the buffer."""
    rows = num_tokens * (2 * c.hidden_size + 5 * c.intermediate_size) * formats.narrow
    return rows + (2 * c.hidden_size * c.intermediate_size * formats.narrow if lora is None else 0)


def in_blocks(c: DecoderConfig) -> int:
    """Numbers of the layers' matrices."""
    return c.num_layers * sum(math.prod(shape) for shape in c.layer_shapes().values() if len(shape) == 2)


def _dequantised(c: DecoderConfig, weights: WeightFormat | None, size: int) -> int:
    """The largest matrix that is made of codes for one product, gate and up side by side."""
    return 0 if weights is None else 2 * c.hidden_size * c.intermediate_size * size


def _teacher_forward(t: DecoderConfig, num_tokens: int, size: int, matched_layers: int) -> int:
    """One layer's tensors, the stream and the streams that are asked for; nothing else outlives its use."""
    layer = 3 * t.hidden_size + 4 * t.intermediate_size
    return num_tokens * size * (layer + (1 + matched_layers) * t.hidden_size)


def _signal_bytes(
    c: DecoderConfig,
    t: DecoderConfig | None,
    num_tokens: int,
    rows: int,
    matched_layers: int,
    cached_entries: int,
    formats: Formats,
) -> int:
    """Rows of the teacher (last hidden state, matched layers), and of the student's matched layers.

    A matched layer of the student costs its rows, their gradient, and the gradient scattered back to all N tokens.
    """
    kept = rows * cached_entries * 12  # an int64 id and a float32 probability
    if t is not None:
        kept += rows * t.hidden_size * formats.wide * (1 + matched_layers)
        kept += matched_layers * (2 * rows + num_tokens) * c.hidden_size * formats.wide
    return kept


def _embedding_extra(c: DecoderConfig, freed: int, block: int, formats: Formats) -> int:
    """What the embedding's dense gradient adds to the peak, given all freed bytes and the largest freed block."""
    dense = c.vocab_size * c.hidden_size * formats.narrow
    if formats.on_gpu:  # the allocator joins freed blocks
        return max(0, dense - freed)
    return 0 if block >= dense else dense


def fit_micro_batch(
    config: Mapping[str, Any],
    available_bytes: int,
    *,
    wanted_tokens: int,
    lengths: Sequence[int],
    margin: float = 0.08,
    allow_checkpointing: bool = True,
    **settings: Any,
) -> MemoryFit:
    """The largest micro-batch that fits, up to the one that is wanted.

    A smaller micro-batch is preferred to recomputing activations: it costs a little speed, recomputing costs a third.
    The update depends on neither.

    Args:
        available_bytes: Memory that the whole process may take.
        wanted_tokens: The micro-batch of the recipe.
        lengths: Tokens of each document; no micro-batch can be smaller than the longest.
        margin: Share of the memory to leave free: the prediction's own error.
        allow_checkpointing: Whether activations may be recomputed.
        settings: More arguments of :func:`predict_training`.

    Raises:
        BudgetError: Not even one document at a time fits; the message says what would be needed.
        CompatibilityError: Another architecture.
    """
    limit = int(available_bytes / (1.0 + margin))

    def predict(num_tokens: int, *, checkpointing: bool) -> TrainingMemory:
        batch = _typical_batch(lengths, num_tokens)
        return predict_training(config, num_tokens=num_tokens, lengths=batch, checkpointing=checkpointing, **settings)

    smallest = min(max(lengths), wanted_tokens)
    for checkpointing in (False, True) if allow_checkpointing else (False,):
        if predict(smallest, checkpointing=checkpointing).total_bytes > limit:
            continue
        fits = partial(_fits, predict, limit, checkpointing)
        tokens = _largest(smallest, wanted_tokens, fits)
        memory = predict(tokens, checkpointing=checkpointing)
        return MemoryFit(
            micro_batch_tokens=tokens, checkpointing=checkpointing, memory=memory, available_bytes=available_bytes
        )
    least = predict(smallest, checkpointing=allow_checkpointing).total_bytes
    raise BudgetError(
        f"Training takes at least {least * (1.0 + margin) / 1e9:.2f} GB, one document of {smallest} tokens at a time; "
        f"{available_bytes / 1e9:.2f} GB are available.",
        hint="Free some memory, use a larger machine, leave long documents out, or train a smaller model.",
    )


def _fits(predict: Callable[..., TrainingMemory], limit: int, checkpointing: bool, num_tokens: int) -> bool:
    return predict(num_tokens, checkpointing=checkpointing).total_bytes <= limit


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number that fits, by bisection; ``low`` does."""
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _typical_batch(lengths: Sequence[int] | None, num_tokens: int) -> list[int] | None:
    """Documents of a micro-batch of so many tokens, drawn evenly over all lengths."""
    if not lengths or len(set(lengths)) == 1:
        return None
    ordered = sorted(lengths)
    count = max(1, min(len(ordered), round(num_tokens * len(ordered) / sum(ordered))))
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]
