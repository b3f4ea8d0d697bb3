"""A keeper process as the grading pool sees it: requests in, replies out, and the end of everything below it.

In: where the task comes from, limits. Out: a :class:`Keeper`, whose other end is :mod:`spiritsafe.tasks.grading.main`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from typing import Any, final

from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.children.pool import grader_environment
from spiritsafe.tasks.grading.worker import GraderLimits

_STARTUP_S = 180.0
"""Longest that building the task may take: importing a large library on a crowded machine."""
_GRACE_S = 30.0
"""What a keeper may take beyond its worker's two tries."""
_PARTING_S = 10.0
"""How long it may take to end its worker and itself."""


@final
class KeeperLost(Exception):
    """A keeper died, hung or could not be started."""


@final
class Keeper:
    """One keeper process.

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
        command = [sys.executable, "-m", "spiritsafe.tasks.grading.main", options]
        self._process = ChildProcess(command, env=grader_environment(), keep_stderr=False)

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
        try:
            is_read = self._process.send(line, (1 + num_before) * self._patience_s)
        except TimeoutError:
            raise KeeperLost("the keeper takes no requests") from None
        if not is_read:
            raise KeeperLost("the keeper died")

    def receive(self) -> dict[str, Any]:
        """The reply to the oldest request.

        Raises:
            KeeperLost: It died or hung.
        """
        reply = self._line(self._patience_s)
        self.num_served += 1
        return reply

    def _line(self, patience_s: float) -> dict[str, Any]:
        try:
            line = self._process.receive(patience_s)
        except TimeoutError:
            raise KeeperLost("the keeper hangs") from None
        if line is None:
            raise KeeperLost("the keeper died")
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise KeeperLost("the keeper wrote nonsense") from error
        return reply

    def close(self) -> None:
        """End it; it ends its worker first."""
        self._process.stop(0.0, term_wait_s=_PARTING_S)
        shutil.rmtree(self._scratch, ignore_errors=True)
