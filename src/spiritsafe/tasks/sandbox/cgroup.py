"""Control groups: how much memory and how many processes a run may have in all, where this user may make groups.

In: a name. Out: a group whose limits are set for each run, or None. Both versions are known. Limits of single
processes hold everywhere; of a run as a whole, only where there is such a group, and by counting from time to time.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import final

_ROOT = Path("/sys/fs/cgroup")
_FILES = {
    2: ("memory.max", "pids.max", "memory.events"),
    1: ("memory.limit_in_bytes", "pids.max", "memory.oom_control"),
}
_PATIENCE_S = 5.0
_LOOK_S = 0.005


@final
class ControlGroup:
    """One group: a folder, or in the first version one for memory and one for processes.

    Attributes:
        version: Of control groups.
    """

    def __init__(self, version: int, memory: Path, processes: Path) -> None:
        self.version = version
        self._memory, self._processes = memory, processes
        self._limits = (0, 0)

    def doors(self) -> list[int]:
        """Descriptors; a process that writes 0 to each is in the group."""
        folders = dict.fromkeys((self._memory, self._processes))
        return [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in folders]

    def limit(self, memory_bytes: int, processes: int) -> None:
        """For what runs in it next.

        Raises:
            OSError: The kernel refuses.
        """
        if (memory_bytes, processes) == self._limits:
            return
        memory, count, _ = _FILES[self.version]
        (self._memory / memory).write_text(str(memory_bytes), "ascii")
        if self.version == 2:
            with suppress(OSError):  # a kernel without swap accounting
                (self._memory / "memory.swap.max").write_text("0", "ascii")
        (self._processes / count).write_text(str(processes), "ascii")
        self._limits = (memory_bytes, processes)

    def times_out_of_memory(self) -> int:
        """How often the kernel ended a process of the group because memory was used up."""
        for line in (self._memory / _FILES[self.version][2]).read_text("ascii").splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
        return 0

    def remove(self) -> None:
        """End what is left in it, and the group."""
        for folder in dict.fromkeys((self._memory, self._processes)):
            deadline = time.monotonic() + _PATIENCE_S
            while not _is_removed(folder):
                for pid in _members(folder):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_S)  # what was killed is in the group until the kernel has seen to it


def _is_removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _members(folder: Path) -> list[int]:
    """Those of them that have a number here: 0 stands for the others, and would be ourselves."""
    with suppress(OSError):
        return [pid for line in (folder / "cgroup.procs").read_text("ascii").split() if (pid := int(line)) > 0]
    return []


def make_group(name: str) -> ControlGroup | None:
    """A new group below that of this process; None where this user may not make one, or it could hold nothing."""
    for line in _own_groups():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            group = _try(2, *[_ROOT / path.lstrip("/") / name] * 2)
            if group is not None:
                return group
    paths = {one: line.split(":", 2)[2] for line in _own_groups() for one in line.split(":", 2)[1].split(",")}
    if {"memory", "pids"} <= paths.keys():
        memory, processes = (_ROOT / one / paths[one].lstrip("/") / name for one in ("memory", "pids"))
        return _try(1, memory, processes)
    return None


def _own_groups() -> list[str]:
    with suppress(OSError):
        return Path("/proc/self/cgroup").read_text("ascii").splitlines()
    return []


def _try(version: int, memory: Path, processes: Path) -> ControlGroup | None:
    group = ControlGroup(version, memory, processes)
    try:
        for folder in dict.fromkeys((memory, processes)):
            folder.mkdir()
        if not all((memory / name).exists() for name in _FILES[version] if name != "pids.max"):
            raise FileNotFoundError(f"{memory} is no control group of memory")
        group.limit(1 << 30, 64)
        group.times_out_of_memory()
        for descriptor in group.doors():
            os.close(descriptor)
    except OSError:
        group.remove()
        return None
    return group
