"""What a tensor is called in a GGUF file, and in Hugging Face's files.

Both directions come from the Decoder's table of tensors, so that reader, writer and cost can never differ.
"""

from __future__ import annotations

import re

from spiritsafe.models.decoder.architectures import LAYER_TENSORS, OUTER_TENSORS

ROPE_FACTORS = "rope_freqs.weight"
"""Factors of a rotary scaling; a vector that Hugging Face's files compute from ``config.json``."""

_OUTER = {tensor.gguf: tensor.name for tensor in OUTER_TENSORS}
_LAYER = {tensor.gguf: tensor.name for tensor in LAYER_TENSORS}
_OUTER_BACK = {name: gguf for gguf, name in _OUTER.items()}
_LAYER_BACK = {name: gguf for gguf, name in _LAYER.items()}
_GGUF = re.compile(r"blk\.(\d+)\.([a-z_]+)\.(weight|bias)")
_HF = re.compile(r"model\.layers\.(\d+)\.([a-z_.]+)\.(weight|bias)")


def hf_name(name: str) -> str | None:
    """Hugging Face's name of a GGUF file's tensor; None where no layer of the Decoder has such a one."""
    stem, _, suffix = name.rpartition(".")
    if suffix == "weight" and stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    match = _GGUF.fullmatch(name)
    if match is None or match[2] not in _LAYER:
        return None
    return f"model.layers.{match[1]}.{_LAYER[match[2]]}.{match[3]}"


def gguf_name(name: str) -> str | None:
    """A GGUF file's name of Hugging Face's tensor; None where no layer of the Decoder has such a one."""
    stem, _, suffix = name.rpartition(".")
    if suffix == "weight" and stem in _OUTER_BACK:
        return f"{_OUTER_BACK[stem]}.weight"
    match = _HF.fullmatch(name)
    if match is None or match[2] not in _LAYER_BACK:
        return None
    return f"blk.{match[1]}.{_LAYER_BACK[match[2]]}.{match[3]}"
