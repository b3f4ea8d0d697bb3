"""Files that are whole or absent: temp file, fsync, rename, fsync of the directory.

In: a path and content. Out: the file, complete. A reader never sees half a file, whatever kills the writer; a full
disk or a read-only directory becomes a :class:`StorageError` that says what to do. What lies beside a file in a folder
that others may write is theirs as well: :func:`open_regular` follows no link there and waits for no pipe.
"""

from __future__ import annotations

import errno
import glob
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SpiritsafeError, StorageError
from spiritsafe.core.files.reading import parse_json, read_bytes

_LOG = logging.getLogger(__name__)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of a write into a :class:`StorageError` with a next step."""
    try:
        yield
    except SpiritsafeError:  # some of these are OSErrors too, and already say what to do
        raise
    except OSError as error:
        hint = {
            errno.ENOSPC: "The disk is full: free some space and run the same command again.",
            errno.EDQUOT: "The disk quota is used up: free some space and run the same command again.",
            errno.EACCES: "Choose a directory that is yours to write, or change its permissions.",
            errno.EPERM: "Choose a directory that is yours to write, or change its permissions.",
            errno.EROFS: "The file system is read-only: choose another directory.",
        }.get(error.errno or 0, "Check the path and the disk, then run the same command again.")
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.", hint=hint) from error


def ensure_directory(path: Path) -> Path:
    """Make a directory and its parents; return it.

    Raises:
        StorageError: It cannot be made.
    """
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sync_directory(path: Path) -> None:
    """See to it that a new name in a folder outlives a power cut, as far as folder and file system allow it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # network file systems sync no folders, and some folders may be written, not read
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise


def new_beside(path: Path, suffix: str, make: Callable[[Path], object]) -> Path:
    """Make a hidden file or folder of a new name beside a path, with the rights that the user's umask gives.

    The kernel applies the umask. To read it a process must change it, and meanwhile other threads' files are open to
    all; two threads that do so may leave it changed for good.

    Args:
        path: What it will become.
        suffix: Ends its name.
        make: Makes it, or raises FileExistsError.
    """
    while True:
        new = path.parent / f".{path.name}.{secrets.token_hex(4)}{suffix}"
        with suppress(FileExistsError):
            make(new)
            return new


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it into place, on error remove it.

    The temporary file exists (empty) when the block starts, so libraries may open it in any mode.

    Raises:
        StorageError: Writing failed; ``path`` is as it was.
    """
    ensure_directory(path.parent)
    with storage_errors(path):
        temporary = new_beside(path, ".tmp", lambda new: new.touch(exist_ok=False))
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def sweep(*paths: Path) -> None:
    """Remove what killed writers of these files left beside them; only under a lock that all their writers hold."""
    for path in paths:
        with storage_errors(path):
            for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: JSON) -> None:
    """Write JSON atomically: two-space indent, sorted keys, a final newline."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Infinity and NaN pass, as other programs write them into configurations; no record has any.

    Raises:
        SourceError: It is missing, unreadable or not JSON.
    """
    return parse_json(read_bytes(path, is_typed=True), path, finite=False)
