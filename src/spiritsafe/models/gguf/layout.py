"""The bytes of a GGUF file: header, metadata, table of tensors, tensors. Version 3, little-endian.

In: typed metadata, the table, and whatever makes one tensor after the other. Out: a file that is whole or absent, and
the same bytes for the same input.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType

from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.models.gguf.blocks import TensorBytes
from spiritsafe.models.gguf.types import stored_bytes

_ALIGNMENT = 32
_VERSION = 3
_FORMATS = {
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
}


@final
@dataclass(frozen=True)
class MetadataValue:
    """A metadata value with its type; of an array the type of its elements."""

    kind: GGUFValueType
    content: Any
    is_array: bool = False


def uint(number: int) -> MetadataValue:
    """A size or an id."""
    return MetadataValue(GGUFValueType.UINT32, number)


def float32(number: float) -> MetadataValue:
    """A number, rounded to float32."""
    return MetadataValue(GGUFValueType.FLOAT32, number)


def boolean(answer: bool) -> MetadataValue:
    """A switch."""
    return MetadataValue(GGUFValueType.BOOL, answer)


def text(content: str) -> MetadataValue:
    """A text."""
    return MetadataValue(GGUFValueType.STRING, content)


def texts(content: Sequence[str]) -> MetadataValue:
    """A list of texts, which may be empty."""
    return MetadataValue(GGUFValueType.STRING, list(content), is_array=True)


def integers(content: Sequence[int]) -> MetadataValue:
    """A list of small whole numbers."""
    return MetadataValue(GGUFValueType.INT32, list(content), is_array=True)


def floats(content: Sequence[float]) -> MetadataValue:
    """A list of numbers, each rounded to float32."""
    return MetadataValue(GGUFValueType.FLOAT32, list(content), is_array=True)


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table of tensors.

    Attributes:
        shape: Sizes in row-major order.
        kind: How its numbers are stored.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType

    @property
    def num_bytes(self) -> int:
        """TensorBytes in the file."""
        return stored_bytes(self.shape, self.kind)


def write_file(
    path: Path, metadata: Mapping[str, MetadataValue], entries: Sequence[Entry], produce: Callable[[Entry], TensorBytes]
) -> None:
    """Write a file, asking for one tensor at a time.

    Args:
        path: The file; whole or absent.
        metadata: In the order in which it is written.
        entries: In file order.
        produce: Gives a tensor's bytes; called once each, in order, and its result dropped after writing.

    Raises:
        StorageError: The file cannot be written.
        ValueError: What was produced has another size than announced.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", _VERSION, len(entries), len(metadata)))
        for key, value in metadata.items():
            file.write(_string(key) + _typed(value))
        offset = 0
        for entry in entries:
            sizes = struct.pack(f"<I{len(entry.shape)}Q", len(entry.shape), *entry.shape[::-1])
            file.write(_string(entry.name) + sizes + struct.pack("<IQ", entry.kind, offset))
            offset += -(-entry.num_bytes // _ALIGNMENT) * _ALIGNMENT
        _pad(file)
        for entry in entries:
            data = produce(entry)
            if data.nbytes != entry.num_bytes:
                raise ValueError(f"{entry.name}: announced {entry.num_bytes} bytes, got {data.nbytes}")
            file.write(np.ascontiguousarray(data).data)
            _pad(file)


def _pad(file: IO[bytes]) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))


def _string(content: str) -> bytes:
    raw = content.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: MetadataValue) -> bytes:
    if value.is_array:
        head = struct.pack("<IIQ", GGUFValueType.ARRAY, value.kind, len(value.content))
        return head + b"".join(_plain(value.kind, one) for one in value.content)
    return struct.pack("<I", value.kind) + _plain(value.kind, value.content)


def _plain(kind: GGUFValueType, content: Any) -> bytes:
    return _string(content) if kind == GGUFValueType.STRING else struct.pack(_FORMATS[kind], content)
