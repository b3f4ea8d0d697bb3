"""Reading files that others may have made: plain files only, of a bounded size, holding JSON that can be worked with.

In: a path, or the text of a file. Out: its bytes, or its JSON value. A pipe, a device or a folder in the place of a
file, a file beyond all measure, JSON nested without end, numbers without end: each is a :class:`SourceError` that says
what to do, never a hang and never full memory. Everything here that reads a whole file reads it this way.
Exercised by ``pytest tests/unit/core/test_reading.py``.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError

__all__ = ["MOST_BYTES", "open_regular", "open_to_read", "parse_json", "read_bytes"]

MOST_BYTES = 1 << 30
"""No file that is read at once is larger, unless its reader says so."""

_MOST_DIGITS = 300  # what is longer has no value as a float
_CHUNK_BYTES = 1 << 20
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def open_regular(path: Path, flags: int, mode: int = 0o600, *, follow: bool = False) -> int:
    """A descriptor of a regular file: never of a pipe or a device, and of a link's target only where that is wanted.

    Args:
        path: Where.
        flags: As for :func:`os.open`.
        mode: Of a file that is made.
        follow: Whether the file may be a link to another one.

    Raises:
        StorageError: It is no regular file; :class:`SourceError` where it was to be read only.
        OSError: It cannot be opened.
    """
    kind: type[SpiritsafeError] = SourceError if flags & os.O_ACCMODE == os.O_RDONLY else StorageError
    refusal = kind(
        f"{path} is a link, a pipe or a device, not a file.",
        hint="Somebody put it there: remove it if it is not yours, and run the same command again.",
    )
    try:
        # without O_NONBLOCK a pipe that nobody reads would be waited for
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW), mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise refusal from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refusal
    return descriptor


def open_to_read(path: Path) -> IO[bytes]:
    """Open a plain file, or a link to one, to read; never waits for the other end of a pipe, and touches no device.

    Raises:
        SourceError: It is something else.
        OSError: It is missing or cannot be read.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        raise SourceError(
            f"{path} is {kind}, not a file.", hint="Give the path of a plain file; if somebody put it there, remove it."
        )
    return os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb")  # it may have been exchanged meanwhile


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
    with _reading(path), open_to_read(path) as file:
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
