"""A cache on disk: shards of checked blocks, one block a document, found by the document's key.

::

    <directory>/
      cache.json          the manifest: fingerprint and table of shards
      shard-00000.rows    header (64 bytes), index (24 bytes a document), blocks

Header: magic, digest of the manifest, number of the shard, of its documents, of its bytes, checksum of the index.
Index entry: first 16 bytes of the document's key, bytes and CRC-32 of its block. Block: number of runs of supervised
rows (2 bytes), first row and length of each run (8 bytes), the rows in :mod:`spiritsafe.distil.cache.encoding`.

In: rows of documents. Out: files that are whole or absent, and the rows back through a memory map; every block is
checked when it is read. Checksums guard against accidents, not against forgery.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.distil.cache.config import CacheManifest
from spiritsafe.distil.cache.encoding import decode_rows, encode_rows
from spiritsafe.distil.cache.estimate import Ints, RowEstimates
from spiritsafe.stats import Floats

MANIFEST = "cache.json"

_HEADER = struct.Struct("<8s32sIIQI4x")
_MAGIC = b"SSROWS01"
_ENTRY = np.dtype([("key", "V16"), ("size", "<u4"), ("crc", "<u4")])
_RUN = np.dtype("<u4")


def encode_document(positions: Ints, rows: RowEstimates, vocab_size: int, uniforms_RU: Floats) -> bytes:
    """The block of one document.

    Args:
        positions: The row of the document that each estimate belongs to, ascending.
        uniforms_RU: What to round with.
    """
    firsts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    lengths = np.diff(firsts, append=len(positions))
    runs = np.stack((positions[firsts], lengths), axis=1).astype(_RUN)
    return struct.pack("<H", len(runs)) + runs.tobytes() + encode_rows(rows, vocab_size, uniforms_RU)


def _decode_document(data: npt.NDArray[np.uint8], vocab_size: int) -> tuple[Ints, RowEstimates]:
    end = 2 + 8 * int(data[0]) + 8 * 256 * int(data[1])
    runs = data[2:end].copy().view(_RUN).reshape(-1, 2).astype(np.int64)
    positions = np.concatenate([np.arange(first, first + length) for first, length in runs])
    return positions, decode_rows(data[end:], len(positions), vocab_size)


def write_cache_shard(path: Path, manifest: CacheManifest, number: int, blocks: Sequence[tuple[str, bytes]]) -> None:
    """Write one shard, whole or not at all.

    Args:
        number: Which of the manifest's shards.
        blocks: Key and block of each document, in order.

    Raises:
        StorageError: The disk is full, or the directory cannot be written.
    """
    index = np.empty(len(blocks), dtype=_ENTRY)
    for place, (key, block) in enumerate(blocks):
        index[place] = (bytes.fromhex(key)[:16], len(block), zlib.crc32(block))
    body = b"".join(block for _, block in blocks)
    table = index.tobytes()
    size = _HEADER.size + len(table) + len(body)
    header = _HEADER.pack(_MAGIC, _digest(manifest), number, len(blocks), size, zlib.crc32(table))
    write_bytes(path, header + table + body)


def _digest(manifest: CacheManifest) -> bytes:
    return bytes.fromhex(manifest.content_digest.removeprefix("sha256:"))


def is_whole(path: Path, manifest: CacheManifest, number: int) -> bool:
    """Whether a shard is there and is what the manifest says, as far as header and index tell."""
    if not path.exists():
        return False
    try:
        Shard(path, manifest, number)
    except IntegrityError:
        return False
    return True


@final
@dataclass(frozen=True, slots=True)
class _Header:
    digest: bytes
    number: int
    num_documents: int
    size: int
    index_crc: int


@final
class Shard:
    """One file, mapped into memory.

    Args:
        manifest: Of the cache that it should belong to.
        number: Which of the manifest's shards it should be.

    Raises:
        SourceError: It is missing.
        IntegrityError: It is damaged, cut off or belongs to another cache; the message names the file.
    """

    def __init__(self, path: Path, manifest: CacheManifest, number: int) -> None:
        self.path = path
        self._vocab_size = manifest.fingerprint.identity.vocab_size
        if not path.exists():
            raise SourceError(
                f"{path} is missing: the capture is unfinished.", hint="Run the capture again; it goes on from there."
            )
        if path.stat().st_size < _HEADER.size:
            raise self._refusal("is cut off")
        self._data: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        magic, *fields = _HEADER.unpack(self._data[: _HEADER.size].tobytes())
        header = _Header(*fields)
        if magic != _MAGIC:
            raise self._refusal("is no shard of a teacher cache")
        if header.digest != _digest(manifest) or header.number != number:
            raise self._refusal("belongs to another cache")
        if header.size != len(self._data):
            raise self._refusal(f"has {len(self._data)} bytes instead of {header.size}")
        start = _HEADER.size + header.num_documents * _ENTRY.itemsize
        table = self._data[_HEADER.size : start].tobytes()
        if zlib.crc32(table) != header.index_crc or header.num_documents != manifest.shards[number].num_documents:
            raise self._refusal("has a damaged index")
        index: npt.NDArray[Any] = np.frombuffer(table, dtype=_ENTRY)
        self.sizes: Ints = index["size"].astype(np.int64)
        self._crcs: Ints = index["crc"].astype(np.int64)
        self._ends: Ints = start + np.cumsum(self.sizes)
        if len(self._ends) and self._ends[-1] != header.size:
            raise self._refusal("has a damaged index")
        self.keys: npt.NDArray[Any] = index["key"]

    def _refusal(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self.path} {what}.", hint="Restore it from a good copy, or delete it and run the capture again."
        )

    def document(self, place: int) -> tuple[Ints, RowEstimates]:
        """Positions and rows of the document at a place of the index.

        Raises:
            IntegrityError: Its block is damaged; the message names the file.
        """
        end = int(self._ends[place])
        block = np.asarray(self._data[end - int(self.sizes[place]) : end])
        if zlib.crc32(block.tobytes()) != self._crcs[place]:
            raise self._refusal(f"is damaged (document {place})")
        return _decode_document(block, self._vocab_size)
