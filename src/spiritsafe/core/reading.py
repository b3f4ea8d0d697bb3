"""Reading files that others may have made: plain files only, of a bounded size, holding JSON that can be worked with.

In: a path, or the text of a file. Out: its bytes, or its JSON value. A pipe, a device or a folder in the place of a
file, a file beyond all measure, JSON nested without end, numbers without end: each is a :class:`SourceError` that says
what to do, never a hang and never full memory. Everything here that reads a whole file reads it this way.
Exercised by ``pytest tests/unit/core/test_reading.py``.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spiritsafe.core.errors import SourceError

__all__ = ["MOST_BYTES", "open_regular", "parse_json", "read_bytes"]

MOST_BYTES = 1 << 30
"""No file that is read at once is larger, unless its reader says so."""

_MOST_DIGITS = 300  # what is longer has no value as a float
_CHUNK_BYTES = 1 << 20
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        raise SourceError(f"{path} is {kind}, not a file.", hint="Give the path of a plain file.")


def open_regular(path: Path) -> IO[bytes]:
    """Open a plain file to read; never waits for the other end of a pipe, and touches no device.

    Raises:
        SourceError: It is something else.
        OSError: It is missing or cannot be read.
    """
    _check_regular(path, os.stat(path).st_mode)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)  # it may have been exchanged meanwhile
    except SourceError:
        file.close()
        raise
    return file


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except SourceError:  # an OSError too, which already says what to do
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"{path} cannot be read: {reason}.", hint="Check that it exists and is yours to read."
        ) from error


def read_bytes(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """A plain file's bytes.

    Args:
        path: The file.
        most_bytes: A larger one is refused, whatever size it is said to have.

    Raises:
        SourceError: It is missing, cannot be read, is no plain file, or is too large.
    """
    with _reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= most_bytes else b""
        while size <= most_bytes and len(data) > size:  # it grew, or its size is not known
            size = len(data)
            data += file.read(_CHUNK_BYTES)
        if size > most_bytes:
            raise SourceError(
                f"{path} has more than {most_bytes:,} bytes.", hint="That is no file of this kind: check the path."
            )
        return data


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def parse_json(
    text: bytes | str, what: object, *, hint: str = "Restore it from a good copy.", finite: bool = True
) -> Any:
    """The JSON value of a text.

    Args:
        text: As it stands in the file.
        what: How errors call it: a path, for example.
        hint: What to do about an error.
        finite: Refuse ``NaN``, ``Infinity`` and numbers as large as that; other programs' configurations have some.

    Raises:
        SourceError: It is not JSON, is nested too deep, or holds a number that is none.
    """
    hooks: dict[str, Any] = {"parse_constant": _constant, "parse_int": _integer, "parse_float": _float}
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, **(hooks if finite else {}))
    except RecursionError as error:
        raise SourceError(f"{what} is not valid JSON: nested too deep.", hint=hint) from error
    except ValueError as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise SourceError(f"{what} is not valid JSON: {reason}.", hint=hint) from error
