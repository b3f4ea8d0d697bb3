"""What this process takes of the machine's memory: now, at most since a reset, and how much it could take.

In: nothing. Out: bytes. On a CPU the resident set, as the kernel counts it, bounded by free memory and by the control
group that the process runs in; on CUDA the device's free memory and what torch already holds of it.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

__all__ = ["PROCESS_BYTES", "available_bytes", "peak_bytes", "reachable_bytes", "reset_peak", "resident_bytes"]

PROCESS_BYTES = 450_000_000
"""Interpreter, torch, transformers and the kernels that a step loads, before any weight (torch 2.13 on Linux, CPU)."""

_PROC = Path("/proc")
_CLEAR = _PROC / "self/clear_refs"
_STATUS = _PROC / "self/status"
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Version 1 of control groups writes a number near 2**63 where there is no limit."""


def reset_peak() -> bool:
    """Start a new high-water mark; False where the kernel has none to reset (then marks only rise)."""
    try:
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Peak resident bytes since the last reset."""
    found = _kilobytes(_STATUS).get("VmHWM")
    if found is not None:
        return found * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # not Linux: the process's own maximum must do
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """Resident bytes now; 0 where the kernel does not say."""
    return _kilobytes(_STATUS).get("VmRSS", 0) * 1024


def available_bytes(device: torch.device) -> int | None:
    """Memory that this process could have in all, what it already has included; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device)
    return reachable_bytes(_PROC, _CGROUPS, own_bytes=resident_bytes())


def reachable_bytes(proc: Path, cgroups: Path, *, own_bytes: int) -> int | None:
    """The least of: free memory of the machine, and what each control group above this process has left.

    Args:
        proc: ``/proc``.
        cgroups: ``/sys/fs/cgroup``.
        own_bytes: What the process holds already; it may keep that.
    """
    free = _kilobytes(proc / "meminfo").get("MemAvailable")
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


def _kilobytes(path: Path) -> Mapping[str, int]:
    """The ``Name:  123 kB`` lines of a file of ``/proc``."""
    rows = (line.split() for line in _lines(path))
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
