"""What namespaces would do: an end to all processes of a run, and to its files; and a look at how much it wrote.

In: a run that is over, or going on. Only the fork server calls this, which is not behind the walls.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

_PATIENCE_S = 10.0
_DEEPEST = 100
"""Folders in each other that are counted."""


def _opened(folder: str, inside: int | None = None) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)


def clear(folder: str, *, spare: Iterable[int]) -> None:
    """End what a run left behind, and remove its folder.

    Orphans of a run are children of this process.

    Args:
        spare: First processes of other runs, which go on with all that is below them.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and (left := _below(os.getpid(), spare=set(spare))):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    remove(folder)


def remove(folder: str) -> None:
    """Remove a folder, whatever was done to it: closed, or deeper than stacks and paths can be."""
    with suppress(OSError):
        os.chmod(folder, stat.S_IRWXU)
        top = _opened(folder)
        try:
            while names := os.listdir(top):
                for name in names:
                    _remove_from(top, name)
        finally:
            os.close(top)
        os.rmdir(folder)


def _remove_from(top: int, name: str) -> None:
    """Remove a file, or a folder whose own folders move up to its place."""
    if not _is_folder(top, name):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, stat.S_IRWXU, dir_fd=top)
    place = _opened(name, top)
    try:
        for below in os.listdir(place):
            if _is_folder(place, below):
                os.chmod(below, stat.S_IRWXU, dir_fd=place)
                os.rename(below, os.urandom(16).hex(), src_dir_fd=place, dst_dir_fd=top)
            else:
                os.unlink(below, dir_fd=place)
    finally:
        os.close(place)
    os.rmdir(name, dir_fd=top)


def _is_folder(place: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)


def _below(ancestor: int, *, spare: set[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), []) if pid not in spare]
        found += below
        waiting += below
    return found


def is_too_full(folder: str, *, most_bytes: int, most_files: int) -> bool:
    """Whether a run wrote more than it may, or where nobody can count it: too deep, or in a folder that it closed."""
    try:
        num_bytes, num_files = _used(_opened(folder), _DEEPEST)
    except (PermissionError, RecursionError):
        return True
    except FileNotFoundError:  # it is not made yet
        return False
    return num_bytes > most_bytes or num_files > most_files


def _used(place: int, levels: int) -> tuple[int, int]:
    if not levels:
        os.close(place)
        raise RecursionError
    num_bytes = num_files = 0
    try:
        for name in os.listdir(place):
            num_files += 1
            with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or another thing
                facts = os.stat(name, dir_fd=place, follow_symlinks=False)
                num_bytes += facts.st_blocks * 512
                if stat.S_ISDIR(facts.st_mode):
                    more = _used(_opened(name, place), levels - 1)
                    num_bytes, num_files = num_bytes + more[0], num_files + more[1]
    finally:
        os.close(place)
    return num_bytes, num_files


def num_tasks(user: int) -> int:
    """Threads that a user has already, which count against its limit."""
    return sum(int(facts["Threads"]) for _, facts in _processes_of(user))


def end_user(user: int) -> None:
    """End all processes of a user that is nobody else's."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        left = [pid for pid, facts in _processes_of(user) if not facts["State"].startswith("Z")]
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes_of(user: int) -> Iterator[tuple[int, dict[str, str]]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
                if int(facts["Uid"].split()[0]) == user:
                    yield int(name), facts
