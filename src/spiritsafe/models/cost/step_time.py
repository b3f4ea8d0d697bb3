"""Time before it is spent: operations and memory traffic of training, scoring and sampling, and a machine's rates.

In: ``config.json`` and numbers of tokens. Out: a :class:`Work` (matrix operations, bytes moved); with a machine's
measured rates, seconds. Operations are exact for the Decoder (a test counts them with torch's own counter); traffic
counts what must move at least once, so seconds are an estimate: :data:`ERROR_FACTOR` says how good. Of a model that
transformers runs, products of the parameters that a token passes through and traffic of the weights are counted.

Shapes: N tokens, R rows through the head, H hidden width, S heads, K key-value heads, W head_dim, F feed-forward
width, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import median
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch.nn import functional

from spiritsafe.core.records import Record
from spiritsafe.models.cost.footprint import kv_cache_bytes
from spiritsafe.models.cost.training_memory import in_blocks, predict_training
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.quantised import QuantisedWeight, WeightFormat
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import lora_shapes, num_lora_parameters
from spiritsafe.models.transformers_backend.sizes import decoder_config, num_adapted, size_of

ERROR_FACTOR = 2.0
"""A predicted time may be wrong by this factor either way: small matrices run below a machine's rate, shared prompts
and answers that end early above it, and other programs share the machine."""

_MEASURE_S, _LEAST_RUNS = 0.4, 3
_DECODED = (2048, 2048)
_ADAMW_BYTES = 36
"""Traffic of one update per weight: clear and measure the gradient, read and write weight and moments, in fp32."""


@final
class Work(Record):
    """What a machine must do.

    Attributes:
        flops: Additions and multiplications of matrix products.
        attention_flops: The same of attention, the causal half: its kernels run far below the rate of large products.
        num_bytes: Memory traffic of everything else: weights, optimiser state, activations.
        decoded: By format, numbers that are made of a quantised weight's codes.
    """

    flops: float = 0.0
    attention_flops: float = 0.0
    num_bytes: float = 0.0
    decoded: dict[WeightFormat, float] = Field(default_factory=dict)

    def __add__(self, other: Work) -> Work:
        decoded = {
            one: self.decoded.get(one, 0.0) + other.decoded.get(one, 0.0) for one in {**self.decoded, **other.decoded}
        }
        return Work(
            flops=self.flops + other.flops,
            attention_flops=self.attention_flops + other.attention_flops,
            num_bytes=self.num_bytes + other.num_bytes,
            decoded=decoded,
        )


@final
class MachineRates(Record):
    """How fast a device is.

    Attributes:
        device: "cpu" or "cuda".
        flops_per_s: Of a matrix product as large as a layer's.
        attention_flops_per_s: Of causal attention among documents of a few hundred tokens.
        bytes_per_s: Of a large copy, read and written bytes together.
    """

    device: str
    dtype: str
    flops_per_s: float
    attention_flops_per_s: float
    bytes_per_s: float

    def seconds(self, work: Work) -> float:
        """Predicted seconds: products, attention, traffic and decoding one after the other, as operators run.

        Raises:
            CompatibilityError: Codes are to be decoded, and bitsandbytes is not installed.
        """
        seconds = work.flops / self.flops_per_s + work.attention_flops / self.attention_flops_per_s
        seconds += work.num_bytes / self.bytes_per_s
        return seconds + sum(count / measure_decoding(one, self.device) for one, count in work.decoded.items())


def _block_flops(c: DecoderConfig, num_tokens: float) -> float:
    """Products of a forward through all blocks, attention's left out."""
    projections = c.hidden_size * c.head_dim * (2 * c.num_heads + 2 * c.num_kv_heads)
    return num_tokens * c.num_layers * 2 * (projections + 3 * c.hidden_size * c.intermediate_size)


def _attention_flops(c: DecoderConfig, num_tokens: float, context: float) -> float:
    """Of a forward; each token attends to ``context`` others on average (causal: half a document)."""
    return num_tokens * 4 * sum(min(context, window or context) for window in c.windows) * c.num_heads * c.head_dim


def _saved_by_frozen_weights(c: DecoderConfig, num_tokens: float, lora: LoraConfig) -> float:
    """Operations that adapters spare: frozen weights have no gradient, and nothing asks for the first block's input's.

    What the adapters' own products take is subtracted.
    """
    shapes = c.layer_shapes()
    matrices = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) == 2}
    first = sum(size for name, size in matrices.items() if name.split(".")[-2] in ("q_proj", "k_proj", "v_proj"))
    first += lora.rank * c.hidden_size * len({"q", "k", "v"} & set(lora.targets))
    spared = c.num_layers * sum(matrices.values()) + first
    return 2.0 * num_tokens * (spared - 3 * num_lora_parameters(c, lora))


def _head_flops(c: DecoderConfig, rows: float) -> float:
    return 2.0 * rows * c.hidden_size * c.vocab_size


def _by_parameters(config: Mapping[str, Any], num_tokens: float, num_bytes: float) -> Work:
    """So many tokens through a model of which nothing is known but its size."""
    return Work(flops=2.0 * num_tokens * size_of(config).num_active, num_bytes=num_bytes)


def training_work(
    config: Mapping[str, Any],
    *,
    num_tokens: int,
    num_supervised: int,
    document_tokens: float,
    num_steps: int,
    num_micro_batches: int,
    compute_dtype: Literal["fp32", "bf16"] = "fp32",
    checkpointing: bool = False,
    lora: LoraConfig | None = None,
    base: WeightFormat | None = None,
) -> Work:
    """Forward, backward and updates of a training run.

    The backward pass costs two products for each of the forward's; the head makes its gradient in the forward, three
    products a row in all. Of frozen weights no gradient is made. What moments in 8 bits cost is not counted.

    Args:
        num_tokens: Over the run.
        num_supervised: Rows through the head, over the run.
        document_tokens: Mean length of a document.
        num_micro_batches: Over the run.
        compute_dtype: Of the passes.
        checkpointing: Whether the forward runs twice.
        lora: Adapters that learn in place of the weights.
        base: How the weights below them are held.

    Raises:
        CompatibilityError: Another architecture that was not measured.
    """
    passes = 4 if checkpointing else 3
    size = 2 if compute_dtype == "bf16" else 4
    c = decoder_config(config)
    if c is None:
        num_parameters = size_of(config).num_parameters
        num_learning = num_parameters if lora is None else num_adapted(config, lora.rank, lora.targets)
        read = 2 * size * num_parameters + num_learning * (size + 16)
        traffic = num_micro_batches * read + num_steps * _ADAMW_BYTES * num_learning
        passes -= lora is not None  # of frozen weights no gradient is made
        return _by_parameters(config, passes * num_tokens, traffic)
    flops = passes * _block_flops(c, num_tokens)
    attention = passes * _attention_flops(c, num_tokens, document_tokens / 2)
    flops += (3 if lora is None else 2) * _head_flops(c, num_supervised)
    if lora is not None:
        flops -= _saved_by_frozen_weights(c, num_tokens, lora)
        flops += 2.0 * num_tokens * num_lora_parameters(c, lora) * checkpointing
    elif checkpointing:  # the second forward stops before each block's last product, whose result nothing needs
        flops -= 2.0 * num_tokens * c.num_layers * c.hidden_size * c.intermediate_size
    memory = predict_training(
        config,
        num_tokens=max(1, round(num_tokens / num_micro_batches)),
        compute_dtype=compute_dtype,
        checkpointing=checkpointing,
        lora=lora,
        base=base,
    )
    num_learning = c.num_parameters if lora is None else num_lora_parameters(c, lora)
    per_micro_batch = (passes - 1) * size * c.num_parameters  # read in each pass but where a weight's gradient is made
    per_micro_batch += num_learning * (size + 16)  # that gradient, written, read, and added up
    # what operators between the products read and write, forward and back, is some six times what is kept
    per_micro_batch += 6 * memory.activation_bytes
    logits = 8.0 * 4 * num_supervised * c.vocab_size
    num_bytes = num_micro_batches * per_micro_batch + num_steps * _ADAMW_BYTES * num_learning + logits
    if lora is not None:  # rows into and out of thin products, once more than those of the layers' own
        widths = sum(rows + columns - lora.rank for rows, columns in lora_shapes(c, lora).values())
        num_bytes += 6.0 * size * num_tokens * widths
    decoded = {} if base is None else {base: (passes - 1.0) * num_micro_batches * in_blocks(c)}
    return Work(flops=flops, attention_flops=attention, num_bytes=num_bytes, decoded=decoded)


def scoring_work(
    config: Mapping[str, Any], *, num_tokens: int, num_rows: int, document_tokens: float, num_passes: int
) -> Work:
    """A model that only reads: a live teacher, a capture, a calibration.

    Args:
        num_tokens: Over all passes.
        num_rows: Rows of which logits are made.
        document_tokens: Mean length of a document.
        num_passes: Forward passes.

    Raises:
        CompatibilityError: Another architecture that was not measured.
    """
    c = decoder_config(config)
    if c is None:
        return _by_parameters(config, num_tokens, num_passes * 4.0 * size_of(config).num_parameters)
    flops = _block_flops(c, num_tokens) + _head_flops(c, num_rows)
    attention = _attention_flops(c, num_tokens, document_tokens / 2)
    stream = num_tokens * c.num_layers * 4.0 * (8 * c.hidden_size + 6 * c.intermediate_size)
    logits = 4.0 * 4 * num_rows * c.vocab_size
    num_bytes = num_passes * 4.0 * c.num_parameters + stream + logits
    return Work(flops=flops, attention_flops=attention, num_bytes=num_bytes)


def sampling_work(
    config: Mapping[str, Any], *, num_sequences: int, prompt_tokens: float, new_tokens: float, batch: int
) -> Work:
    """Completions, so many at a time: each new token of a batch reads all weights and the cache of its sequences.

    Args:
        num_sequences: Completions in all.
        prompt_tokens: Mean length of a prompt.
        new_tokens: Mean length of a completion.
        batch: Most sequences at a time.

    Raises:
        CompatibilityError: Another architecture that was not measured.
    """
    c = decoder_config(config)
    reading = scoring_work(
        config,
        num_tokens=math.ceil(num_sequences * prompt_tokens),
        num_rows=0,
        document_tokens=prompt_tokens,
        num_passes=-(-num_sequences // batch),
    )
    drawn = num_sequences * new_tokens
    context = prompt_tokens + new_tokens / 2
    num_waves = -(-num_sequences // batch) * new_tokens
    cache = kv_cache_bytes(config, context=math.ceil(context), num_sequences=1, kv_dtype="fp32")
    if c is None:
        traffic = num_waves * 4.0 * size_of(config).num_parameters + drawn * cache
        return reading + _by_parameters(config, drawn, traffic)
    flops = _block_flops(c, drawn) + _head_flops(c, drawn)
    num_bytes = num_waves * 4.0 * c.num_parameters + drawn * (cache + 8.0 * 4 * c.vocab_size)
    return reading + Work(flops=flops, attention_flops=_attention_flops(c, drawn, context), num_bytes=num_bytes)


@lru_cache(maxsize=8)
def measure_machine(device: str = "cpu", dtype: Literal["fp32", "bf16"] = "fp32") -> MachineRates:
    """A quick look at this machine, about a second, remembered while the process lives.

    Args:
        device: "cpu" or "cuda".
    """
    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    return MachineRates(
        device=device,
        dtype=dtype,
        flops_per_s=_rate(device, _product(device, torch_dtype)),
        attention_flops_per_s=_rate(device, _attention(device, torch_dtype)),
        bytes_per_s=_rate(device, _copy(device)),
    )


@lru_cache(maxsize=8)
def measure_decoding(weights: WeightFormat, device: str = "cpu") -> float:
    """Numbers that are made of codes in a second, remembered while the process lives.

    Args:
        device: "cpu" or "cuda".

    Raises:
        CompatibilityError: bitsandbytes is not installed.
    """
    rows, columns = _DECODED
    matrix = QuantisedWeight([rows], columns, weights).to(device)
    matrix.fill(0, torch.ones((rows, columns), device=device))
    return _rate(device, (rows * columns, lambda: matrix.dequantised(torch.float32)))


def _product(device: str, dtype: torch.dtype) -> tuple[float, Callable[[], object]]:
    """One as large as a layer's: a CPU's rate hardly grows beyond, a GPU's does."""
    size = 4096 if device == "cuda" else 1024
    left, right = (torch.ones((size, size), dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(left)
    return 2.0 * size**3, lambda: torch.mm(left, right, out=out)


def _attention(device: str, dtype: torch.dtype) -> tuple[float, Callable[[], object]]:
    """Forward and backward, in which two products become five."""
    documents, heads, length, width = 4, 8, 256, 64
    query, key, value = (
        torch.ones((documents, heads, length, width), dtype=dtype, device=device, requires_grad=True) for _ in range(3)
    )

    def call() -> object:
        out = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return torch.autograd.grad(out, (query, key, value), query)

    return 7 * documents * heads * length**2 * width, call


def _copy(device: str) -> tuple[float, Callable[[], object]]:
    """Of what no cache holds, as a step streams it."""
    source = torch.ones(1 << 25, device=device)
    target = torch.empty_like(source)
    return 8.0 * source.numel(), lambda: target.copy_(source)


def _rate(device: str, work: tuple[float, Callable[[], object]]) -> float:
    """Amount per second, of the median run: what a machine keeps up, not what it once reached."""
    amount, call = work
    call()  # warm: first calls choose kernels and touch pages
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < _LEAST_RUNS or time.perf_counter() - started < _MEASURE_S:
        seconds.append(_timed(device, call))
    return amount / median(seconds)


def _timed(device: str, work: Callable[[], object]) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    before = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return max(time.perf_counter() - before, 1e-9)
