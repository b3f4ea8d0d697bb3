"""Handlers that misbehave on purpose: what the audit injects to prove that a broken verifier breaks nobody else.

Each is a handler factory for :mod:`spiritsafe.core.process.children.pool`; the payload is ignored, except by
"none", the control, which gives it back.
"""

from __future__ import annotations

import os
import time
from typing import Any, Literal, final

from spiritsafe.core.process.children.pool import ChildPool, Handler
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks.task import Verifier

Fault = Literal["none", "hang", "spin", "crash", "raise", "hog"]


@final
class FaultyHandler:
    """Hangs asleep, spins, dies, raises, eats memory, or behaves."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def __call__(self, payload: Any) -> Any:
        """Misbehave."""
        match self._fault:
            case "none":
                return payload
            case "hang":
                time.sleep(3600)
            case "spin":
                while True:
                    pass
            case "crash":
                os._exit(3)
            case "hog":
                return len(bytearray(1 << 44))
            case "raise":
                raise RuntimeError("injected")


@final
class FaultyVerifier(Verifier):
    """A verifier whose judging misbehaves in its child process."""

    name = "faulty"
    version = "1"
    isolated = True

    def __init__(self, fault: Fault, pool: ChildPool) -> None:
        self._handler = Handler("spiritsafe.tasks.grading.faults", "FaultyHandler", {"fault": fault})
        self._pool = pool

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Gets to a verdict only without a fault."""
        self._pool.call(self._handler, None)
        return self.verdict("wrong")
