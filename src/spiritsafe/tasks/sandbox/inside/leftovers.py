"""What namespaces would do: an end to all processes of a run, and to its files; and a look at how much it wrote.

In: a run that is over, or going on. Only the fork server calls this, which is not behind the walls.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

_PATIENCE_S = 10.0


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
    os.chmod(folder, stat.S_IRWXU)
    for place, names, _ in os.walk(folder):  # a folder that may not be entered cannot be emptied
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


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
    """Whether a run wrote more than it may."""
    num_bytes = num_files = 0
    for place, folders, files in os.walk(folder):
        num_files += len(folders) + len(files)
        for name in files:
            with suppress(OSError):
                num_bytes += os.lstat(os.path.join(place, name)).st_blocks * 512
    return num_bytes > most_bytes or num_files > most_files


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
