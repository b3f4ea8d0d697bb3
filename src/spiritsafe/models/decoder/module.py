"""The Decoder: one compact module for the dense RoPE family, shared by training and sampling.

In: a :class:`DecoderConfig` and Hugging Face weights, then packed batches. Out: hidden states. Query, key and value
are one matrix, gate and up are one; linear layers run on the N packed tokens without padding. Shapes: N tokens,
H hidden width, S heads, K key-value heads, W head_dim, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.attention import Layout, attend, attend_after_prefix, make_layout
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.cpu.packing import HugePages, PackedLinear, PanelWeight, pack_half, pack_weight
from spiritsafe.models.decoder.lora_layer import LoraLayer
from spiritsafe.models.decoder.quantised import QuantisedWeight, WeightFormat, dense, format_name, quantised_linear
from spiritsafe.models.decoder.rope import RopeTable, rotate
from spiritsafe.models.decoder.sampling_mode import is_sampling
from spiritsafe.models.decoder.weight_names import load_hf_tensors, make_hf_tensors, save_hf, stacked_rows
from spiritsafe.models.interface.batch import PackedBatch, with_filler
from spiritsafe.models.interface.language_model import SHARD_BYTES, Head, LanguageModel

SIZE_STEP = 16


def fills_batches(lengths: Sequence[int], dtype: torch.dtype, device_type: str) -> bool:
    """Whether a forward pass rounds the size of such a batch up to a multiple of ``SIZE_STEP``.

    For each size of a half-precision product on a CPU, oneDNN makes kernels that it never gives back, about half a
    megabyte; batches of mixed lengths have a new size almost every time.
    """
    return device_type == "cpu" and dtype == torch.bfloat16 and len(set(lengths)) > 1


@cache
def _number(value: float) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=torch.float32, device="cpu")


@final
class RMSNorm(nn.Module):
    """Root-mean-square norm; statistics in float32, as transformers."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise the last axis."""
        if hidden.dtype in (torch.float32, torch.bfloat16) and hidden.device.type == "cpu" and is_sampling():
            # the library's own is nine operations there, which for one row cost more than a small product
            wide = hidden.float()
            size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            inverse = torch.addcmul(_number(self.eps), size, size, value=1.0 / hidden.shape[-1]).rsqrt_()
            scaled = wide * inverse if wide is hidden else wide.mul_(inverse)
            return scaled.mul_(self.weight).to(hidden.dtype)
        return functional.rms_norm(hidden, (hidden.shape[-1],), self.weight, self.eps)


@final
class PackableLinear(nn.Linear):
    """A linear layer that sampling on a CPU may give a second copy of its weights, laid out for few rows.

    Training never sees the copy: it is used under ``torch.inference_mode`` only.

    Attributes:
        lora: Adapters, if :func:`spiritsafe.models.add_lora` gave it any.
        quantised: The weight, if :meth:`quantise` was called; ``weight`` is None then.
    """

    packed: PackedLinear | None = None
    lora: LoraLayer | None
    quantised: QuantisedWeight | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.register_module("lora", None)
        self.register_module("quantised", None)

    def quantise(self, num_rows: Sequence[int], weights: WeightFormat) -> None:
        """Hold codes in place of the weight, unset so far, of matrices of so many rows each."""
        self.quantised = QuantisedWeight(num_rows, self.in_features, weights)
        self.register_parameter("weight", None)

    @torch.no_grad()
    def dequantise(self, dtype: torch.dtype) -> None:
        """Hold the numbers that the codes stand for; nothing happens where there are none."""
        if self.quantised is not None:
            self.weight = nn.Parameter(self.quantised.dequantised(dtype), requires_grad=False)
            self.quantised = None

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The weight; of codes what they stand for, in this format."""
        return dense(self.weight.detach() if self.quantised is None else self.quantised, dtype)

    def forward(self, rows: Tensor) -> Tensor:
        """``rows @ weight.T + bias``, and what adapters add."""
        # A compiler must not see the copy: it is no tensor with memory of its own.
        if not torch.compiler.is_compiling() and self.packed is not None and torch.is_inference_mode_enabled():
            return self.packed(rows)
        if self.lora is not None:
            adapted: Tensor = self.lora(rows, self.weight if self.quantised is None else self.quantised, self.bias)
            return adapted
        if self.quantised is not None:
            return quantised_linear(rows, self.quantised, self.bias)
        return functional.linear(rows, self.weight, self.bias)

    def pack(self, dtype: torch.dtype, memory: HugePages | None = None) -> None:
        """Make the second copy, of weights and adapters as they are now; it does not follow their changes.

        Args:
            dtype: In which the model computes.
            memory: Where copies of several layers may stand together.
        """
        weight, low_rank = self.dense(dtype), None
        if self.lora is not None and weight.dtype == torch.float32:
            weight = self.lora.merged(weight)
        elif self.lora is not None:
            low_rank = self.lora.float32_maps(self.out_features)
        plain = weight if self.lora is None and self.quantised is None and dtype == torch.float32 else None
        self.packed = PackedLinear(
            weight=pack_weight(weight, self.bias, memory), bias=self.bias, plain=plain, low_rank=low_rank
        )

    def pack_few(self) -> None:
        """Make a third copy, which multiplies bfloat16 rows of up to ``FEW_ROWS``; :meth:`pack` made the second."""
        if self.packed is not None and not isinstance(self.packed.weight, PanelWeight):  # which needs none
            self.packed = replace(self.packed, few=pack_half(self.dense(torch.bfloat16)))


@final
class Block(nn.Module):
    """One layer: attention, then a gated feed-forward, each added to the stream."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        self.scale = config.attention_scale
        self.window = config.windows[index]
        self.residual_multiplier = config.residual_multiplier
        hidden, heads = config.hidden_size, config.num_heads + 2 * config.num_kv_heads
        self.input_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.qkv = PackableLinear(hidden, heads * config.head_dim, bias=config.qkv_bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.out = PackableLinear(config.num_heads * config.head_dim, hidden, bias=config.out_bias)
        self.mlp_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.gate_up = PackableLinear(hidden, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.down = PackableLinear(config.intermediate_size, hidden, bias=config.mlp_bias)

    def projections(self) -> tuple[PackableLinear, ...]:
        """The four linear layers."""
        return (self.qkv, self.out, self.gate_up, self.down)

    def project(self, stream_NH: Tensor, cos_NW: Tensor, sin_NW: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys side by side ``[N, S + K, W]``, and values ``[N, K, W]``."""
        qkv_NHW = self.qkv(self.input_norm(stream_NH)).view(stream_NH.shape[0], -1, self.head_dim)
        sizes = [self.num_heads + self.num_kv_heads, self.num_kv_heads]
        raw_NRW, value_NKW = torch.split(qkv_NHW, sizes, dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            query_NSW, key_NKW = torch.split(raw_NRW, [self.num_heads, self.num_kv_heads], dim=1)
            raw_NRW = torch.cat((self.q_norm(query_NSW), self.k_norm(key_NKW)), dim=1)
        return rotate(raw_NRW, cos_NW, sin_NW), value_NKW

    def finish(self, stream_NH: Tensor, attended_NSW: Tensor) -> Tensor:
        """Output projection and feed-forward, each added to the stream."""
        stream_NH = self._add(stream_NH, self.out(attended_NSW.flatten(1)))
        gate_NF, up_NF = self.gate_up(self.mlp_norm(stream_NH)).chunk(2, dim=-1)
        return self._add(stream_NH, self.down(functional.silu(gate_NF, inplace=is_sampling()) * up_NF))

    def _add(self, stream_NH: Tensor, update_NH: Tensor) -> Tensor:
        if is_sampling():  # the update is a product's own memory; the stream may be somebody's
            scaled_NH = update_NH if self.residual_multiplier == 1.0 else update_NH.mul_(self.residual_multiplier)
            return scaled_NH.add_(stream_NH)
        return stream_NH + (update_NH if self.residual_multiplier == 1.0 else update_NH * self.residual_multiplier)

    def forward(
        self, stream_NH: Tensor, cos_NW: Tensor, sin_NW: Tensor, layout: Layout, prefix_length: int = 0
    ) -> Tensor:
        """The whole layer over a packed batch; ``layout`` is of its documents without the shared prefix."""
        rotated_NRW, value_NKW = self.project(stream_NH, cos_NW, sin_NW)
        if prefix_length:
            attended_NSW = attend_after_prefix(
                rotated_NRW, value_NKW, layout, prefix_length, scale=self.scale, window=self.window
            )
        else:
            attended_NSW = attend(rotated_NRW, value_NKW, layout, scale=self.scale, window=self.window)
        return self.finish(stream_NH, attended_NSW)


@final
class Decoder(LanguageModel):
    """A dense decoder with rotary positions.

    Args:
        seed: Weights are drawn from it (normal, ``initializer_range`` of the config's metadata); None leaves them
            unset, for a caller that loads them next.
        weights: Hold the blocks' linear layers in so many bits, frozen; they are unset until they are loaded. None:
            as all other weights.
    """

    shares_prefixes = True

    def __init__(
        self,
        config: DecoderConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        seed: int | None = 0,
        weights: WeightFormat | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and seed is not None:
            raise ValueError("quantised weights are loaded, not drawn: give seed=None")
        self.config = config
        self.vocab_size, self.hidden_size = config.vocab_size, config.hidden_size
        self.num_layers, self.max_context = config.num_layers, config.max_context
        self.activation_checkpointing = False
        with torch.device("meta"):
            # not drawn, since drawing on the meta device loads torch's compiler, seconds of a process's start
            rows = torch.empty(config.vocab_size, config.hidden_size)
            self.embedding: nn.Embedding = nn.Embedding.from_pretrained(rows, freeze=False)  # type: ignore[no-untyped-call]
            self.blocks = nn.ModuleList(Block(config, index) for index in range(config.num_layers))
            self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
            self.lm_head = None if config.tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            if weights is not None:
                stacked = stacked_rows(config)
                for projection, name in self._projections():
                    projection.quantise(stacked[name], weights)
        self.to(dtype)
        self.to_empty(device=device)
        self._rope = RopeTable(config.rope, config.head_dim)
        if seed is not None:
            self._draw_weights(seed)

    def _draw_weights(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        scale = self.config.metadata.get("initializer_range", 0.02)
        spread = float(scale) if isinstance(scale, int | float) else 0.02
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.dim() == 1:
                    parameter.fill_(1.0)
                else:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)

    def _projections(self) -> Iterator[tuple[PackableLinear, str]]:
        """All blocks' linear layers, with their names in the block."""
        for block in self.blocks:
            for name, module in block.named_children():
                if isinstance(module, PackableLinear):
                    yield module, name

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights; where the blocks' are quantised, of the others and of what is computed."""
        return self.embedding.weight.dtype

    @property
    def weight_format(self) -> WeightFormat | None:
        """How many bits the blocks' weights are held in; None: they are as the others."""
        first = next(self._projections())[0].quantised
        return None if first is None else first.weights

    @property
    def number_format(self) -> str:
        """``bfloat16``, or ``4bit+bfloat16``."""
        return format_name(self.dtype, self.weight_format)

    def dequantise(self) -> None:
        """Hold the numbers that quantised weights stand for in their place, in the format of the other weights."""
        for projection, _ in self._projections():
            projection.dequantise(self.dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.embedding.weight.device

    def rope_tables(self, num_positions: int) -> tuple[Tensor, Tensor]:
        """``cos_PW`` and ``sin_PW`` for at least that many positions, in the weights' dtype and device."""
        return self._rope.table(num_positions, device=self.device, dtype=self.dtype)

    def embed(self, token_ids: Tensor) -> Tensor:
        """The stream that enters the first block."""
        stream: Tensor = self.embedding(token_ids)
        multiplier = self.config.embedding_multiplier
        return stream if multiplier == 1.0 else stream * multiplier

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states after the final norm, ``[N, H]``.

        Raises:
            CompatibilityError: A document is longer than the model's context.
        """
        return self.forward_with_layers(batch, ())[0]

    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What :meth:`forward` gives, and the stream after each of some layers, in the order asked for.

        Raises:
            CompatibilityError: A document is longer than the model's context, or a layer is not there.
        """
        if not all(0 <= layer < self.num_layers for layer in layers):
            raise CompatibilityError(
                f"Layers {list(layers)} were asked of a model with layers 0 to {self.num_layers - 1}.",
                hint="Name layers that the model has.",
            )
        prefix, num_tokens = batch.prefix_length, batch.num_tokens
        lengths = batch.lengths[1:] if prefix else batch.lengths
        longest = prefix + max(lengths)
        if longest > self.max_context:
            raise CompatibilityError(
                f"A document of {longest} tokens does not fit this model's context of {self.max_context}.",
                hint="Shorten or split the document, or use a model with a longer context.",
            )
        if fills_batches(lengths, self.dtype, self.device.type):
            batch = with_filler(batch, SIZE_STEP)
            lengths = batch.lengths[1:] if prefix else batch.lengths
        cos_PW, sin_PW = self.rope_tables(longest)
        cos_NW, sin_NW = cos_PW[batch.position_ids_N], sin_PW[batch.position_ids_N]
        layout = make_layout(lengths, self.device)
        stream_NH = self.embed(batch.token_ids_N)
        kept: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if self.activation_checkpointing and torch.is_grad_enabled():
                stream_NH = checkpoint(block, stream_NH, cos_NW, sin_NW, layout, prefix, use_reentrant=False)
            else:
                stream_NH = block(stream_NH, cos_NW, sin_NW, layout, prefix)
            if index in layers:
                kept[index] = stream_NH
        if len(stream_NH) > num_tokens:  # the filler's rows go; before the norm, for FSDP wants no view as an output
            stream_NH = stream_NH[:num_tokens]
            kept = {layer: kept_NH[:num_tokens] for layer, kept_NH in kept.items()}
        normed_NH: Tensor = self.norm(stream_NH)
        return normed_NH, tuple(kept[layer] for layer in layers)

    def head(self) -> Head:
        """The head; the embedding's own parameter when tied."""
        weight: Any = self.embedding.weight if self.lm_head is None else self.lm_head.weight
        return Head(weight_VH=weight, scale=1.0 / self.config.logits_scaling)

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """``[N, V]`` in the weights' dtype."""
        head = self.head()
        logits_NV = functional.linear(hidden_NH, head.weight_VH)
        return logits_NV if head.scale == 1.0 else logits_NV * head.scale

    def compiled_halves(self, *, backend: str = "inductor") -> list[tuple[nn.Module, str, Callable[..., Any]]]:
        """Each block, the name of a method of it, and that method under ``torch.compile``; nothing is put into place.

        Projections and feed-forward; attention stays the library's kernel between them, so batches of mixed lengths
        need no new compilation for each new set of documents, and one compilation serves all layers.
        """
        halves = ("project", "finish")
        return [
            (block, half, torch.compile(getattr(block, half), backend=backend))
            for block in self.blocks
            for half in halves
        ]

    def compile_blocks(self, *, backend: str = "inductor") -> None:
        """Put the compiled halves of the blocks into place, for good.

        Sampling on a CPU stays as it is: it has weights of its own layout.

        Args:
            backend: Of ``torch.compile``.
        """
        for block, half, compiled in self.compiled_halves(backend=backend):
            setattr(block, half, compiled)

    def load_state_dict_hf(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy weights in under Hugging Face's names, cast to this model's dtype; quantised, where it is, one by one.

        Raises:
            CompatibilityError: A tensor is missing, unknown or of another shape.
        """
        load_hf_tensors(self, self.config, tensors)

    def hf_state_dict(self) -> dict[str, Tensor]:
        """Weights under Hugging Face's names: views of the parameters, so bit-exact; no head when tied.

        Raises:
            CompatibilityError: The model has adapters, which such weights leave out, or its weights are quantised.
        """
        if self.weight_format is not None:
            raise CompatibilityError(
                f"The model holds its weights in {self.weight_format} codes, which are not written as weights.",
                hint="Write the model that it was loaded from, or what its codes stand for (model.dequantise() first).",
            )
        if any(isinstance(module, LoraLayer) for module in self.modules()):
            raise CompatibilityError(
                "The model's adapters are not part of its weights.",
                hint="Write them with save_lora, or fold them into the weights with merge_lora first.",
            )
        return make_hf_tensors(self, self.config)

    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write ``config.json`` and the weights so that transformers loads them.

        Raises:
            CompatibilityError: The model has adapters.
            StorageError: The directory cannot be written.
        """
        config = self.config.to_hf()
        config.pop("torch_dtype", None)
        save_hf(directory, config, self.hf_state_dict(), dtype=dtype or self.dtype, shard_bytes=shard_bytes)
