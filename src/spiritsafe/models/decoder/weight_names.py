"""Between the Decoder's fused parameters and Hugging Face's names.

In: a module with the Decoder's parameter names, or a mapping of Hugging Face tensors. Out: the other one, bit for bit.
Each fused matrix is its parts stacked along the output axis, so a part is a view; of a quantised one it is a part of
its codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.models.checkpoints.tensors import write_weights
from spiritsafe.models.decoder.architectures import LAYER_TENSORS, OUTER_TENSORS
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.quantised import QuantisedWeight
from spiritsafe.models.interface.language_model import SHARD_BYTES


def _places(config: DecoderConfig) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Each part of the module that holds tensors: its path, and names and rows of Hugging Face's stacked in it."""
    sizes = config.axis_sizes
    places = [(OUTER_TENSORS, "", "")]
    places += [(LAYER_TENSORS, f"blocks.{index}.", f"model.layers.{index}.") for index in range(config.num_layers)]
    for tensors, mine, theirs in places:
        for name, group in groupby(tensors, key=attrgetter("module")):
            yield f"{mine}{name}", [(f"{theirs}{part.name}", sizes[part.rows]) for part in group]


def stacked_rows(config: DecoderConfig) -> dict[str, list[int]]:
    """For each part of a Block the rows of each of Hugging Face's tensors that are stacked in it."""
    grouped = groupby(LAYER_TENSORS, key=attrgetter("module"))
    return {name: [config.axis_sizes[part.rows] for part in group] for name, group in grouped}


def make_hf_tensors(module: nn.Module, config: DecoderConfig) -> dict[str, Tensor]:
    """Every Hugging Face tensor that is not quantised as a view of the module's parameters, detached."""
    ours: dict[str, Tensor] = dict(module.named_parameters())
    out: dict[str, Tensor] = {}
    for path, parts in _places(config):
        for kind in ("weight", "bias"):
            whole = ours.get(f"{path}.{kind}")
            if whole is not None:
                # an unfused parameter stays itself: a sharded one cannot be split without being gathered
                rows = torch.split(whole, [count for _, count in parts]) if parts[1:] else (whole,)
                for (name, _), tensor in zip(parts, rows, strict=True):
                    out[f"{name}.{kind}"] = tensor.detach()
    return out


def quantised_hf_parts(module: nn.Module, config: DecoderConfig) -> dict[str, tuple[QuantisedWeight, int]]:
    """Every Hugging Face tensor that is quantised: whose codes it is a part of, and which part."""
    found = {name: one for name, one in module.named_modules() if isinstance(one, QuantisedWeight)}
    return {
        f"{name}.weight": (found[f"{path}.quantised"], index)
        for path, parts in _places(config)
        if f"{path}.quantised" in found
        for index, (name, _) in enumerate(parts)
    }


def load_hf_tensors(module: nn.Module, config: DecoderConfig, tensors: Mapping[str, Tensor]) -> None:
    """Copy Hugging Face tensors into the module.

    A tied model's file may repeat the head; it must then equal the embedding. Frequencies that old files carry
    (``rotary_emb.inv_freq``) are recomputed, not read.

    Raises:
        CompatibilityError: A tensor is missing, unknown, of another shape, or a tied head differs.
    """
    targets, quantised = make_hf_tensors(module, config), quantised_hf_parts(module, config)
    shapes = {name: tuple(target.shape) for name, target in targets.items()}
    shapes |= {name: (weight.num_rows_of(part), weight.num_columns) for name, (weight, part) in quantised.items()}
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    hint = "config.json and the weights do not belong together; fetch the model again."
    if config.tied and "lm_head.weight" in given:
        head = given.pop("lm_head.weight")
        if not torch.equal(head, given.get("model.embed_tokens.weight", head)):
            raise CompatibilityError(
                "The configuration ties head and embedding, but the file holds a different head.",
                hint='Set "tie_word_embeddings": false in config.json.',
            )
    for what, names in (("lack", set(shapes) - set(given)), ("hold the unknown", set(given) - set(shapes))):
        if names:
            raise CompatibilityError(f"The weights {what} tensor {min(names)!r} ({len(names)} in all).", hint=hint)
    with torch.no_grad():
        for name, shape in shapes.items():
            if tuple(given[name].shape) != shape:
                raise CompatibilityError(
                    f"Tensor {name!r} has shape {tuple(given[name].shape)}, the configuration needs {shape}.",
                    hint=hint,
                )
            if name in targets:
                targets[name].copy_(given[name])
            else:
                weight, part = quantised[name]
                weight.fill(part, given[name])


def save_hf(
    directory: Path,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the weights, a tensor at a time in the order of their names, then ``config.json``.

    Args:
        config: Without the type of the weights, which is added.
        dtype: Of the weights in the file; wider ones are rounded to nearest, ties to even.
        shard_bytes: Most bytes of weights in one file.

    Raises:
        StorageError: The directory cannot be written.
    """
    layout = [(name, dtype, tuple(tensors[name].shape)) for name in sorted(tensors)]
    write_weights(directory, layout, lambda name: tensors[name].to(dtype), shard_bytes=shard_bytes)
    write_json(directory / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})
