"""What a GGUF file says of its model beside tokens: name, licence, origin, sizes, rotary embedding, factors.

In: a Decoder's configuration and a lineage. Out: typed metadata under the keys of GGUF's specification, and those of
llama.cpp for the architecture. A model that llama.cpp would compute differently is refused.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import UNKNOWN_LICENCE, Checkpoint
from spiritsafe.models.decoder.architectures import ARCHITECTURES
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.rope import RopeConfig, rope_frequencies
from spiritsafe.models.gguf.convert import CONFIG_KEYS, LLAMA3, ROPE_KEY, SCALE_KEYS
from spiritsafe.models.gguf.layout import MetadataValue, float32, text, uint
from spiritsafe.models.gguf.types import FileType

LINEAGE_KEY = "spiritsafe.lineage"
"""The lineage of the model that the file was made from, as JSON."""
RECIPE_KEY = "spiritsafe.recipe"
"""Digest of the resolved recipe that made that model."""

_QUANTISATION_VERSION = 2  # of ggml's blocks, unchanged since 2023
_HINT = "Release it as a Hugging Face directory instead."
# Whose graph in llama.cpp adds a bias behind attention; the others' files with one do not load.
_OUT_BIAS = ("llama", "granite")


def gguf_architecture(config: DecoderConfig) -> str:
    """``general.architecture`` of a model.

    Raises:
        CompatibilityError: GGUF, or llama.cpp, cannot compute what this model does; the message says why.
    """
    name = config.architecture.gguf
    if config.family == "mistral":
        name = "llama"  # the same layers; its window is looked at below
    if name is None:
        raise _refused(config, f"GGUF has no architecture for {config.architecture.title}")
    narrow = [window for window in config.windows if window is not None and window < config.max_context]
    if narrow:
        raise _refused(config, f"llama.cpp gives {name} no sliding window, and this model's is {narrow[0]} tokens")
    if config.out_bias and name not in _OUT_BIAS:
        raise _refused(config, f"llama.cpp's {name} has no bias behind attention")
    if config.rope.rope_type not in ("default", "linear", "llama3"):
        raise _refused(config, f"llama.cpp scales {config.rope.rope_type!r} rotary embeddings by a rule of its own")
    if config.rope.rope_type == "llama3" and not ARCHITECTURES[name].gguf_rope_factors:
        raise _refused(config, f"llama.cpp reads the factors of 'llama3' rotary embeddings for llama, not for {name}")
    return name


def _refused(config: DecoderConfig, why: str) -> CompatibilityError:
    return CompatibilityError(f"This {config.architecture.title} model cannot be written as GGUF: {why}.", hint=_HINT)


def model_metadata(config: DecoderConfig, file_type: FileType) -> dict[str, MetadataValue]:
    """Sizes and factors of a model, as llama.cpp reads them.

    Raises:
        CompatibilityError: As :func:`gguf_architecture`.
    """
    name = gguf_architecture(config)
    hf = {**config.to_hf(), "head_dim": config.head_dim}
    out = {key: _number(hf[of]) for key, of in CONFIG_KEYS.items()}
    out |= {key: float32(hf[of]) for key, of in SCALE_KEYS.items() if of in config.architecture.scales}
    out |= {
        "vocab_size": uint(config.vocab_size),
        "attention.value_length": uint(config.head_dim),
        "rope.dimension_count": uint(config.head_dim),
    }
    own: dict[str, MetadataValue] = {}
    if config.rope.rope_type == "linear":
        out |= {"rope.scaling.type": text("linear"), "rope.scaling.factor": float32(config.rope.factor or 1.0)}
    elif config.rope.rope_type == "llama3":
        own = _llama3_key(config.rope)
    return {
        "general.architecture": text(name),
        "general.type": text("model"),
        "general.file_type": uint(file_type.number),
        "general.quantization_version": uint(_QUANTISATION_VERSION),
        **{f"{name}.{key}": value for key, value in out.items()},
        **own,
    }


def _number(value: Any) -> MetadataValue:
    return float32(value) if isinstance(value, float) else uint(value)


def _llama3_key(rope: RopeConfig) -> dict[str, MetadataValue]:
    """The scaling's parameters, where they are not those that every reader of the factors takes for granted."""
    scaling = {key: value for key, value in rope.to_hf().items() if key != "rope_theta"}
    usual = all(scaling[key] == value for key, value in LLAMA3.items())
    return {} if usual else {ROPE_KEY: text(json.dumps(scaling, sort_keys=True))}


def rope_factors(config: DecoderConfig) -> Tensor | None:
    """By what llama.cpp divides each channel's frequency; None where it divides by nothing."""
    if config.rope.rope_type != "llama3":
        return None
    plain = RopeConfig(rope_theta=config.rope.rope_theta)
    slowed_E = rope_frequencies(config.rope, config.head_dim)[0]
    return (rope_frequencies(plain, config.head_dim)[0] / slowed_E).to(torch.float32)


def origin_metadata(checkpoint: Checkpoint, name: str) -> dict[str, MetadataValue]:
    """Name, origin and, where it is known, licence of a model.

    Args:
        checkpoint: The lineage of the directory that the file is made from.
        name: What the model is called.
    """
    out = {"general.name": text(name)}
    if checkpoint.license != UNKNOWN_LICENCE:
        out["general.license"] = text(checkpoint.license)
        if checkpoint.license.startswith("LicenseRef-"):
            out["general.license.name"] = text(checkpoint.license.removeprefix("LicenseRef-"))
        else:
            out["general.license.link"] = text(f"https://spdx.org/licenses/{checkpoint.license}.html")
    bases = [parent for parent in checkpoint.parents if "weights" in parent.used_as]
    if bases:
        out["general.base_model.count"] = uint(len(bases))
    for index, parent in enumerate(bases):
        organisation, _, model = parent.name.rpartition("/")
        out[f"general.base_model.{index}.name"] = text(model)
        out[f"general.base_model.{index}.version"] = text(parent.digest)
        if organisation:
            out[f"general.base_model.{index}.organization"] = text(organisation)
            out[f"general.base_model.{index}.repo_url"] = text(f"https://huggingface.co/{parent.name}")
    if checkpoint.recipe is not None:
        out[RECIPE_KEY] = text(checkpoint.recipe)
    return out | {LINEAGE_KEY: text(json.dumps(checkpoint.to_json(), sort_keys=True, ensure_ascii=False))}
