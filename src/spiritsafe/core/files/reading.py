"""Reading files that others may have made: plain files only, of a bounded size, holding JSON that can be worked with.

In: a path, or the text of a file. Out: its bytes, or its JSON value. A pipe, a device or a folder in the place of a
file, a file beyond all measure, JSON nested without end, numbers without end: each is a :class:`SourceError` that says
what to do, never a hang and never full memory. Everything here that reads a whole file reads it this way.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError

MOST_BYTES = 1 << 30
"""No file that is read at once is larger, unless its reader says so."""

# without O_NONBLOCK a pipe that nobody reads would be waited for; Windows has the last two only
_ALWAYS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY", "O_NOINHERIT"))
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MOST_DIGITS = 300  # what is longer has no value as a float
_CHUNK_BYTES = 1 << 20
_DESCRIPTOR = re.compile(r"/dev/(std(in|out|err)|fd/[0-9]+)|/proc/[0-9]+/(task/[0-9]+/)?fd/[0-9]+")
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def is_descriptor(path: Path) -> bool:
    """Whether a path names what a process has open: ``/dev/stdin``, ``/dev/stdout``, ``<(…)`` of a shell.

    By its words: a link to one, which somebody put into a folder for others, is none.
    """
    with suppress(OSError, ValueError):
        return bool(_DESCRIPTOR.fullmatch(os.path.join(os.path.realpath(path.parent), path.name)))
    return False


def open_regular(path: Path, flags: int, mode: int = 0o600, *, follow: bool = False) -> int:
    """A descriptor of a regular file: never of a pipe or a device, and of a link's target only where that is wanted.

    Args:
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
        if not (follow or _NO_FOLLOW) and path.is_symlink():
            raise refusal
        flags |= _ALWAYS | (0 if follow else _NO_FOLLOW)
        try:
            descriptor = os.open(path, flags, mode)
        except PermissionError:
            # some systems refuse O_CREAT on another user's file in a folder like /tmp, whatever its mode
            if flags & os.O_EXCL or not os.path.lexists(path):
                raise
            descriptor = os.open(path, flags & ~os.O_CREAT)
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
            f"{path} is {kind}, not a file.",
            hint="Give the path of a plain file; if somebody put this in its place, remove it.",
        )
    return os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb")  # it may have been exchanged meanwhile


def _open_whole(path: Path, is_typed: bool) -> IO[bytes]:
    """The same for who reads all of it, once: then it may be a pipe that the user handed over."""
    if is_typed and is_descriptor(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        return open(path, "rb")  # waits for its writer, as every program does
    return open_to_read(path)


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


def read_bytes(path: Path, *, most_bytes: int = MOST_BYTES, is_typed: bool = False) -> bytes:
    """A plain file's bytes; or those of a pipe that the user handed over (``<(…)``, ``/dev/stdin``), which come once.

    Args:
        most_bytes: A larger one is refused, whatever size it is said to have.
        is_typed: The user named it, and no file of somebody else: then it may be such a pipe, which is waited for.

    Raises:
        SourceError: It is missing, cannot be read, is no plain file, or is too large.
    """
    with _reading(path), _open_whole(path, is_typed) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= most_bytes else b""
        while size <= most_bytes and len(data) > size:  # it grew, or its size is not known
            size = len(data)
            data += file.read(max(_CHUNK_BYTES, size))
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


HOOKS: dict[str, Any] = {"parse_constant": _constant, "parse_int": _integer, "parse_float": _float}
"""Of a JSON decoder, for numbers that are none."""


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
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, **(HOOKS if finite else {}))
    except RecursionError as error:
        raise SourceError(f"{what} is not valid JSON: nested too deep.", hint=hint) from error
    except ValueError as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise SourceError(f"{what} is not valid JSON: {reason}.", hint=hint) from error
