"""One process at a time: a lock that says who holds it.

The kernel locks the open file and frees it when its holder ends, however that ends; so nothing is left to clear away.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from spiritsafe.core.errors import StorageError
from spiritsafe.core.files.atomic import _LOG, storage_errors
from spiritsafe.core.files.reading import open_regular

LOCK_WAIT_S = 600.0
"""So long a lock is waited for where nothing else is said."""

OTHERS_WORK_S = 86_400.0
"""So long one process waits for another that downloads, samples or captures what both of them need."""

_SAY_AFTER_S = 2.0
_LOOK_EVERY_S = 0.05
_HOLDER = re.compile(r"([0-9]{1,10}) ([A-Za-z0-9._-]{1,255})\n")


@contextmanager
def locked(path: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold an exclusive advisory lock on ``path`` (made if missing) while the block runs.

    Who holds it stands in it, for those who wait; they are told on the log after a moment.

    Args:
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
            unlock_descriptor(descriptor)  # a forked child may have the descriptor as well
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
            if lock_descriptor(descriptor, blocking=False):
                return
        except OSError as error:  # a file system without locks, or one that wants the lock's file to be writable
            raise StorageError(
                f"{path} cannot be locked: {error.strerror or error}.",
                hint="Put the folder on a file system that has locks, and make this file one that you may write.",
            ) from error
        waited = time.monotonic() - started
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
    text = b""
    with suppress(OSError):  # Windows lets nobody read what is locked
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, 300)
    found = _HOLDER.fullmatch(text.decode("latin-1"))
    return f"process {found[1]} on {found[2]}" if found else "a process that does not say which (`fuser` tells)"


def _say_holder(descriptor: int, text: str) -> None:
    with suppress(OSError):  # another user's lock file, or a full disk: it is held all the same
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())
