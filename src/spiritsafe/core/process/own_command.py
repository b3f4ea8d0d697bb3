"""Another command of this program, in a process of its own.

In: its arguments. Out: what it says, line by line; what it tells of its progress goes to an event sink, and an error of
it is raised here as if it had happened here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from spiritsafe.core import errors
from spiritsafe.core.errors import ProcedureError, SpiritsafeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.torchrun import without_torchrun

_PROGRAM = ("-m", "spiritsafe")


def call_command(arguments: Sequence[str], *, events: EventSink) -> list[str]:
    """Run ``spiritsafe ARGUMENTS`` to its end.

    Returns:
        The lines that it printed.

    Raises:
        SpiritsafeError: It failed; the class and the text are those of the process's own error.
    """
    failure: dict[str, Any] | None = None
    said: list[str] = []
    process = ChildProcess(
        [sys.executable, *_PROGRAM, *arguments],
        env={**without_torchrun(os.environ), "SPIRITSAFE_PROGRESS": "json"},
        own_group=False,  # Ctrl-C is for both
    )
    try:
        while (line := process.receive(None)) is not None:
            event = _event(line)
            if event is None:
                said.append(line.decode("utf-8", "surrogateescape").rstrip("\n"))
            elif event["kind"] == "progress":
                events.progress(event["done"], event["total"], event["unit"], event["note"])
            elif event["kind"] == "error":
                failure = event
            else:
                events.metrics(event["kind"], event["values"])
        code = process.exit_status(None)
    finally:
        process.stop(0.0, term_wait_s=None)  # interrupted: the child must not go on alone
    if code:
        raise _error_of(failure, code, " ".join(arguments[:2]), process.stderr_tail())
    return said


def _event(line: bytes) -> dict[str, Any] | None:
    """What a line tells as JSON; None: it is no such line."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("kind"), str) else None


def _error_of(failure: dict[str, Any] | None, code: int, what: str, tail: str) -> SpiritsafeError:
    if failure is not None:
        kind = getattr(errors, failure["type"], ProcedureError)
        if isinstance(kind, type) and issubclass(kind, SpiritsafeError):
            return kind(failure["message"], hint=failure["hint"])
    return ProcedureError(
        f"The process `spiritsafe {what}` ended with exit code {code}: {tail.strip()[-800:]}",
        hint="Run the same command again.",
    )
