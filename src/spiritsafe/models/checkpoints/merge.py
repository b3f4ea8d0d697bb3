"""Merging model directories: several models of one base become one, tensor by tensor.

In: directories of one architecture and one vocabulary, and how they are merged. Out: a whole model directory. One
tensor of each model is in memory at a time, computed in float32 and rounded once. What cannot be merged is refused
before a tensor is read: other sizes, other tokens, tensors that one model lacks, quantised weights, adapters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.merge_methods import MergeSettings, merge_tensors
from spiritsafe.models.checkpoints.tensors import (
    TensorInfo,
    open_shards,
    read_tensor_table,
    torch_dtype,
    write_weights,
)
from spiritsafe.models.interface.language_model import SHARD_BYTES
from spiritsafe.models.interface.tokenizer_files import load_tokenizer, vocabulary_fingerprint

_ONE_BASE = "Merge models that went on from one base."
_TIED, _TIED_HEAD = "tie_word_embeddings", "lm_head.weight"

# Keys of a configuration that do not change what the weights compute; "sliding_window" says whether there are windows.
_NO_FUNCTION = frozenset(
    {
        "_name_or_path", "architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "id2label",
        "initializer_range", "label2id", "max_window_layers", "pad_token_id", "pretraining_tp", "torch_dtype",
        "transformers_version", "use_cache",
    }
)  # fmt: skip
_CONTEXT = "max_position_embeddings"


def merge_checkpoints(
    target: Path,
    models: Sequence[Path],
    base: Path | None,
    settings: MergeSettings,
    *,
    name: str,
    license: str,
    parents: tuple[Parent, ...] = (),
    recipe: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Checkpoint:
    """Write the merged model; the directory appears when all is there.

    Configuration, tokenizer and chat template are those of the first model.

    Args:
        models: Directories, in the order of the weights.
        base: What they all went on from; None for "linear".
        parents: What it was made from.
        dtype: Of the weights in the files; None: each tensor as the base has it, without one as the first model does.
        shard_bytes: Most bytes of weights in one file; more are shards with an index.

    Raises:
        SourceError: A directory holds no whole model.
        CompatibilityError: They cannot be merged, or a merged number is too large for its type.
        StorageError: It cannot be written; what was there before is untouched.
        ValueError: Another number of models than of weights.
    """
    if len(models) != len(settings.weights):
        raise ValueError(f"{len(models)} models and {len(settings.weights)} weights")
    every = [*models] if base is None else [base, *models]
    for directory in every:
        _require_plain(directory)
    functions = [_function_of(directory) for directory in every]
    for other, function in zip(every[1:], functions[1:], strict=True):
        _require_alike(every[0], functions[0], other, function)
    tables = [
        _tensors(directory, tied=bool(function.get(_TIED)))
        for directory, function in zip(every, functions, strict=True)
    ]
    for other, table in zip(every[1:], tables[1:], strict=True):
        _require_same_tensors(every[0], tables[0], other, table)
    shards = [open_shards(directory) for directory in every]
    types = {tensor: _written_type(torch_dtype(info.dtype), dtype) for tensor, info in tables[0].items()}

    def produce(tensor: str) -> Tensor:
        found: list[Tensor] = [
            files[table[tensor].file].get_tensor(tensor) for files, table in zip(shards, tables, strict=True)
        ]
        if not types[tensor].is_floating_point:
            return _agreed(tensor, found)
        start, rest = (None, found) if base is None else (found[0], found[1:])
        merged = merge_tensors(tensor, start, rest, settings).to(types[tensor])
        if not merged.isfinite().all():
            raise CompatibilityError(
                f"{tensor}: merged, it holds numbers that {str(types[tensor]).removeprefix('torch.')} cannot.",
                hint="Lower the weights or lambda, or write float32.",
            )
        return merged

    with new_directory(target) as temporary:
        layout = [(tensor, types[tensor], tables[0][tensor].shape) for tensor in tables[0]]
        write_weights(temporary, layout, produce, shard_bytes=shard_bytes)
        write_json(temporary / "config.json", _written_config(models[0], types))
        ChatFormat(models[0]).save(temporary)
        return write_lineage(temporary, name=name, license=license, parents=parents, recipe=recipe)


def _written_type(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted is not None and stored.is_floating_point else stored


def _written_config(directory: Path, types: Mapping[str, torch.dtype]) -> dict[str, Any]:
    """The first model's, with the number format that the weights have now."""
    config = {key: value for key, value in read_json(directory / "config.json").items() if key != "torch_dtype"}
    floats = {dtype for dtype in types.values() if dtype.is_floating_point}
    return config if len(floats) != 1 else {**config, "dtype": str(floats.pop()).removeprefix("torch.")}


def _agreed(name: str, tensors: Sequence[Tensor]) -> Tensor:
    """Whole numbers are positions, masks or codes: they have no mean."""
    if any(not torch.equal(tensors[0], other) for other in tensors[1:]):
        raise CompatibilityError(
            f"{name} holds whole numbers that differ from model to model, which cannot be merged.",
            hint="If they are codes of quantised weights, take the models as they were before.",
        )
    return tensors[0]


def _require_plain(directory: Path) -> None:
    """Refuse what holds no weights of its own, or holds them as codes."""
    is_model = (directory / "config.json").is_file()
    if not is_model and (directory / "adapter_config.json").is_file():
        raise CompatibilityError(
            f"{directory} holds adapters, not a model.",
            hint="Merge them into their base first: give the base in [models.<name>] with `adapter`, or use peft's "
            "`merge_and_unload`.",
        )
    if not is_model:
        raise SourceError(f"There is no config.json in {directory}.", hint="Give a model directory.")
    if read_json(directory / "config.json").get("quantization_config") is not None:
        raise CompatibilityError(
            f"{directory} is quantised: its weights are codes, which cannot be merged.",
            hint="Take the model as it was before it was quantised.",
        )


def _require_alike(first: Path, mine: Mapping[str, Any], other: Path, its: Mapping[str, Any]) -> None:
    """Refuse models of two architectures, or with tokens that mean different things."""
    apart = [key for key in mine if key in its and mine[key] != its[key]]  # transformers fills in what is left out
    if "vocab_size" in apart or _vocabulary(first) != _vocabulary(other):
        raise CompatibilityError(
            f"{first} and {other} have different vocabularies, so their weights mean different things.",
            hint=f'{_ONE_BASE} A model with other tokens can be a teacher instead: kind = "distil", '
            'objective = "across".',
        )
    if apart:
        key = apart[0]
        raise CompatibilityError(
            f"{first} and {other} are not of one architecture: {key} is {mine[key]!r} and {its[key]!r}"
            + (f", and {len(apart) - 1} more keys differ." if apart[1:] else "."),
            hint=_ONE_BASE,
        )


def _function_of(directory: Path) -> dict[str, Any]:
    """What of a configuration decides what weights compute, with the defaults of its family."""
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False).to_dict()
    except Exception as error:  # the boundary to code that knows hundreds of architectures
        raise SourceError(
            f"transformers cannot read {directory / 'config.json'}: {str(error).rstrip('.')}.",
            hint="Give a model of a family that the installed transformers knows.",
        ) from error
    return _deciding(config)


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without keys that decide nothing; the length of the context does where positions are scaled by it."""
    rope = config.get("rope_parameters")
    is_scaled = isinstance(rope, dict) and rope.get("rope_type", "default") != "default"
    left_out = _NO_FUNCTION if is_scaled else _NO_FUNCTION | {_CONTEXT}
    kept = {key: value for key, value in config.items() if key not in left_out and "drop" not in key}
    return {key: _deciding(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _vocabulary(directory: Path) -> str:
    return vocabulary_fingerprint(json.loads(load_tokenizer(directory).backend_tokenizer.to_str()))


def _tensors(directory: Path, *, tied: bool) -> dict[str, TensorInfo]:
    """Of a model's files; a head that is the embedding is none of its own, though some files hold it twice."""
    table = read_tensor_table(directory)
    if tied:
        table.pop(_TIED_HEAD, None)
    return table


def _require_same_tensors(
    first: Path, mine: Mapping[str, TensorInfo], other: Path, its: Mapping[str, TensorInfo]
) -> None:
    """Refuse models that do not have the same tensors."""
    for one, another, extra in ((first, other, mine.keys() - its.keys()), (other, first, its.keys() - mine.keys())):
        if extra:
            raise CompatibilityError(
                f"{one} has a tensor {min(extra)!r} ({len(extra)} in all) that {another} has not.", hint=_ONE_BASE
            )
    for name, info in mine.items():
        if info.shape != its[name].shape:
            raise CompatibilityError(
                f"{name} has shape {info.shape} in {first} and {its[name].shape} in {other}.",
                hint=f"{_ONE_BASE} Where only the rows of an embedding differ, one was padded or lengthened: give both "
                "the same number of rows.",
            )
        if torch_dtype(info.dtype).is_floating_point != torch_dtype(its[name].dtype).is_floating_point:
            raise CompatibilityError(
                f"{name} is {info.dtype} in {first} and {its[name].dtype} in {other}.", hint=_ONE_BASE
            )
