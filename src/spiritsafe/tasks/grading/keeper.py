"""A keeper process as the grading pool sees it: requests in, replies out, and the end of everything below it.

In: where the task comes from, limits. Out: a :class:`Keeper`, whose other end is :mod:`spiritsafe.tasks.grading.main`.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any, final

from spiritsafe.tasks.grading.worker import GraderLimits
from spiritsafe.tasks.sandbox.child_pool import grader_environment
from spiritsafe.tasks.sandbox.process_tree import descendants

_STARTUP_S = 180.0
"""Longest that building the task may take: importing a large library on a crowded machine."""
_GRACE_S = 30.0
"""What a keeper may take beyond its worker's two tries."""
_PARTING_S = 10.0
"""How long it may take to end its worker and itself."""
_CHUNK_BYTES = 1 << 16


@final
class KeeperLost(Exception):
    """A keeper died, hung or could not be started."""


@final
class Keeper:
    """One keeper process and its pipes.

    Args:
        source: Where the task comes from, for :func:`spiritsafe.tasks.registry.build_task`.
        limits: What one attempt may cost.

    Attributes:
        num_served: Replies that came.

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, source: str, limits: GraderLimits) -> None:
        self._scratch = tempfile.mkdtemp(prefix="spiritsafe-grader-")
        options = json.dumps({"source": source, "limits": limits.to_json(), "scratch": self._scratch})
        self.num_served = 0
        self._patience_s = 2 * limits.wall_s + _GRACE_S
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spiritsafe.tasks.grading.main", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=grader_environment(),
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:  # Popen opened both: PIPE was asked for
            raise KeeperLost("the keeper has no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)

    def first(self) -> dict[str, Any]:
        """What it says when the task is built, or cannot be.

        Raises:
            KeeperLost: Nothing, or nothing in time.
        """
        return self._line(_STARTUP_S)

    def send(self, line: bytes, *, num_before: int) -> None:
        """Hand over one request.

        Args:
            line: Problem and text as one line of JSON.
            num_before: Requests whose replies are still to come; it may have to wait for them.

        Raises:
            KeeperLost: It does not take it.
        """
        deadline = time.monotonic() + (1 + num_before) * self._patience_s
        while line:
            try:
                line = line[os.write(self._stdin.fileno(), line) :]
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([], [self._stdin], [], left)[1]:
                    raise KeeperLost("the keeper takes no requests") from None
            except OSError as error:
                raise KeeperLost("the keeper died") from error

    def receive(self) -> dict[str, Any]:
        """The reply to the oldest request.

        Raises:
            KeeperLost: It died or hung.
        """
        reply = self._line(self._patience_s)
        self.num_served += 1
        return reply

    def _line(self, patience_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                raise KeeperLost("the keeper hangs")
            chunk = os.read(self._stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                raise KeeperLost("the keeper died")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise KeeperLost("the keeper wrote nonsense") from error
        return reply

    def close(self) -> None:
        """End it; it ends its worker first."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(timeout=_PARTING_S)
        except subprocess.TimeoutExpired:
            orphans = descendants(self._process.pid)
            self._process.kill()
            for facts in orphans:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(facts.pid, signal.SIGKILL)
            self._process.wait()
        self._stdout.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
