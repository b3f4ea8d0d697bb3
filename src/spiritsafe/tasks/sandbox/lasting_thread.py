"""Processes started from a thread that lasts as long as this process does.

In: a command. Out: its process. The kernel takes the end of the thread that started a process for the end of its
parent (prctl(2), PR_SET_PDEATHSIG): a sandbox, which ends with its parent, would end with the thread that asked for it.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

_Job = tuple[Future[subprocess.Popen[bytes]], Callable[[], subprocess.Popen[bytes]]]
_waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
_threads: list[threading.Thread] = []
_lock = threading.Lock()


def start_lasting(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process; options are those of :class:`subprocess.Popen`.

    Raises:
        OSError: It cannot be started.
    """
    with _lock:
        if not _threads:
            _threads.append(threading.Thread(target=_work, args=(_waiting,), name="starts-sandboxes", daemon=True))
            _threads[0].start()
    started: Future[subprocess.Popen[bytes]] = Future()
    _waiting.put((started, lambda: subprocess.Popen(command, **options)))
    return started.result()


def _work(waiting: queue.SimpleQueue[_Job]) -> None:
    while True:
        started, start = waiting.get()
        try:
            started.set_result(start())
        except BaseException as error:  # noqa: BLE001  it belongs to the thread that asked
            started.set_exception(error)


def _forget() -> None:
    """A forked process has no thread but the one that forked it."""
    global _lock, _waiting
    _lock, _waiting = threading.Lock(), queue.SimpleQueue()
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
