"""Safetensors on disk: what a directory holds, checked before it is read, and a writer that streams.

In: a model directory. Out: names, types and shapes of its tensors from the headers alone, tensors mapped from disk, or
new weights written one tensor at a time, so that converting or cutting a model never holds it twice: one
``model.safetensors``, or shards with the index by which transformers finds them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import safe_open
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import atomic_path, read_json, storage_errors, write_json
from spiritsafe.models.interface.language_model import SHARD_BYTES

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PATTERN = "model{suffix}.safetensors"


@final
@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor as its file's header describes it.

    Attributes:
        dtype: Safetensors' name of the type, such as "F32" or "BF16".
        num_bytes: Bytes in the file.
        file: Which file of the directory holds it.
    """

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int
    file: str

    @property
    def num_elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of a safetensors type name.

    Raises:
        SourceError: No such type, or one that torch does not have.
    """
    if name not in _DTYPES:
        raise SourceError(
            f"Tensors of type {name!r} cannot be read.", hint="Use a copy in float32, float16 or bfloat16."
        )
    return _DTYPES[name]


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a model directory: one, or the shards its index names.

    Raises:
        SourceError: There are none, or the index names a shard that is missing.
    """
    if (directory / _SINGLE).is_file():
        return (directory / _SINGLE,)
    index = directory / _INDEX
    if not index.is_file():
        raise SourceError(
            f"{directory} holds no weights: neither {_SINGLE} nor {_INDEX} is there.",
            hint="Give a directory in Hugging Face's layout with safetensors weights; pickled weights are not read.",
        )
    table = read_json(index)
    names = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise SourceError(f"{index} names no shards.", hint="Download the model again.")
    if outside := [name for name in names.values() if name != Path(name).name]:  # a folder's digest is of what is in it
        raise SourceError(
            f"{index} names a shard that is not in its folder: {outside[0]}.", hint="Put all shards beside the index."
        )
    files = tuple(directory / name for name in sorted(set(names.values())))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise SourceError(
            f"{directory} lacks {len(missing)} of {len(files)} weight files: {', '.join(missing[:4])}.",
            hint="The download was interrupted: run it again to fetch what is missing.",
        )
    return files


def _damaged(path: Path, what: str) -> SourceError:
    return SourceError(
        f"{path} is not a whole safetensors file: {what}.",
        hint="It is truncated, damaged or a Git LFS pointer: download it again (or run `git lfs pull`).",
    )


def _read_header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise _damaged(path, f"it has {size} bytes")
        length = struct.unpack("<Q", prefix)[0]
        if length > min(_MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, f"its header claims {length} bytes of {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table")
    header.pop("__metadata__", None)
    try:
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise _damaged(path, "its header has no offsets") from error
    if size != 8 + length + end:
        raise _damaged(path, f"it has {size} bytes, its header describes {8 + length + end}")
    return header


def read_tensor_table(directory: Path) -> dict[str, TensorInfo]:
    """Name → description of every tensor of a model directory, from the headers; no weight is read.

    Raises:
        SourceError: No weights, a missing shard, or a truncated or damaged file; the message names it.
    """
    table: dict[str, TensorInfo] = {}
    for path in weight_files(directory):
        for name, entry in _read_header(path).items():
            start, end = entry["data_offsets"]
            shape = tuple(entry["shape"])
            table[name] = TensorInfo(dtype=entry["dtype"], shape=shape, num_bytes=end - start, file=path.name)
    return table


def iterate_tensors(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a model directory, mapped from disk: pages are read when touched and can be dropped again.

    Raises:
        SourceError: As :func:`read_tensor_table`.
    """
    read_tensor_table(directory)
    for path in weight_files(directory):
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors handle is not iterable
                yield name, file.get_tensor(name)


def write_safetensors(
    path: Path,
    layout: Sequence[tuple[str, torch.dtype, tuple[int, ...]]],
    produce: Callable[[str], Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a safetensors file, asking for one tensor at a time.

    Args:
        path: The file; whole or absent.
        layout: Name, type and shape of each tensor, in file order.
        produce: Gives the tensor of a name; called once each, in order, and its result dropped after writing.
        metadata: The header's ``__metadata__``; transformers expects ``{"format": "pt"}``, the default.

    Returns:
        Bytes of the tensors.

    Raises:
        StorageError: The file cannot be written.
        ValueError: A produced tensor has another type or shape than announced.
    """
    header: dict[str, JSON] = {"__metadata__": dict(metadata or {"format": "pt"})}
    offset = 0
    for name, dtype, shape in layout:
        num_bytes = math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (offset, offset + num_bytes)}
        offset += num_bytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # the format wants the data aligned to 8 bytes
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for name, dtype, shape in layout:
            tensor = produce(name)
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: announced {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)}")
            flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
            file.write(flat.numpy().data)
    return offset


def write_weights(
    directory: Path,
    layout: Sequence[tuple[str, torch.dtype, tuple[int, ...]]],
    produce: Callable[[str], Tensor],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model's tensors: ``model.safetensors``, or shards and, last, the index that names them.

    Weights that the directory holds under these names are replaced: what a kill leaves of shards has no index and is no
    model. One tensor is in memory at a time.

    Args:
        directory: That of the model, which exists.
        layout: Name, type and shape of each tensor, in file order.
        produce: Gives the tensor of a name; called once each, in order, and its result dropped after writing.
        shard_bytes: Most bytes of tensors in one file; a larger tensor has a file of its own.

    Raises:
        StorageError: A file cannot be written.
        ValueError: A produced tensor has another type or shape than announced.
    """
    rows = {row[0]: row for row in layout}
    split = split_state_dict_into_shards_factory(
        rows, get_storage_size=_row_bytes, filename_pattern=_PATTERN, max_shard_size=shard_bytes
    )
    stale = [directory / _INDEX, *directory.glob(_PATTERN.format(suffix="-*-of-*"))]
    if split.is_sharded:
        stale.insert(1, directory / _SINGLE)
    with storage_errors(directory):
        for path in stale:  # the index first: shards without it are no model
            path.unlink(missing_ok=True)
    for file, names in split.filename_to_tensors.items():
        write_safetensors(directory / file, [rows[name] for name in names], produce)
    if split.is_sharded:
        total: dict[str, JSON] = {
            "total_parameters": sum(math.prod(shape) for _, _, shape in layout),
            "total_size": sum(map(_row_bytes, layout)),
        }
        write_json(directory / _INDEX, {"metadata": total, "weight_map": dict(split.tensor_to_filename)})


def _row_bytes(row: tuple[str, torch.dtype, tuple[int, ...]]) -> int:
    _, dtype, shape = row
    return math.prod(shape) * dtype.itemsize


def convert_weights(source: Path, target: Path, dtype: torch.dtype | None, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write a directory's tensors into another one, those of floating point rounded to nearest, ties to even.

    Args:
        dtype: Of what is written; None: as they are.

    Raises:
        SourceError: The source holds no whole weights.
        StorageError: A file cannot be written.
    """
    table = read_tensor_table(source)
    handles = open_shards(source)
    types = {name: _rounded(torch_dtype(info.dtype), dtype) for name, info in table.items()}

    def produce(name: str) -> Tensor:
        tensor: Tensor = handles[table[name].file].get_tensor(name)
        return tensor.to(types[name])

    write_weights(target, [(name, types[name], table[name].shape) for name in table], produce, shard_bytes=shard_bytes)


def _rounded(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted is not None and stored.is_floating_point else stored


def open_shards(directory: Path) -> dict[str, Any]:
    """File name → safetensors handle, mapped from disk, of each file with a directory's weights.

    Raises:
        SourceError: As :func:`weight_files`.
    """
    return {path.name: safe_open(path, framework="pt", device="cpu") for path in weight_files(directory)}


def saved_dtype(
    wish: Literal["auto", "float32", "bfloat16"], config: Mapping[str, Any], directory: Path | None = None
) -> torch.dtype:
    """In which type a model is written that was made from another one.

    Args:
        wish: "auto": bfloat16 where the other one is stored in 16 bits, else float32.
        config: The other's ``config.json``, whose ``dtype`` (``torch_dtype`` in older files) is read.
        directory: Where its tensors are; they are in 16 bits where all their matrices are, whatever the file says.

    Raises:
        SourceError: The directory holds no whole weights.
    """
    if wish != "auto":
        return torch.float32 if wish == "float32" else torch.bfloat16
    if (config.get("dtype") or config.get("torch_dtype")) in ("bfloat16", "float16"):
        return torch.bfloat16
    table = {} if directory is None else read_tensor_table(directory)
    matrices = {info.dtype for info in table.values() if len(info.shape) > 1}
    return torch.bfloat16 if matrices and matrices <= {"BF16", "F16"} else torch.float32
