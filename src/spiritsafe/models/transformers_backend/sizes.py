"""Sizes of models that transformers runs, from their tensors' headers and the keys that most configurations share.

In: a model directory. Out: its ``config.json`` with what was measured beside it, so that whatever predicts bytes and
time from a configuration needs nothing else. Nothing is predicted of a model that the Decoder implements: its sizes
follow from its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, final

from pydantic import Field

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import PLACES, file_model, is_routed
from spiritsafe.core.records import Record
from spiritsafe.models.checkpoints.tensors import TensorInfo, read_tensor_table
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.transformers_backend.projections import LoraTarget, adapter_numbers, widths_of

_MEASURED = "spiritsafe_measured"
_WIDTHS = "spiritsafe_projections"
_EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "moe_top_k")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_ROUTED = re.compile(r"(^|\.)experts\.")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


@final
class ModelSize(Record):
    """Parameters of a model.

    Attributes:
        num_parameters: Numbers in its tensors.
        num_active: Those that one token passes through; fewer than all in a mixture of experts.
        activation_bytes: What a token of a training pass in float32 keeps for the backward pass; 0: not measured.
        recomputed_bytes: The same where activations are computed again.
    """

    num_parameters: int = Field(ge=0)
    num_active: int = Field(ge=0)
    activation_bytes: int = Field(default=0, ge=0)
    recomputed_bytes: int = Field(default=0, ge=0)


def decoder_config(config: Mapping[str, Any]) -> DecoderConfig | None:
    """The configuration as the Decoder reads it; None for a model that transformers runs."""
    try:
        return DecoderConfig.from_hf(config)
    except CompatibilityError:
        return None


def refuse_file(directory: Path) -> None:
    """Say of a GGUF file that nothing but llama.cpp runs it, and of a routed system that it has no weights.

    Raises:
        CompatibilityError: The directory is a file model, or asks several models.
    """
    if is_routed(directory):
        raise CompatibilityError(
            f"{directory} asks one of several models for each answer and has no weights of its own: it can answer and "
            "sit exams, and nothing else.",
            hint=f"Name one of its models; {directory / PLACES} says where they are.",
        )
    if (file := file_model(directory)) is not None:
        raise CompatibilityError(
            f"{directory} is a GGUF file as it is: llama.cpp answers from it, nothing can learn from its weights.",
            hint=f"For a model that can learn, write gguf:{file}: it is converted to float32.",
        )


def read_config(directory: Path) -> Mapping[str, Any]:
    """A directory's ``config.json``.

    Raises:
        SourceError: There is none, or it is no table of keys.
        CompatibilityError: It is a GGUF file, which nothing but llama.cpp runs, or a routed system.
    """
    refuse_file(directory)
    config = read_json(directory / "config.json")
    if not isinstance(config, dict):
        raise SourceError(f"{directory / 'config.json'} is no configuration of a model.", hint="Fetch the model again.")
    return config


def read_model_config(directory: Path) -> dict[str, Any]:
    """A directory's ``config.json``; with its measured size where the Decoder does not implement it.

    Raises:
        SourceError: Configuration or weights are missing or damaged.
    """
    config = read_config(directory)
    return dict(config) if decoder_config(config) is not None else measured_config(config, read_tensor_table(directory))


def measured_config(config: Mapping[str, Any], table: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """As :func:`read_model_config`, of a configuration and a tensor table that lie elsewhere."""
    if decoder_config(config) is not None:
        return dict(config)
    text = _text(config)
    widths = widths_of(table, has_experts=num_experts_of(text)[0] > 1)
    return {**config, _MEASURED: count_parameters(text, table).to_json(), _WIDTHS: widths}


def num_adapted(config: Mapping[str, Any], rank: int, targets: Collection[LoraTarget]) -> int:
    """Numbers that adapters of a model that transformers runs hold; 0 where none of its layers is known.

    Args:
        config: As :func:`read_model_config` gives it.
        rank: Inner width of each.
        targets: Projections that have one.
    """
    return adapter_numbers(config.get(_WIDTHS, {}), rank, targets)


def adapter_fault(config: Mapping[str, Any], targets: Collection[LoraTarget]) -> str:
    """Why a model that transformers runs cannot have adapters on some projections; "": it can.

    Args:
        config: As :func:`read_model_config` gives it.
    """
    widths: Mapping[str, int] = config.get(_WIDTHS, {})
    fused = [set(key.split("+")) for key in widths]
    partly = next((names for names in fused if names & set(targets) and not names <= set(targets)), None)
    if partly is not None:
        return f"it keeps {', '.join(sorted(partly))} in one matrix: name all of them in targets, or none"
    return "" if num_adapted(config, 1, targets) else f"none of its linear layers is known as {', '.join(targets)}"


def with_activations(config: Mapping[str, Any], kept: int, recomputed: int) -> dict[str, Any]:
    """A configuration as :func:`read_model_config` gives it, with what a pass of the loaded model was seen to keep."""
    size = size_of(config).model_copy(update={"activation_bytes": kept, "recomputed_bytes": recomputed})
    return {**config, _MEASURED: size.to_json()}


def size_of(config: Mapping[str, Any]) -> ModelSize:
    """Parameters, by the configuration where the Decoder implements it, else as :func:`read_model_config` measured.

    Raises:
        CompatibilityError: Another architecture, and it was not measured.
    """
    c = decoder_config(config)
    if c is not None:
        return ModelSize(num_parameters=c.num_parameters, num_active=c.num_parameters)
    if _MEASURED not in config:
        DecoderConfig.from_hf(config)  # says why it is not the Decoder's
    return ModelSize.from_json(config[_MEASURED])


def measure_size(directory: Path) -> ModelSize:
    """Parameters of a directory's tensors; of routed experts, those that are not chosen are not active.

    Layers beyond the configuration's (DeepSeek-V3 stores one that predicts a second token) are not run.

    Raises:
        SourceError: Configuration or weights are missing or damaged.
    """
    config = _text(read_config(directory))
    return count_parameters(config, read_tensor_table(directory))


def count_parameters(config: Mapping[str, Any], table: Mapping[str, TensorInfo]) -> ModelSize:
    """As :func:`measure_size`, of a tensor table."""
    experts, chosen = _first(config, _EXPERTS), _first(config, _ACTIVE)
    num_layers = _first(config, _LAYERS)
    share = chosen / experts if experts and chosen and chosen < experts else 1.0
    total, active = 0, 0.0
    for name, info in table.items():
        total += info.num_elements
        layer = _LAYER.search(name)
        if num_layers and layer and int(layer[1]) >= num_layers:
            continue
        is_routed = _ROUTED.search(name) or (len(info.shape) == 3 and info.shape[0] == experts)
        active += info.num_elements * (share if is_routed else 1.0)
    return ModelSize(num_parameters=total, num_active=round(active))


def num_experts_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Routed experts of a layer and how many of them a token passes through; 0 where the configuration names none."""
    return _first(config, _EXPERTS), _first(config, _ACTIVE)


def cached_numbers(config: Mapping[str, Any], context: int) -> int:
    """Numbers of one sequence's keys and values, by the keys that most configurations share; 0 where there are none.

    Args:
        config: ``config.json`` of a model that transformers runs.
        context: Tokens of the sequence; a layer with a sliding window keeps no more than that.
    """
    text = _text(config)
    layers, heads = _first(text, _LAYERS), _first(text, ("num_attention_heads", "n_head"))
    hidden = _first(text, ("hidden_size", "n_embd", "d_model"))
    if not layers or not heads or not hidden:
        return 0
    if latent := _first(text, ("kv_lora_rank",)):  # latent attention keeps one latent and one rotated key a token
        width = latent + _first(text, ("qk_rope_head_dim",))
    else:
        width = 2 * (_first(text, ("head_dim",)) or hidden // heads) * (_first(text, ("num_key_value_heads",)) or heads)
    window, kinds = _first(text, ("sliding_window",)), text.get("layer_types")
    short = sum(kind == "sliding_attention" for kind in kinds) if window and isinstance(kinds, list) else 0
    return width * ((layers - short) * context + short * min(context, window))


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the language model, where a configuration describes several."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of some keys that holds a positive whole number; 0: none does."""
    inner = config.get("ffn_config")
    places = (config, inner) if isinstance(inner, Mapping) else (config,)
    found = (place.get(name) for place in places for name in names)
    return next((v for v in found if isinstance(v, int) and not isinstance(v, bool) and v > 0), 0)
