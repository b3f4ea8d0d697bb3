"""A checkpoint as a folder to which each process writes what it holds, for states that one file is too large for.

In: each process's rows of every tensor, and what else the next step depends on. Out: ``state-<step>/`` with a file a
process, written by torch's distributed checkpoints (torch.distributed.checkpoint), and ``index.json``, which says where
every row lies and what every file's digest is, itself under a digest. The index is written last and the folder is then
renamed: it is whole or absent, and the one before stays until then. Any number of processes, each with its own rows,
reads it; all files are digested before a number is taken from any, and nothing is unpickled but plain tensors.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast, final

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    ReadItem,
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.atomic import read_json, storage_errors, sync_directory, write_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.training.optimiser import StateRows

INDEX_FILE = "index.json"
_NAME = "state-{:08d}"
_PARTIAL = ".{}.partial"

Gather = Callable[[Any], Sequence[Any]]
"""Gives every process what each of them brought, in the order of their ranks."""


@final
@dataclass(frozen=True, kw_only=True)
class PieceFolder:
    """A whole checkpoint, as its index describes it.

    Attributes:
        head: What is no tensor.
        tensors: Name → number format, shape, and where each part lies.
        files: Name → digest.
    """

    path: Path
    head: Mapping[str, Any]
    tensors: Mapping[str, Any]
    files: Mapping[str, str]

    @property
    def step(self) -> int:
        """Finished steps."""
        return int(self.path.name.rpartition("-")[2])


def write_pieces(
    directory: Path,
    step: int,
    head: Mapping[str, JSON],
    pieces: Sequence[StateRows],
    *,
    rank: int,
    gather: Gather,
    is_given_up: Callable[[], bool] = lambda: False,
) -> None:
    """Write this process's part of a checkpoint; all call it, and the main one seals the whole.

    Args:
        directory: That of the run, which every process sees.
        head: What is no tensor; the main process's counts.
        rank: Of this process; 0 is the main one.
        is_given_up: Asked before each write, which then fails.

    Raises:
        StorageError: A process could not write its part, or it was given up; the checkpoint before is untouched.
    """
    name = _NAME.format(step)
    path = directory / name
    partial = directory / _PARTIAL.format(name)
    with storage_errors(path):
        failed = None
        try:
            if rank == 0:
                _sweep(directory)
                partial.mkdir()
        except OSError as error:
            failed = error
        _raise_first(gather(failed))
        written = _write_own(partial, pieces, rank, gather, is_given_up)
        if rank == 0:
            content = {"head": dict(head), **written}
            write_json(partial / INDEX_FILE, {"content": content, "digest": digest(content)})
            if path.exists():  # of a sitting that ended after this step was saved, or a damaged one
                shutil.rmtree(path)
            partial.rename(path)
            sync_directory(directory)
            discard_pieces(directory, but=path)


def _write_own(
    partial: Path, pieces: Sequence[StateRows], rank: int, gather: Gather, is_given_up: Callable[[], bool]
) -> dict[str, JSON]:
    """Each process plans its own file, all of them the whole, and what came of it is told to all."""
    planner = _SavePlanner(pieces)
    files = _Digesting(is_given_up)
    writer = FileSystemWriter(partial, overwrite=False)
    writer.fs = files
    plans, metadata = planner.create_global_plan(list(gather(planner.create_local_plan())))
    plan = planner.finish_plan(writer.prepare_global_plan(plans)[rank])
    results: list[Any] = []
    failed: Exception | None = None
    try:
        results = writer.write_data(plan, planner).wait()
        sync_directory(partial)
    except (OSError, RuntimeError) as error:
        failed = error
    told = gather((failed, results, files.digests))
    _raise_first([error for error, _, _ in told])
    places = {one.index: one.storage_data for _, rows, _ in told for one in rows}
    tensors: dict[str, JSON] = {}
    for name, stored in metadata.state_dict_metadata.items():
        tensor = cast(TensorStorageMetadata, stored)
        parts: list[JSON] = []
        for chunk in tensor.chunks:
            place = places[MetadataIndex(name, chunk.offsets)]
            parts.append([list(chunk.offsets), list(chunk.sizes), place.relative_path, place.offset, place.length])
        tensors[name] = {"dtype": str(tensor.properties.dtype), "shape": list(tensor.size), "parts": parts}
    return {"tensors": tensors, "files": {name: one for _, _, own in told for name, one in own.items()}}


def _raise_first(errors: Sequence[Exception | None]) -> None:
    for error in errors:
        if error is not None:
            raise error


@final
class _SavePlanner(DefaultSavePlanner):
    """Plans this process's pieces, which no other process has."""

    def __init__(self, pieces: Sequence[StateRows]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._pieces = {piece.name: piece for piece in pieces if piece.rows.numel()}

    def create_local_plan(self) -> SavePlan:
        """One item a piece."""
        items = [
            WriteItem(
                index=MetadataIndex(name, _chunk(piece).offsets),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(
                    chunk=_chunk(piece),
                    properties=TensorProperties(dtype=piece.rows.dtype),
                    size=torch.Size(piece.shape),
                ),
            )
            for name, piece in self._pieces.items()
        ]
        return SavePlan(items)

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """A piece's rows."""
        return self._pieces[write_item.index.fqn].rows


def _chunk(piece: StateRows) -> ChunkStorageMetadata:
    offsets = torch.Size([piece.first, *(0 for _ in piece.shape[1:])])
    return ChunkStorageMetadata(offsets=offsets, sizes=piece.rows.shape)


@final
class _Digesting(FileSystem):
    """Files that are digested as they are written."""

    def __init__(self, is_given_up: Callable[[], bool]) -> None:
        self._is_given_up = is_given_up
        self.digests: dict[str, str] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        """A file to write; its first failed write is what the whole fails with, for torch drops the reason."""
        with Path(path).open("wb") as file:
            stream = _Stream(file, self._is_given_up)
            try:
                yield cast(io.IOBase, stream)
            except Exception:
                if stream.error is not None:
                    raise stream.error from None
                raise
            if stream.error is not None:
                raise stream.error
        self.digests[Path(path).name] = f"sha256:{stream.hasher.hexdigest()}"


@final
class _Stream:
    """What torch's writer needs of a file."""

    def __init__(self, file: BinaryIO, is_given_up: Callable[[], bool]) -> None:
        self._file = file
        self._is_given_up = is_given_up
        self.hasher = hashlib.sha256()
        self.error: OSError | None = None
        self.tell = file.tell
        self.flush = file.flush
        self.close = file.close

    def fileno(self) -> int:
        """The descriptor, which is asked for to sync it; torch flushes nothing before."""
        self._file.flush()
        return self._file.fileno()

    def write(self, data: memoryview | bytes) -> int:
        """Write and digest; 0 when it failed."""
        try:
            if self._is_given_up():
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            written = self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0
        self.hasher.update(data)
        return written


def newest_pieces(directory: Path) -> Path | None:
    """The folder of the most finished steps, if there is one."""
    return max((path for path in directory.glob("state-*") if path.is_dir()), default=None)


def open_pieces(path: Path) -> PieceFolder:
    """What the index says, if it is what was written; no other file is looked at.

    Raises:
        IntegrityError: It is not, or it is gone.
    """
    try:
        index = read_json(path / INDEX_FILE)
        content = index["content"]
        if index["digest"] != digest(content):
            raise damaged_pieces(path)
        return PieceFolder(path=path, head=content["head"], tensors=content["tensors"], files=content["files"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise damaged_pieces(path) from error


def damaged_pieces(path: Path) -> IntegrityError:
    """The error of a folder that is not what was written."""
    return IntegrityError(
        f"{path} is damaged: it is not what was written.",
        hint="Delete the folder; the run then starts again from its first step. If the disk did this, it may do so "
        "again.",
    )


def verify_pieces(folder: PieceFolder, *, rank: int, size: int, gather: Gather) -> None:
    """Digest every file, each process some of them.

    Raises:
        IntegrityError: One is missing or not what was written.
    """
    bad = []
    for name in sorted(folder.files)[rank::size]:
        try:
            if digest_file(folder.path / name) != folder.files[name]:
                bad.append(name)
        except OSError:
            bad.append(name)
    if any(gather(bad)):
        raise damaged_pieces(folder.path)


@torch.no_grad()
def read_pieces(folder: PieceFolder, pieces: Sequence[StateRows]) -> None:
    """Fill the rows that this process holds, whoever wrote them.

    Raises:
        IntegrityError: The folder holds other tensors.
    """
    wanted = {piece.name: piece for piece in pieces if piece.rows.numel()}
    metadata = _metadata(folder)
    for name, piece in wanted.items():
        stored = metadata.state_dict_metadata.get(name)
        if (
            not isinstance(stored, TensorStorageMetadata)
            or tuple(stored.size) != tuple(piece.shape)
            or stored.properties.dtype != piece.rows.dtype
        ):
            raise damaged_pieces(folder.path)
    planner = _LoadPlanner(wanted)
    reader = FileSystemReader(folder.path)
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    items = [
        item
        for name, piece in wanted.items()
        for item in create_read_items_for_chunk_list(
            name, cast(TensorStorageMetadata, metadata.state_dict_metadata[name]), [_chunk(piece)]
        )
    ]
    if sum(item.lengths.numel() for item in items) != sum(piece.rows.numel() for piece in wanted.values()):
        raise damaged_pieces(folder.path)
    reader.read_data(LoadPlan(items), planner)


@final
@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a part lies, as torch's reader asks for it."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: None = None


def _metadata(folder: PieceFolder) -> Metadata:
    tensors: dict[str, Any] = {}
    places: dict[MetadataIndex, _Place] = {}
    for name, one in folder.tensors.items():
        chunks = []
        for offsets, sizes, file, offset, length in one["parts"]:
            chunks.append(ChunkStorageMetadata(offsets=torch.Size(offsets), sizes=torch.Size(sizes)))
            places[MetadataIndex(name, torch.Size(offsets))] = _Place(relative_path=file, offset=offset, length=length)
        dtype = getattr(torch, one["dtype"].removeprefix("torch."))
        tensors[name] = TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(one["shape"]), chunks)
    return Metadata(state_dict_metadata=tensors, storage_data=places)


@final
class _LoadPlanner(DefaultLoadPlanner):
    """Where what is read goes."""

    def __init__(self, pieces: Mapping[str, StateRows]) -> None:
        super().__init__()
        self._pieces = pieces

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        """The part of the rows that an item fills."""
        rows = self._pieces[read_item.dest_index.fqn].rows
        for axis, (offset, length) in enumerate(zip(read_item.dest_offsets, read_item.lengths, strict=True)):
            rows = rows.narrow(axis, offset, length)
        return rows

    def commit_tensor(self, read_item: ReadItem, tensor: Tensor) -> None:
        """Nothing: it was filled in place."""


def _sweep(directory: Path) -> None:
    for left in directory.glob(_PARTIAL.format("state-*")):
        shutil.rmtree(left)


def discard_pieces(directory: Path, *, but: Path | None = None) -> None:
    """Delete a run's folders, half-made ones too.

    Args:
        but: One that stays.

    Raises:
        OSError: One cannot be deleted.
    """
    _sweep(directory)
    for path in directory.glob("state-*"):
        if path.is_dir() and path != but:
            aside = directory / _PARTIAL.format(path.name)  # what is half deleted is no checkpoint
            path.rename(aside)
            shutil.rmtree(aside)
