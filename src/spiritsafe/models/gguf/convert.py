"""From a GGUF file to a plain Hugging Face directory, with the tokenizer that the file describes.

In: a GGUF file of one of the Decoder's architectures. Out: ``config.json``,
``generation_config.json``, ``model.safetensors``, ``tokenizer.json``, ``tokenizer_config.json``. Weights are stored as
float32: a quantised block means ``d * q + m`` with half-precision d and m, which bfloat16 cannot hold, and the files
must give exactly the numbers that the GGUF defines. One tensor is in memory at a time.

Anything the file says and this module does not understand is refused, never dropped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import UNKNOWN_LICENCE
from spiritsafe.models.checkpoints.tensors import write_weights
from spiritsafe.models.decoder.architectures import ARCHITECTURES, LAYER_TENSORS, OUTER_TENSORS, axis_sizes, shapes_of
from spiritsafe.models.decoder.rope import RopeConfig, rope_frequencies
from spiritsafe.models.gguf.names import ROPE_FACTORS, hf_name
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.read import write_tokenizer

_HINT = "Use the model's original repository instead: hf:<organisation>/<name>."

CONFIG_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "attention.key_length": "head_dim",
}
"""GGUF key (after the architecture's prefix) → ``config.json`` key."""
SCALE_KEYS = {
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}
"""The same for factors that only some architectures have."""
_INTEGERS = {"num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size", "head_dim"}
_INTEGERS |= {"num_attention_heads", "num_key_value_heads"}
# Keys that say again what the sizes above say; checked in _config. ``expert_count`` may only be 0.
_CHECKED = {"vocab_size", "rope.dimension_count", "attention.value_length", "expert_count"}
_ROPE_KEYS = {"rope.scaling.type", "rope.scaling.factor"}

ROPE_KEY = "spiritsafe.rope_parameters"
"""Parameters of the rotary scaling that the stored factors come from, as JSON, where they are not the usual ones."""
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What all models with such factors are published with; llama.cpp's converter assumes the same."""

_SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "openrail": "LicenseRef-openrail",
}


def spdx_license(name: str | None) -> str:
    """SPDX id of a model hub's licence name; ``LicenseRef-…`` for those SPDX does not list."""
    if not name:
        return UNKNOWN_LICENCE
    cleaned = re.sub(r"[^A-Za-z0-9.-]+", "-", name.strip()).removeprefix("LicenseRef-")
    return _SPDX.get(cleaned.lower(), f"LicenseRef-{cleaned}")


def gguf_license(path: Path) -> str:
    """SPDX id of the licence that a GGUF file states.

    Raises:
        SourceError: The file is missing, truncated or damaged.
    """
    with GGUFFile(path) as file:
        name = file.metadata.get("general.license")
        if name == "other":
            name = file.metadata.get("general.license.name", name)
        return spdx_license(name if isinstance(name, str) else None)


def convert_gguf(path: Path, directory: Path) -> None:
    """Write a GGUF model as a Hugging Face directory.

    Args:
        directory: An existing directory that receives the files.

    Raises:
        SourceError: The file is missing, truncated, corrupt or not GGUF.
        CompatibilityError: An architecture, tokenizer or attribute that is not understood; the message names it.
        StorageError: The directory cannot be written.
    """
    with GGUFFile(path) as file:
        config, names = _write_small_files(file, directory)
        is_interleaved = ARCHITECTURES[config["model_type"]].gguf_interleaved
        heads = (config["num_attention_heads"], config["num_key_value_heads"])

        def produce(name: str) -> Tensor:
            tensor = file.load(names[name])
            if is_interleaved and (match := re.search(r"self_attn\.([qk])_proj", name)):
                return unpermute(tensor, heads[match[1] == "k"])
            return tensor

        layout = [(name, torch.float32, file.tensors[names[name]].shape) for name in sorted(names)]
        write_weights(directory, layout, produce)


def write_gguf_config(path: Path, directory: Path) -> None:
    """Write what :func:`convert_gguf` writes, but for the weights: all that the file's header says.

    Raises:
        SourceError: As :func:`convert_gguf`.
        CompatibilityError: As :func:`convert_gguf`.
        StorageError: The directory cannot be written.
    """
    with GGUFFile(path) as file:
        _write_small_files(file, directory)


def _write_small_files(file: GGUFFile, directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Write configuration and tokenizer; return the configuration, and the file's name of each tensor."""
    config = _config(file)
    config |= _rope_scaling(file, config)
    names = {_hf_name(file, name): name for name in file.tensors if name != ROPE_FACTORS}
    _check_tensors(file, config, names)
    special = write_tokenizer(file, directory, max_length=config["max_position_embeddings"])
    write_json(directory / "config.json", {**config, **special})
    write_json(directory / "generation_config.json", special)
    return config, names


def _refused(file: GGUFFile, what: str) -> CompatibilityError:
    return CompatibilityError(f"{file.path}: {what}.", hint=_HINT)


def _config(file: GGUFFile) -> dict[str, Any]:
    """``config.json`` without token ids."""
    stored = file.require("general.architecture", str)
    found = next(((name, known) for name, known in ARCHITECTURES.items() if known.gguf == stored), None)
    if found is None:
        raise _refused(file, f"GGUF architecture {stored!r} is not converted here")
    family, architecture = found
    keys = CONFIG_KEYS | {key: scale for key, scale in SCALE_KEYS.items() if scale in architecture.scales}
    prefix = f"{stored}."
    given = {k.removeprefix(prefix): v for k, v in file.metadata.items() if k.startswith(prefix)}
    for key, value in given.items():
        if key not in keys and key not in _CHECKED | _ROPE_KEYS:
            raise _refused(file, f"{prefix}{key} = {value!r} is not understood")
    config: dict[str, Any] = {"model_type": family, "architectures": [architecture.class_name], "hidden_act": "silu"}
    config |= {keys[k]: v for k, v in given.items() if k in keys}
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    for key in sorted(_INTEGERS - {"head_dim"}):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise file.damaged(f"its metadata has no usable size for {key}")
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    config.setdefault("rope_theta", 10000.0)  # llama.cpp's value when the key is absent
    if not isinstance(config.get("rms_norm_eps"), float):
        raise file.damaged("its metadata has no usable layer_norm_rms_epsilon")
    config |= {
        "vocab_size": file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else 0,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "dtype": "float32",
    }
    signs = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"}
    config |= {key: signs[key] in file.tensors for key in architecture.biases}
    _check_repeated(file, config, given)
    return config


def _rope_scaling(file: GGUFFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary scaling that the file states, or whose factors it stores; nothing where it has none.

    Raises:
        CompatibilityError: A scaling that is not understood, or factors that are not those of Llama 3.1's.
    """
    prefix = f"{file.require('general.architecture', str)}.rope.scaling."
    stated, factor = (file.metadata.get(prefix + key) for key in ("type", "factor"))
    if stated == "linear" and isinstance(factor, float) and ROPE_FACTORS not in file.tensors:
        return {"rope_scaling": {"rope_type": "linear", "factor": factor}}
    if stated not in (None, "none") or factor not in (None, 1.0):
        raise _refused(file, f"rope.scaling.type {stated!r} with factor {factor!r} is not understood")
    if ROPE_FACTORS not in file.tensors:
        return {}
    factors_E, width = file.load(ROPE_FACTORS).flatten(), int(config["head_dim"])
    plain = RopeConfig(rope_theta=float(config["rope_theta"]))
    scaling = _llama3_scaling(file, float(factors_E.max()))
    scaled = RopeConfig(rope_theta=plain.rope_theta, **scaling)
    expected_E = rope_frequencies(plain, width)[0] / rope_frequencies(scaled, width)[0]
    if not ARCHITECTURES[config["model_type"]].gguf_rope_factors or factors_E.shape != expected_E.shape:
        raise _refused(file, f"tensor {ROPE_FACTORS!r} is not understood")
    if not torch.allclose(factors_E, expected_E, rtol=1e-4):
        raise _refused(file, f"the factors of {ROPE_FACTORS!r} are not those of Llama 3.1")
    return {"rope_scaling": scaling}


def _llama3_scaling(file: GGUFFile, largest: float) -> dict[str, Any]:
    """The parameters behind stored factors; whether they are, their reader checks."""
    usual = {"rope_type": "llama3", "factor": largest, **LLAMA3}
    if ROPE_KEY not in file.metadata:
        return usual
    try:
        given = json.loads(file.require(ROPE_KEY, str))
    except ValueError as error:
        raise file.damaged(f"{ROPE_KEY} is not JSON") from error
    if not isinstance(given, dict) or set(given) != set(usual) or given["rope_type"] != "llama3":
        raise file.damaged(f"{ROPE_KEY} holds other parameters than Llama 3.1's")
    return given


def _check_repeated(file: GGUFFile, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    expected = {
        "vocab_size": config["vocab_size"],
        "rope.dimension_count": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "expert_count": 0,
    }
    for key, value in expected.items():
        if key in given and given[key] != value:
            raise _refused(file, f"{key} is {given[key]!r}, only {value!r} is understood")


def _hf_name(file: GGUFFile, name: str) -> str:
    found = hf_name(name)
    if found is None:
        raise _refused(file, f"tensor {name!r} is not understood")
    return found


def _check_tensors(file: GGUFFile, config: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Every tensor that the configuration calls for is there, in its shape; no other is."""
    heads = (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"])
    sizes = axis_sizes(config["vocab_size"], config["hidden_size"], config["intermediate_size"], *heads)
    pieces = ARCHITECTURES[config["model_type"]].pieces(config) | {"untied": not config["tie_word_embeddings"]}
    expected = shapes_of(OUTER_TENSORS, sizes, pieces)
    in_layer = shapes_of(LAYER_TENSORS, sizes, pieces)
    for layer in range(config["num_hidden_layers"]):
        stem = f"model.layers.{layer}."
        expected |= {f"{stem}{name}": shape for name, shape in in_layer.items()}
        if f"{stem}self_attn.q_proj.weight" not in names:
            raise file.damaged(f"it has no weights for layer {layer} of {config['num_hidden_layers']}")
    if unexpected := sorted(set(names) - set(expected)):
        raise _refused(file, f"tensor {names[unexpected[0]]!r} is not understood")
    for name, shape in expected.items():
        found = file.tensors[names[name]].shape if name in names else None
        if found != shape:
            raise file.damaged(f"{name} has shape {found}, its metadata calls for {shape}")


def unpermute(tensor: Tensor, num_heads: int) -> Tensor:
    """Rows back to Hugging Face's order: halves of a head instead of llama.cpp's interleaved pairs."""
    half = tensor.shape[0] // num_heads // 2
    rest = math.prod(tensor.shape[1:])
    return tensor.reshape(num_heads, half, 2, rest).transpose(1, 2).reshape(tensor.shape).contiguous()


def permute(tensor: Tensor, num_heads: int) -> Tensor:
    """Rows in llama.cpp's order; :func:`unpermute` takes them back."""
    half = tensor.shape[0] // num_heads // 2
    rest = math.prod(tensor.shape[1:])
    return tensor.reshape(num_heads, 2, half, rest).transpose(1, 2).reshape(tensor.shape).contiguous()
