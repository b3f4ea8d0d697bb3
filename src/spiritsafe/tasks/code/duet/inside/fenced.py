"""A forked process that can leave nothing behind: no process, no file, no open descriptor of the one that forked it.

In: what it shall do. Out: how it ended, and what it said. So that code which is run many times finds no trace of the
times before.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
from collections.abc import Callable
from typing import Any


def fork_fenced(
    work: Callable[[], None], *, keep: tuple[int, ...], cpu_s: float, wall_s: float, file_bytes: int = 0
) -> int:
    """Fork a process that does the work and ends; its number.

    Args:
        work: What it does.
        keep: Descriptors that it keeps; all others are closed, and the first three lead nowhere.
        cpu_s: Seconds that it may compute.
        wall_s: Seconds until it has ended. One that ignores the signal of its end is ended with the whole run.
        file_bytes: Of any file that it writes.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for place in (0, 1, 2):
            os.dup2(nowhere, place)
        kept = [2, *sorted(keep), 1 << 12]
        for place in range(1, len(kept)):
            os.closerange(kept[place - 1] + 1, kept[place])
        bounds = ((resource.RLIMIT_NPROC, 0), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0))
        for kind, value in bounds:
            resource.setrlimit(kind, (value, value))
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        seconds = math.ceil(cpu_s) + 1
        hard = seconds + 1 if most == resource.RLIM_INFINITY else min(most, seconds + 1)
        resource.setrlimit(resource.RLIMIT_CPU, (min(seconds, hard), hard))
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        signal.setitimer(signal.ITIMER_REAL, wall_s)
        work()
    finally:
        os._exit(0)


def wait_for(pid: int) -> tuple[int, float]:
    """How it ended: its code, negative for a signal; and the seconds that it computed."""
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def read_messages(descriptor: int, most_bytes: int) -> list[dict[str, Any]]:
    """What it said, objects of JSON, one a line; as far as they make sense, and no more than about so many bytes."""
    data = bytearray()
    while len(data) < most_bytes and (part := os.read(descriptor, 1 << 16)):
        data += part
    os.close(descriptor)
    messages = []
    for line in bytes(data).splitlines():
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(message, dict):
            break
        messages.append(message)
    return messages
