"""Files that are whole or absent: temp file, fsync, rename, fsync of the directory.

In: a path and content. Out: the file, complete. A reader never sees half a file, whatever kills the writer; a full
disk or a read-only directory becomes a :class:`StorageError` that says what to do.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError

__all__ = [
    "append_line",
    "atomic_path",
    "ensure_directory",
    "locked",
    "read_json",
    "read_json_lines",
    "storage_errors",
    "write_bytes",
    "write_json",
    "write_text",
]


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


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it into place, on error remove it.

    The temporary file exists (empty) when the block starts, so libraries may open it in any mode.

    Raises:
        StorageError: Writing failed; ``path`` is as it was.
    """
    ensure_directory(path.parent)
    with storage_errors(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp makes 0600; published files follow the user's umask
            temporary.replace(path)
            _sync_directory(path.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


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
    """Read a JSON file.

    Raises:
        SourceError: It is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", hint="Check that it exists and is yours to read."
        ) from error
    except ValueError as error:
        raise SourceError(f"{path} is not valid JSON: {error}.", hint="Restore it from a good copy.") from error


def append_line(path: Path, value: JSON, *, sync: bool = False) -> None:
    """Append one JSON value as one line. A single ``write`` keeps concurrent appends whole."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    with storage_errors(path), path.open("ab", buffering=0) as file:
        if (written := file.write(line)) != len(line):  # the disk filled up: half a line must not stay
            file.truncate(file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if sync:
            os.fsync(file.fileno())


def read_json_lines(path: Path) -> list[Any]:
    """Read a JSON-lines file; a torn last line (a killed writer) is left out.

    Raises:
        SourceError: The file is unreadable, or a line other than the last is not JSON.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", hint="Check that it exists and is yours to read."
        ) from error
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):  # no newline behind it: the writer was killed in the middle
                break
            raise SourceError(
                f"{path}, line {number}: not valid JSON ({error}).", hint="Restore the file from a good copy."
            ) from error
    return values


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive advisory lock on ``path`` (made if missing) while the block runs."""
    with storage_errors(path):
        file = path.open("a")
    with file:  # outside storage_errors: the block's own errors are not about this file
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
