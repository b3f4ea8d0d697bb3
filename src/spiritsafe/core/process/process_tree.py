"""Trees of processes: how to keep hold of everything that a piece of foreign code starts, and how to end it.

In: this process. Out: orphans that stay its descendants, a count of what lives below it, and an end to all of it.
On Linux an orphan goes to its nearest ancestor that asked for orphans (``PR_SET_CHILD_SUBREAPER``), so that neither
``setsid`` nor a double fork leads out of the tree. Elsewhere there is no such thing: there a tree is what the
process group holds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import final

import psutil

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)
_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


@final
@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One line of the process table.

    Attributes:
        resident_bytes: Memory that it holds, shared pages included.
        address_bytes: Size of its address space, which is what ``RLIMIT_AS`` limits.
        ended: It is a zombie: it has ended, and nobody asked yet how.
    """

    pid: int
    parent: int
    group: int
    resident_bytes: int
    address_bytes: int
    ended: bool


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """From here on, orphans below this process become its children instead of init's."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Args:
        parent: Number of the parent, which may have ended already. It must have forked in its main thread: the kernel
            looks at the thread.
    """
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def process_facts(pid: int) -> ProcessFacts | None:
    """What the process table says of one process; None when there is no such process."""
    with suppress(psutil.Error):
        return _facts(psutil.Process(pid))
    return None


def _facts(process: psutil.Process) -> ProcessFacts | None:
    with suppress(psutil.Error, OSError), process.oneshot():  # it may end while it is asked
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        memory = None if ended else process.memory_info()
        return ProcessFacts(
            pid=process.pid,
            parent=process.ppid(),
            group=os.getpgid(process.pid),
            resident_bytes=memory.rss if memory else 0,
            address_bytes=memory.vms if memory else 0,
            ended=ended,
        )
    return None


def descendants(ancestor: int) -> list[ProcessFacts]:
    """All processes below ``ancestor``, zombies included."""
    with suppress(psutil.Error):
        below = psutil.Process(ancestor).children(recursive=True)
        return [facts for process in below if (facts := _facts(process))]
    return []


def reap() -> tuple[dict[int, int], bool]:
    """Collect the children that have ended.

    Returns:
        Their exit codes, negative for a signal as ``subprocess`` writes them; and whether other children live.
    """
    codes: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes, False
        if not pid:
            return codes, True
        codes[pid] = os.waitstatus_to_exitcode(status)


def end_descendants(*, spare: Collection[int] = (), patience_s: float = 5.0) -> dict[int, int]:
    """Kill all descendants of this process, those that they start meanwhile too; it must have adopted orphans.

    Process groups are killed as a whole where that is possible: the kernel does that at one stroke, so that none can
    slip away by forking. One that founds a new group each time it forks can.

    Args:
        spare: Numbers of those to let live, with what is below them.
        patience_s: How long to go on when some do not die.

    Returns:
        Exit codes of those that were children or became so.
    """
    codes: dict[int, int] = {}
    deadline = time.monotonic() + patience_s
    while True:
        spared = set(spare) | {facts.pid for pid in spare for facts in descendants(pid)}
        everybody = descendants(os.getpid())
        # zombies too: of one that forks and ends all the time, they are what the table shows of its group
        doomed = [facts for facts in everybody if facts.pid not in spared]
        codes |= reap()[0]
        if not doomed or time.monotonic() > deadline:
            return codes
        mixed = {os.getpgrp(), *(facts.group for facts in everybody if facts.pid in spared)}
        for group in {facts.group for facts in doomed} - mixed:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for facts in doomed:
            if facts.group in mixed and not facts.ended:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(facts.pid, signal.SIGKILL)
        time.sleep(0.001)
