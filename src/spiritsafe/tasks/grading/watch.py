"""A forked grading process, watched: time, bytes printed, memory and number of processes.

In: a task that is built, limits, request lines. Out: the worker's replies, or a :class:`WorkerLost` that says what it
did. For :mod:`spiritsafe.tasks.grading.main` only: whoever uses it gives its own descendants over to be killed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any, final

from spiritsafe.core.process.process_tree import (
    adopt_orphans,
    descendants,
    end_descendants,
    end_with_parent,
    process_facts,
    reap,
)
from spiritsafe.tasks.grading.worker import MAX_REPLY_BYTES, GraderLimits, serve_grades
from spiritsafe.tasks.task import Task

_MAX_PROCESSES = 64
"""Processes that one attempt may have at a time."""
_FIRST_LOOK_S, _LAST_LOOK_S = 0.05, 0.5
"""How soon a worker's processes are looked at, and how often at least: quick verdicts are never looked at."""
_DEATH_S = 1.0
"""How long to wait for the exit code of a worker whose replies have ended."""
_CHUNK_BYTES = 1 << 16
_NONSENSE = "it wrote into the pipe of verdicts"


@final
class WorkerLost(Exception):
    """The worker must go; the attempt has no verdict, unless a fresh worker finds one.

    Attributes:
        final: Do not try a fresh worker.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _become_worker(keeper: int, output: int, scratch: str) -> None:
    """What a forked process does before it grades."""
    os.setsid()
    end_with_parent(keeper)
    adopt_orphans()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # what tempfile makes is gone with the worker, however it ends
    os.environ["TMPDIR"] = tempfile.tempdir = scratch


@final
class WatchedWorker:
    """A forked grading process and its three pipes.

    Args:
        task: Whose verifier judges.
        limits: What an attempt may cost.
        scratch: Directory under which it gets one of its own for temporary files, gone when it is.
        private: File descriptors of this process that the worker must not have.
        helpers: Processes that the task itself has started; they are not the worker's.
    """

    def __init__(
        self, task: Task, limits: GraderLimits, *, scratch: str, private: tuple[int, ...], helpers: frozenset[int]
    ) -> None:
        self.num_served = 0
        self._limits = limits
        self._helpers = helpers
        self._parent = os.getppid()
        self._code: int | None = None
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self._output, output = os.pipe()
        self._scratch = tempfile.mkdtemp(dir=scratch)
        facts = process_facts(os.getpid())
        self._shared_bytes = facts.resident_bytes if facts else 0
        keeper = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                for descriptor in (*private, self._requests, self._replies, self._output):
                    os.close(descriptor)
                _become_worker(keeper, output, self._scratch)
                serve_grades(task, limits, requests, replies)
            finally:
                os._exit(0)
        for descriptor in (requests, replies, output):
            os.close(descriptor)
        for descriptor in (self._requests, self._output):
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)

    def ask(self, line: bytes) -> dict[str, Any]:
        """The worker's reply to one request.

        Raises:
            WorkerLost: There is none, or it came with a breach of the limits.
        """
        started = time.monotonic()
        deadline, look_at = started + self._limits.wall_s, started + _FIRST_LOOK_S
        received, num_printed = b"", 0
        unsent = self._send(memoryview(line))
        while not received.endswith(b"\n"):
            now = time.monotonic()
            if now >= deadline:
                raise WorkerLost(f"no verdict within {self._limits.wall_s:g} s", final=True)
            if now >= look_at:
                self._look()
                look_at = now + min(_LAST_LOOK_S, now - started)
            events = dict(self._poll.poll(1000 * max(0.001, min(deadline, look_at) - now)))
            if unsent and self._requests in events:
                unsent = self._send(unsent)
            if self._output in events:
                num_printed = self._drain(num_printed)
            if self._replies in events:
                received += self._receive(len(received))
        self._drain(num_printed)
        return self._read(received)

    def _send(self, unsent: memoryview) -> memoryview:
        """Write what the pipe takes; what is left."""
        try:
            unsent = unsent[os.write(self._requests, unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            unsent = unsent[:0]  # it does not read any more; its death is found where its reply is awaited
        if unsent:
            self._poll.register(self._requests, select.POLLOUT)
        else:
            with suppress(KeyError):
                self._poll.unregister(self._requests)
        return unsent

    def _receive(self, num_received: int) -> bytes:
        chunk = os.read(self._replies, _CHUNK_BYTES)
        if not chunk:
            deadline = time.monotonic() + _DEATH_S
            while self._lives() and time.monotonic() < deadline:
                time.sleep(0.001)
            raise self._death()
        if num_received + len(chunk) > MAX_REPLY_BYTES:
            raise WorkerLost(_NONSENSE)
        return chunk

    def _drain(self, num_printed: int) -> int:
        """Throw away what was printed since; how much it is by now."""
        try:
            while chunk := os.read(self._output, _CHUNK_BYTES):
                num_printed += len(chunk)
                if num_printed > self._limits.output_bytes:
                    raise WorkerLost(f"it printed more than {self._limits.output_bytes} bytes")
        except BlockingIOError:
            return num_printed
        with suppress(KeyError):
            self._poll.unregister(self._output)  # it has closed stdout and stderr
        return num_printed

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WorkerLost(_NONSENSE) from error
        if (
            not isinstance(reply, dict)
            or reply.get("item") != self.num_served
            or not reply.keys() & {"verdict", "raised"}
        ):
            raise WorkerLost(_NONSENSE)
        if reply.get("left"):
            raise WorkerLost("it left processes running")
        self.num_served += 1
        return reply

    def _look(self) -> None:
        """Is the worker alive, are its processes few and small, and is there still somebody to grade for?"""
        if os.getppid() != self._parent:
            sys.exit(0)
        if not self._lives():
            raise self._death()
        others = self._helpers | {facts.pid for pid in self._helpers for facts in descendants(pid)}
        own = [facts for facts in descendants(os.getpid()) if not facts.ended and facts.pid not in others]
        if len(own) > _MAX_PROCESSES:
            raise WorkerLost(f"it started more than {_MAX_PROCESSES} processes")
        held = sum(max(0, facts.resident_bytes - self._shared_bytes) for facts in own)
        if held > self._limits.memory_bytes:
            raise WorkerLost("its processes together reached the memory limit")

    def _lives(self) -> bool:
        self._code = reap()[0].get(self.pid, self._code)
        return self._code is None

    def _death(self) -> WorkerLost:
        if self._code is None:
            return WorkerLost("it closed the pipe of verdicts")
        if self._code == -signal.SIGXCPU:
            return WorkerLost(f"the limit of {self._limits.cpu_s:g} CPU seconds was reached", final=True)
        how = f"was ended by {signal.Signals(-self._code).name}" if self._code < 0 else f"ended with code {self._code}"
        return WorkerLost(f"its process {how}")

    def end(self) -> None:
        """Kill it with everything that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # where there is no /proc, this is all that can be done
        end_descendants(spare=self._helpers)
        for descriptor in (self._requests, self._replies, self._output):
            os.close(descriptor)
        shutil.rmtree(self._scratch, ignore_errors=True)
