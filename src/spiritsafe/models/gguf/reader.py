"""Reading GGUF files that may be damaged: every length is checked against the file before it is believed.

In: a ``.gguf`` file (versions 2 and 3, little-endian). Out: its metadata, its tensor table, and tensors dequantised to
float32 one at a time. A truncated, corrupt or foreign file is a :class:`SourceError` that names it.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import gguf
import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import open_to_read

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_DEFAULT_ALIGNMENT = 32


@final
@dataclass(frozen=True, kw_only=True)
class GGUFTensor:
    """One tensor of the table.

    Attributes:
        shape: Sizes in row-major order (GGUF lists them reversed).
        kind: How its numbers are stored.
        offset: First byte, from the start of the file.
        num_bytes: Bytes in the file.
    """

    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    offset: int
    num_bytes: int


@final
class GGUFFile:
    """An open GGUF file; use it as a context manager.

    Attributes:
        metadata: Key → value; 32-bit floats are given by their shortest decimal, so 1e-5 stays 1e-5.
        tensors: Name → place of every tensor.

    Raises:
        SourceError: The file is missing, truncated, corrupt or not GGUF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, GGUFTensor] = {}
        self._position = 0
        try:
            with open_to_read(path) as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except SourceError:  # an OSError too, which already says what to do
            raise
        except FileNotFoundError as error:
            raise SourceError(f"There is no file {path}.", hint="Check the path of the GGUF file.") from error
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise SourceError(
                f"{path} cannot be read: {error}.", hint="Check that it is a whole GGUF file, yours to read."
            ) from error
        try:
            self._read()
        except SourceError:
            self._map.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()

    def damaged(self, what: str) -> SourceError:
        """The error for a file that is not what it should be."""
        return SourceError(
            f"{self.path} is not a usable GGUF file: {what}.",
            hint="It is truncated, damaged or of another format: download it again.",
        )

    def _take(self, num_bytes: int) -> int:
        """Advance by a field's size; the position where it starts."""
        start = self._position
        if num_bytes < 0 or start + num_bytes > len(self._map):
            raise self.damaged(f"it ends inside a field at byte {start}")
        self._position += num_bytes
        return start

    def _scalar(self, code: str) -> Any:
        width = struct.calcsize(f"<{code}")
        return struct.unpack_from(f"<{code}", self._map, self._take(width))[0]

    def _string(self) -> str:
        length = self._scalar("Q")
        start = self._take(length)
        try:
            return self._map[start : start + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"the text at byte {start} is not UTF-8") from error

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self.damaged(f"a value before byte {self._position} has the unknown type {kind}")
        value = self._scalar(_SCALARS[kind])
        return float(str(np.float32(value))) if kind == _FLOAT32 else value

    def _array(self) -> list[Any]:
        kind, count = self._scalar("I"), self._scalar("Q")
        if kind in _SCALARS:
            start = self._take(count * struct.calcsize(f"<{_SCALARS[kind]}"))
            return list(struct.unpack_from(f"<{count}{_SCALARS[kind]}", self._map, start))
        if kind != _STRING:
            raise self.damaged(f"an array before byte {self._position} has elements of the unknown type {kind}")
        if count * 8 > len(self._map) - self._position:  # each string has at least its length
            raise self.damaged(f"an array at byte {self._position} claims {count} texts")
        return [self._string() for _ in range(count)]

    def _read(self) -> None:
        if self._map[:4] != b"GGUF":
            raise self.damaged("it does not begin with 'GGUF'")
        self._take(4)
        version = self._scalar("I")
        if version not in (2, 3):
            raise self.damaged(f"its version is {version}, not 2 or 3")
        num_tensors, num_values = self._scalar("Q"), self._scalar("Q")
        for _ in range(num_values):
            key = self._string()
            if key in self.metadata:
                raise self.damaged(f"it says {key!r} twice")
            value = self.metadata[key] = self._value(self._scalar("I"))
            if isinstance(value, float) and not math.isfinite(value):
                raise self.damaged(f"its {key!r} is {value}")
        table = [self._tensor_entry() for _ in range(num_tensors)]
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self.damaged(f"its alignment is {alignment!r}")
        start = math.ceil(self._position / alignment) * alignment
        end = start
        for name, shape, number, offset in sorted(table, key=lambda entry: entry[3]):
            located = self._located(name, shape, number, start + offset)
            if name in self.tensors or located.offset < end:  # two readers would read two models
                raise self.damaged(f"tensor {name!r} is there twice, or lies over another one")
            self.tensors[name], end = located, located.offset + located.num_bytes

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        num_dimensions = self._scalar("I")
        if not 1 <= num_dimensions <= 4:
            raise self.damaged(f"tensor {name!r} has {num_dimensions} dimensions")
        shape = tuple(self._scalar("Q") for _ in range(num_dimensions))
        return name, shape[::-1], self._scalar("I"), self._scalar("Q")

    def _located(self, name: str, shape: tuple[int, ...], number: int, offset: int) -> GGUFTensor:
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError as error:
            raise self.damaged(f"tensor {name!r} has the unknown type {number}") from error
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            raise self.damaged(f"tensor {name!r} of shape {shape} is not whole blocks of {kind.name}")
        num_bytes = math.prod(shape) // block * block_bytes
        if num_bytes == 0 or offset + num_bytes > len(self._map):
            raise self.damaged(f"it has {len(self._map)} bytes, tensor {name!r} needs {offset + num_bytes}")
        return GGUFTensor(shape=shape, kind=kind, offset=offset, num_bytes=num_bytes)

    def require(self, key: str, kind: type) -> Any:
        """A metadata value that must be there.

        Raises:
            SourceError: It is missing or of another type.
        """
        value = self.metadata.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise self.damaged(f"its metadata has no usable {key!r}")
        return value

    def load(self, name: str) -> Tensor:
        """One tensor as float32, exactly as its stored blocks define it.

        Raises:
            SourceError: It holds NaN or infinity, or is stored in a form the ``gguf`` library cannot read.
        """
        place = self.tensors[name]
        block, block_bytes = gguf.GGML_QUANT_SIZES[place.kind]
        rows = (*place.shape[:-1], place.shape[-1] // block * block_bytes)
        # Slicing a map copies: no array holds on to the file, and the copy is of the quantised bytes only.
        raw = np.frombuffer(self._map[place.offset : place.offset + place.num_bytes], dtype=np.uint8).reshape(rows)
        try:
            with np.errstate(all="ignore"):  # damaged blocks overflow; the check below names the tensor
                values = np.array(gguf.dequantize(raw, place.kind), dtype=np.float32)
        except NotImplementedError as error:
            raise self.damaged(f"tensor {name!r} is stored as {place.kind.name}, which cannot be read") from error
        if not np.isfinite(values).all():
            raise self.damaged(f"tensor {name!r} holds NaN or infinity")
        return torch.from_numpy(values)
