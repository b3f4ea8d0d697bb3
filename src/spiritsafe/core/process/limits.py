"""What a process may use: cores, limits that the kernel enforces, and what was used so far.

In: bytes and seconds. Out: soft limits of this process, which its children inherit. They are for processes that are
about to run foreign code; systems without such limits (Windows) start none.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # nothing below is reached there


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lower_limit(kind: int, value: int) -> None:
    """Lower a soft limit; platforms without it (macOS has no RLIMIT_AS that works) go on without."""
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def limit_memory(memory_bytes: int) -> None:
    """Limit the address space; and leave no image of it behind at a crash."""
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_AS, memory_bytes)


def limit_files(file_bytes: int) -> None:
    """Limit the size of any file that is written."""
    lower_limit(resource.RLIMIT_FSIZE, file_bytes)


def limit_cpu(cpu_s: float) -> None:
    """From here on, so many CPU seconds, whole ones: the kernel ends a busy loop even inside C code."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    lower_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + cpu_s))


def most_resident_bytes() -> int:
    """The largest resident set that this process ever had; 0 where nobody says."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
