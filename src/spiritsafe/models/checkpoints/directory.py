"""Checkpoints on disk: a model directory with its lineage, whole or absent.

In: a model and where it came from, or a directory. Out: ``lineage.json`` (a :class:`Checkpoint` record) beside the
weights, whose digest covers every other file. A directory appears under its name only when it is complete.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import ensure_directory, new_beside, storage_errors, write_json
from spiritsafe.core.files.digests import LINEAGE, digest_model
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.interface.language_model import SHARD_BYTES


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``target``; on success it takes the name, on error nothing is left.

    A directory that already has the name is replaced. What a killed process left half made is swept away first.

    Raises:
        StorageError: It cannot be written; ``target`` is as it was.
    """
    ensure_directory(target.parent)
    with storage_errors(target):
        for stale in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary = new_beside(target, ".partial", Path.mkdir)
        try:
            yield temporary
            if target.exists():
                # Two renames, not one: a crash between them leaves no target, which readers treat as "not made yet".
                aside = new_beside(target, ".partial", Path.mkdir)
                target.rename(aside / "old")
                temporary.rename(target)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_lineage(
    directory: Path, *, name: str, license: str, parents: tuple[Parent, ...] = (), recipe: str | None = None
) -> Checkpoint:
    """Describe a finished model directory in its ``lineage.json``.

    Raises:
        SourceError: The directory holds no whole weights.
        StorageError: It cannot be written.
    """
    table = read_tensor_table(directory)
    checkpoint = Checkpoint(
        name=name,
        digest=digest_model(directory),
        license=license,
        num_parameters=sum(info.num_elements for info in table.values()),
        weight_bytes=sum(info.num_bytes for info in table.values()),
        parents=parents,
        recipe=recipe,
    )
    write_json(directory / LINEAGE, checkpoint.to_json())
    return checkpoint


class HasWeights(Protocol):
    """A model, or what stands for one that is never whole in memory."""

    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write ``config.json`` and the weights, in one file or in shards."""
        ...


def save_checkpoint(
    directory: Path,
    model: HasWeights,
    chat: ChatFormat,
    *,
    name: str,
    license: str,
    parents: tuple[Parent, ...] = (),
    recipe: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Checkpoint:
    """Write weights, configuration, tokenizer and lineage; the directory appears when all are there.

    Args:
        model: Gives weights and ``config.json``.
        chat: Gives the tokenizer's files.
        parents: What it was made from.
        dtype: Of the weights in the files, rounded to nearest, ties to even; None: as the model holds them.
        shard_bytes: Most bytes of weights in one file; more are shards with an index.

    Raises:
        CompatibilityError: The model has adapters: they are saved by ``save_lora``, or merged first.
        StorageError: It cannot be written; what was there before is untouched.
    """
    if directory.exists() and not (directory / "config.json").is_file() and any(directory.iterdir()):
        raise SourceError(
            f"{directory} exists and is not a model.", hint="Choose another directory; nothing was overwritten."
        )
    with new_directory(directory) as temporary:
        model.save_weights(temporary, dtype=dtype, shard_bytes=shard_bytes)
        chat.save(temporary)
        return write_lineage(temporary, name=name, license=license, parents=parents, recipe=recipe)
