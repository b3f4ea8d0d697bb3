"""Files that are whole or absent: temp file, fsync, rename, fsync of the directory.

In: a path and content. Out: the file, complete. A reader never sees half a file, whatever kills the writer; a full
disk or a read-only directory becomes a :class:`StorageError` that says what to do. What lies beside a file in a folder
that others may write is theirs as well: :func:`open_regular` follows no link there and waits for no pipe.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import logging
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError
from spiritsafe.core.reading import open_regular, parse_json, read_bytes

__all__ = [
    "LOCK_WAIT_S",
    "MOST_LINES_BYTES",
    "OTHERS_WORK_S",
    "append_line",
    "atomic_path",
    "ensure_directory",
    "locked",
    "new_beside",
    "parse_json_lines",
    "read_json",
    "read_json_lines",
    "set_aside",
    "storage_errors",
    "sweep",
    "sync_directory",
    "write_bytes",
    "write_json",
    "write_text",
]

MOST_LINES_BYTES = 16 << 30
"""Of a file of lines: a whole data set may be one."""
_LOG = logging.getLogger(__name__)

LOCK_WAIT_S = 600.0
"""So long a lock is waited for where nothing else is said."""

OTHERS_WORK_S = 86_400.0
"""So long one process waits for another that downloads, samples or captures what both of them need."""

_SAY_AFTER_S = 2.0
_LOOK_EVERY_S = 0.05
_HOLDER = re.compile(r"([0-9]{1,10}) ([A-Za-z0-9._-]{1,255})\n")


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


def _open_to_append(path: Path) -> int:
    return open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def append_line(path: Path, value: JSON, *, sync: bool = False) -> None:
    """Append one JSON value as one line. A single ``write`` keeps concurrent appends whole."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    with storage_errors(path), open(_open_to_append(path), "ab", buffering=0) as file:
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
    return parse_json_lines(read_bytes(path, most_bytes=MOST_LINES_BYTES), path)


def parse_json_lines(data: bytes, path: Path) -> list[Any]:
    """The values of a JSON-lines file that was read; see :func:`read_json_lines`."""
    lines = data.split(b"\n")
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line, f"{path}, line {number}"))
        except SourceError:
            if number < len(lines):  # else: no newline behind it, the writer was killed in the middle
                raise
    return values


def set_aside(path: Path, data: bytes) -> None:
    """Keep what was cut off a file beside it, in a new file that only its owner reads."""
    with storage_errors(path):
        descriptor, _ = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".torn", dir=path.parent)
        with open(descriptor, "wb") as file:
            file.write(data + b"\n")


@contextmanager
def locked(path: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold an exclusive advisory lock on ``path`` (made if missing) while the block runs.

    Who holds it stands in it, for those who wait; they are told on the log after a moment.

    Args:
        path: The lock's file.
        wait_s: How long another holder is waited for.

    Raises:
        StorageError: It cannot be opened, or is still held then.
    """
    with storage_errors(path):
        descriptor = _open_lock(path)
    try:
        _acquire(descriptor, path, wait_s)
        try:
            _say_holder(descriptor, f"{os.getpid()} {socket.gethostname()}\n")
            yield
        finally:
            _say_holder(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have the descriptor as well
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return open_regular(path, os.O_RDONLY)  # another user made it: to read it is enough to hold it


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    started, said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
        except OSError as error:  # a file system without locks, or one that wants the lock's file to be writable
            raise StorageError(
                f"{path} cannot be locked: {error.strerror or error}.",
                hint="Put the folder on a file system that has locks, and make this file one that you may write.",
            ) from error
        else:
            return
        if waited >= wait_s:
            raise StorageError(
                f"{path} is still locked by {_holder(descriptor)}, after {wait_s:.0f} s of waiting.",
                hint="Let it end, or end it if it should not run, then run the same command again.",
            )
        if not said and waited >= _SAY_AFTER_S:
            _LOG.warning("waiting up to %.0f s for %s, locked by %s", wait_s, path, _holder(descriptor))
            said = True
        time.sleep(_LOOK_EVERY_S)


def _holder(descriptor: int) -> str:
    """Who wrote into a lock that they hold it, in words."""
    found = _HOLDER.fullmatch(os.pread(descriptor, 300, 0).decode("latin-1"))
    return f"process {found[1]} on {found[2]}" if found else "a process that does not say which (`fuser` tells)"


def _say_holder(descriptor: int, text: str) -> None:
    with suppress(OSError):  # another user's lock file, or a full disk: it is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
