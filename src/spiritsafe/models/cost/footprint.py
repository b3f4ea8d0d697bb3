"""Bytes before they are spent: weights at a quantisation, KV cache at a context.

In: a ``config.json`` or a model directory. Out: exact predictions of weight bytes (safetensors, or a GGUF file of any
type, by :mod:`spiritsafe.models.gguf.types`) and of the KV cache; and the measured bytes of a directory to
hold them against. Memory of training is :mod:`spiritsafe.models.cost.training_memory`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.quantised import WeightFormat, quantised_bytes
from spiritsafe.models.gguf.types import FILE_TYPES, FileOnlyName, file_bytes, find_file_type, stored_bytes
from spiritsafe.models.transformers_backend.sizes import cached_numbers, decoder_config, size_of

Quantisation = Literal["fp32", "bf16", FileOnlyName]
"""How weights are stored: the first two in safetensors, every number alike; the others as a GGUF file of that type."""

_DTYPE_BYTES = {
    "fp32": 4,
    "bf16": 2,
    "f16": 2,
    "q8_0": stored_bytes((32,), FILE_TYPES["q8_0"].tensor) / 32,
}


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that a model of the Decoder's family stores.

    Raises:
        CompatibilityError: Another architecture; measure a directory instead.
    """
    c = DecoderConfig.from_hf(config)
    layer = c.layer_shapes()
    in_layers = {f"model.layers.{i}.{name}": shape for i in range(c.num_layers) for name, shape in layer.items()}
    return c.outer_shapes() | in_layers


def weight_bytes(config: Mapping[str, Any], quantisation: Quantisation, *, importance: bool = False) -> int:
    """Bytes of a model's tensors as stored, without file headers and tokenizer.

    Args:
        config: ``config.json`` of the Decoder's family.
        quantisation: How they are stored.
        importance: Whether a GGUF file is quantised with an importance matrix, which changes some tensors' types.

    Raises:
        CompatibilityError: Another architecture.
    """
    if quantisation in ("fp32", "bf16"):
        return sum(map(math.prod, tensor_shapes(config).values())) * int(_DTYPE_BYTES[quantisation])
    return file_bytes(DecoderConfig.from_hf(config), find_file_type(quantisation), importance=importance)


def kv_cache_bytes(
    config: Mapping[str, Any], *, context: int, num_sequences: int, kv_dtype: str, windowed: bool = True
) -> int:
    """Bytes of keys and values: two vectors per token, layer and key-value head.

    Args:
        config: ``config.json`` of the Decoder's family.
        context: Tokens of a sequence.
        num_sequences: Sequences at once.
        kv_dtype: How numbers are stored.
        windowed: Whether a window bounds a layer's tokens, as whoever serves a model can have it.

    Of a model that transformers runs it is an estimate, and 0 where its configuration names no heads.

    Raises:
        CompatibilityError: An unknown type.
    """
    if kv_dtype not in _DTYPE_BYTES:
        raise CompatibilityError(
            f"{kv_dtype!r} is no type of a KV cache.", hint=f"Known: {', '.join(sorted(_DTYPE_BYTES))}."
        )
    c = decoder_config(config)
    if c is None:
        return math.ceil(cached_numbers(config, context) * num_sequences * _DTYPE_BYTES[kv_dtype])
    tokens = sum(min(context, window) if windowed and window is not None else context for window in c.windows)
    return math.ceil(2 * tokens * c.num_kv_heads * c.head_dim * num_sequences * _DTYPE_BYTES[kv_dtype])


@final
class Footprint(Record):
    """Bytes of a model that is only run."""

    weight_bytes: int
    kv_cache_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights and cache."""
        return self.weight_bytes + self.kv_cache_bytes


def predict_footprint(
    config: Mapping[str, Any],
    quantisation: Quantisation,
    *,
    context: int = 0,
    kv_dtype: str = "bf16",
    num_sequences: int = 1,
) -> Footprint:
    """Bytes to run a model.

    Args:
        config: ``config.json``; of a model that transformers runs, as ``read_model_config`` gives it.
        quantisation: How weights are stored; of a model that transformers runs only "fp32", "bf16" and "f16" are known.
        context: Tokens of cache per sequence.
        kv_dtype: How the cache is stored.
        num_sequences: Sequences at once.

    Raises:
        CompatibilityError: Another architecture that was not measured, or a quantisation that is not known of it.
    """
    if decoder_config(config) is None and quantisation in ("fp32", "bf16", "f16"):
        weights = size_of(config).num_parameters * int(_DTYPE_BYTES[quantisation])
    else:
        weights = weight_bytes(config, quantisation)
    return Footprint(
        weight_bytes=weights,
        kv_cache_bytes=kv_cache_bytes(config, context=context, num_sequences=num_sequences, kv_dtype=kv_dtype),
    )


def held_bytes(config: Mapping[str, Any], dtype: Literal["fp32", "bf16"], weights: WeightFormat | None = None) -> int:
    """Bytes of a model's weights in this process's memory.

    Args:
        config: ``config.json``; of a model that transformers runs, as ``read_model_config`` gives it.
        dtype: What it computes in.
        weights: How its layers' matrices are held; None: as all other weights. Of a model that transformers runs all
            but embedding and head are counted as such matrices.

    Raises:
        CompatibilityError: Another architecture that was not measured.
    """
    whole = predict_footprint(config, dtype).weight_bytes
    if weights is None:
        return whole
    c, itemsize = decoder_config(config), int(_DTYPE_BYTES[dtype])
    if c is None:
        outer = outer_numbers(config)
        inner = size_of(config).num_parameters - outer
        return outer * itemsize + quantised_bytes(1, inner, weights)
    matrices = [shape for shape in c.layer_shapes().values() if len(shape) == 2]
    codes = sum(quantised_bytes(rows, columns, weights) for rows, columns in matrices)
    return whole + c.num_layers * (codes - itemsize * sum(math.prod(shape) for shape in matrices))


def outer_numbers(config: Mapping[str, Any]) -> int:
    """Numbers of embedding and head of a model that transformers runs, not more than it has."""
    text = config.get("text_config") or config
    outer = 2 * int(text.get("vocab_size") or 0) * int(text.get("hidden_size") or 0)
    return min(outer, size_of(config).num_parameters)


def measure_bytes(directory: Path) -> int:
    """Bytes of a directory's tensors as they are on disk.

    Raises:
        SourceError: No weights, or damaged ones.
    """
    return sum(info.num_bytes for info in read_tensor_table(directory).values())


def layers_within(
    config: Mapping[str, Any], max_bytes: int, quantisation: Quantisation, *, context: int = 0, kv_dtype: str = "bf16"
) -> int:
    """Most layers that a depth-cut of this model may keep.

    Raises:
        BudgetError: Not even one layer fits.
        CompatibilityError: Another architecture.
    """
    fitting = [
        layers
        for layers, shallow in _depths(config)
        if predict_footprint(shallow, quantisation, context=context, kv_dtype=kv_dtype).total_bytes <= max_bytes
    ]
    if not fitting:
        smallest = predict_footprint(next(_depths(config))[1], quantisation, context=context, kv_dtype=kv_dtype)
        raise BudgetError(
            f"One layer alone takes {smallest.total_bytes:,} bytes in {quantisation}; the budget is {max_bytes:,}.",
            hint="Raise the budget, quantise harder, or start from a smaller model.",
        )
    return max(fitting)


def _depths(config: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for layers in range(1, int(config["num_hidden_layers"]) + 1):
        yield layers, shallower(config, range(layers))


def shallower(config: Mapping[str, Any], keep: Iterable[int]) -> dict[str, Any]:
    """The configuration of the same model with some of its layers; lists with one entry a layer follow."""
    kept = list(keep)
    total = int(config["num_hidden_layers"])
    out = json.loads(json.dumps(dict(config)))
    for name, value in out.items():
        if isinstance(value, list) and len(value) == total and name in ("layer_types", "mlp_layer_types"):
            out[name] = [value[layer] for layer in kept]
    out["num_hidden_layers"] = len(kept)
    if isinstance(out.get("max_window_layers"), int):
        out["max_window_layers"] = sum(layer < config["max_window_layers"] for layer in kept)
    return dict(out)
