"""Events: what a long step tells its watcher while it works.

A step takes an :class:`EventSink` and calls ``progress`` and ``metrics``. The pipeline writes metrics to
``events.jsonl`` and draws progress in the terminal; a library user passes nothing and hears nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol, final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.files.json_lines import append_line


class EventSink(Protocol):
    """Where a long step reports to."""

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """``done`` of ``total`` units are finished (total None: unknown)."""
        ...

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """One record worth keeping: a training step, a stage's end, a warning."""
        ...


@final
class NullSink:
    """Hears nothing."""

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Do nothing."""

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """Do nothing."""


@final
class EventLog:
    """Appends metrics to a JSON-lines file; passes both kinds on to another sink."""

    def __init__(self, path: Path, *, stage: str, forward: EventSink | None = None) -> None:
        self._path = path
        self._stage = stage
        self._forward = forward or NullSink()

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Pass on; progress is not kept."""
        self._forward.progress(done, total, unit, note)

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """Append ``{time, stage, kind, **values}`` and pass on."""
        append_line(self._path, {"time": round(time.time(), 3), "stage": self._stage, "kind": kind, **values})
        self._forward.metrics(kind, values)
