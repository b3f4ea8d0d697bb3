"""A given model with adapters: both become one model directory.

In: a base's directory and a directory in peft's layout. Out: a directory of its own in which the adapters are folded
into the weights, W + s·B·A, one tensor in memory at a time. Tensors that take up an adapter are stored in float32: in
half precision a weight swallows small changes. It works for every model whose projections bear the usual names, the
Decoder's and others.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.digests import LINEAGE, digest_file
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint, verify_checkpoint
from spiritsafe.models.checkpoints.tensors import iterate_tensors, write_weights
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_base, read_lora
from spiritsafe.models.sources.spec import card_license

_PREFIX = "base_model.model."
_FIRST, _SECOND = ".lora_A.weight", ".lora_B.weight"


def adapter_checkpoint(adapter: Path) -> Checkpoint:
    """What adapters are: their lineage, checked; of foreign ones what their files say.

    Raises:
        SourceError: It is no directory of adapters.
        IntegrityError: A file was changed since we wrote it.
    """
    if missing := [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if not (adapter / name).is_file()]:
        raise SourceError(
            f"{adapter} holds no adapters: {', '.join(missing)} missing.",
            hint="Give a directory in peft's layout with safetensors weights; pickled weights are not read.",
        )
    if (adapter / LINEAGE).is_file():
        return verify_checkpoint(adapter)
    _, tensors = read_lora(adapter)
    return Checkpoint(
        name=adapter.resolve().name,
        digest=digest({name: digest_file(adapter / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}),
        license=card_license(adapter),
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
    )


def merged_name(base: str, adapter: str) -> str:
    """What a base with adapters is called."""
    return f"{base}+{adapter}"


def write_merged(base: Path, adapter: Path, target: Path, *other_digests: str) -> None:
    """Write weights and lineage of the merged model into a directory that has the base's other files.

    Args:
        other_digests: Under which the base is known too.

    Raises:
        SourceError: A file is missing or damaged.
        CompatibilityError: The adapters belong to another base, or do more than is implemented.
        StorageError: It cannot be written.
    """
    checkpoint, given = read_checkpoint(base), adapter_checkpoint(adapter)
    check_base(given, checkpoint, *other_digests)
    config, tensors = read_lora(adapter)
    changes = merged_shapes(adapter, config, tensors)
    weights = dict(iterate_tensors(base))  # mapped from disk, not read
    for name, shape in changes.items():
        its_shape = tuple(weights[name].shape) if name in weights else None
        if its_shape != shape:
            found = "has no such tensor" if its_shape is None else f"has {its_shape} there"
            raise CompatibilityError(
                f"The adapters of {adapter} are for a {name} of shape {shape}; {checkpoint.name} {found}.",
                hint="The adapter was made for another model.",
            )
    layout = [
        (name, torch.float32 if name in changes else weight.dtype, tuple(weight.shape))
        for name, weight in weights.items()
    ]

    def produce(name: str) -> Tensor:
        return weights[name] if name not in changes else _merged(weights[name], name, config, tensors)

    write_weights(target, layout, produce)
    write_lineage(
        target,
        name=merged_name(checkpoint.name, given.name),
        license=checkpoint.license,
        parents=(parent_of(checkpoint, "weights"), parent_of(given, "weights")),
    )


def _merged(weight_OI: Tensor, name: str, config: LoraConfig, tensors: dict[str, Tensor]) -> Tensor:
    stem = _PREFIX + name.removesuffix(".weight")
    first_RI, second_OR = tensors[stem + _FIRST].float(), tensors[stem + _SECOND].float()
    return weight_OI.float() + (config.alpha / config.rank) * (second_OR @ first_RI)


def merged_shapes(adapter: Path, config: LoraConfig, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the base that the adapters change.

    Raises:
        CompatibilityError: They hold something else than pairs of matrices of their rank.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, first in tensors.items():
        stem = name.removesuffix(_FIRST).removesuffix(_SECOND)
        pair = (tensors.get(stem + _FIRST), tensors.get(stem + _SECOND))
        if stem == name or not name.startswith(_PREFIX) or pair[0] is None or pair[1] is None:
            raise CompatibilityError(
                f"{adapter} holds {name!r}, which is no half of a pair of low-rank matrices.",
                hint="Merge it into its base with peft (`merge_and_unload`) and load the merged model.",
            )
        (rank, num_in), (num_out, its_rank) = pair[0].shape, pair[1].shape
        if first.ndim != 2 or rank != config.rank or its_rank != config.rank:
            raise CompatibilityError(
                f"{name!r} of {adapter} has shape {tuple(first.shape)}, which is not of rank {config.rank}.",
                hint="Its configuration and its weights do not belong together; fetch the adapter again.",
            )
        found[f"{stem.removeprefix(_PREFIX)}.weight"] = (num_out, num_in)
    return found
