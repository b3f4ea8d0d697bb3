"""How much memory this process may take: what it has, and what the machine and its control groups have left.

In: nothing, or other folders that look like ``/proc`` and ``/sys/fs/cgroup``. Out: bytes, or None where nobody says.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Version 1 of control groups writes a number near 2**63 where there is no limit."""


def resident_bytes(*, with_children: bool = False) -> int:
    """Resident bytes now.

    Args:
        with_children: And those of all processes below this one; pages that they share count for each.
    """
    own = psutil.Process()
    total = int(own.memory_info().rss)
    for child in own.children(recursive=True) if with_children else ():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended meanwhile
            total += int(child.memory_info().rss)
    return total


def free_bytes() -> int:
    """Memory that this process could take beyond what it has."""
    reachable = reachable_bytes(PROC, _CGROUPS, own_bytes=0)
    return int(psutil.virtual_memory().available) if reachable is None else reachable  # no ``/proc``: not Linux


def reachable_bytes(proc: Path, cgroups: Path, *, own_bytes: int) -> int | None:
    """The least of: free memory of the machine, and what each control group above this process has left.

    Args:
        proc: ``/proc``.
        cgroups: ``/sys/fs/cgroup``.
        own_bytes: What the process holds already; it may keep that.
    """
    free = proc_kilobytes(proc / "meminfo").get("MemAvailable")
    left = [] if free is None else [free * 1024]
    for directory in _groups(proc / "self/cgroup", cgroups):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(directory / limit_name), _number(directory / used_name)
            if limit is not None and used is not None and limit < _UNLIMITED:
                cache = _cache_bytes(directory)
                left.append(max(0, limit - used + cache))
    return min(left) + own_bytes if left else None


def _groups(listing: Path, cgroups: Path) -> list[Path]:
    """Directories of the memory control groups that hold this process, the innermost first, up to the root."""
    found: list[Path] = []
    for line in _lines(listing):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        inner = root / path.lstrip("/")
        found += [d for d in (inner, *inner.parents) if d == root or root in d.parents]
    return found


def _cache_bytes(directory: Path) -> int:
    """Pages of files that the kernel would drop first; they count as used but are free to take."""
    for line in _lines(directory / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def proc_kilobytes(path: Path) -> Mapping[str, int]:
    """The ``Name:  123 kB`` lines of a file of ``/proc``."""
    rows = (line.split() for line in _lines(path))
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
