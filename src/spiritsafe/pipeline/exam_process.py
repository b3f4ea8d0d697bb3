"""The safe as its own process: this program called as ``spiritsafe exam …``.

Training code never holds an examiner's key and never imports the exam room; it starts a process that does, and reads
the certificates that come out. Progress comes back as JSON lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque

from spiritsafe.core import errors
from spiritsafe.core.errors import ProcedureError, SpiritsafeError
from spiritsafe.core.events import EventSink

__all__ = ["call_exam"]

_TAIL_LINES = 20


def call_exam(arguments: list[str], *, events: EventSink) -> None:
    """Run ``spiritsafe exam ARGUMENTS`` to its end.

    Raises:
        SpiritsafeError: It failed; the class and the text are those of the process's own error.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    failure: dict[str, str] | None = None
    with subprocess.Popen(
        [sys.executable, "-m", "spiritsafe", "exam", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SPIRITSAFE_PROGRESS": "json"},
    ) as process:
        reader = threading.Thread(target=lambda: tail.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            for line in process.stdout or ():
                failure = _forward(line, events) or failure
        except BaseException:
            process.terminate()  # interrupted: the child must not go on alone
            raise
        reader.join()
        code = process.wait()
    if code != 0:
        raise _error_of(failure, code, arguments[0], "".join(tail))


def _forward(line: str, events: EventSink) -> dict[str, str] | None:
    """Pass one line on; an error record is returned."""
    try:
        value = json.loads(line)
        kind = value["kind"]
    except (ValueError, TypeError, KeyError):
        return None  # something a library printed
    if kind == "progress":
        events.progress(value["done"], value["total"], value["unit"], value["note"])
    elif kind == "error":
        return {str(key): str(text) for key, text in value.items()}
    else:
        events.metrics(kind, value["values"])
    return None


def _error_of(failure: dict[str, str] | None, code: int, what: str, tail: str) -> SpiritsafeError:
    if failure is not None:
        kind = getattr(errors, failure["type"], ProcedureError)
        if isinstance(kind, type) and issubclass(kind, SpiritsafeError):
            return kind(failure["message"], hint=failure["hint"])
    return ProcedureError(
        f"The process `spiritsafe exam {what}` ended with exit code {code}: {tail.strip()[-800:]}",
        hint="Run the same command again; the sitting goes on where it stopped.",
    )
