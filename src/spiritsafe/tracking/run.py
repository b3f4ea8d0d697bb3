"""Tracking of one run: its curves, as the event log has them, go to the trackers that the user asked for.

In: the records that stages tell their event sink. Out: :class:`Points` to each tracker, in a thread of its own, so that
no tracker can stop or slow the run: a first fault is told in one warning, then the tracker hears no more. The reason,
which is a stranger's text and might quote an address with a password in it, is shown and not kept.
"""

from __future__ import annotations

import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventLog, EventSink
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, tracker_of

_AXES = {"train_step": ("step", ""), "reinforce_round": ("round", "/round"), "on_policy_round": ("round", "/round")}
"""Kinds of events that are points of curves: the key that counts them, and what is put behind the stage's name."""

_MOST_WAITING = 50_000
"""Points that may wait for a tracker."""

_CLOSE_S = 30.0
"""What a run that is over waits for its trackers, all together."""

_MOST_REASON = 300
_SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_USER_OF_URL = re.compile(r"://[^/\s@]+@")
_LEAST_SECRET = 6


def points_of(stage: str, kind: str, values: Mapping[str, JSON]) -> Points | None:
    """The numbers of an event that is a point of curves; None: it is none.

    A table inside, as the evaluation of a training step, gives its keys behind its name.
    """
    if kind not in _AXES:
        return None
    key, behind = _AXES[kind]
    step = values.get(key)
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    axis = stage + behind
    found = dict(_numbers(axis, {name: value for name, value in values.items() if name != key}))
    return Points(axis=axis, step=step, values=found, time=time.time()) if found else None


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _numbers(f"{name}/{key}", inside)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)


@final
class Tracking:
    """The trackers of one run, open while the block runs.

    Args:
        names: Trackers; none is fine.
        log: The run's event log.
        watcher: Is told of a tracker that ended.
        close_s: Seconds that the block's end waits for all of them together.

    Raises:
        CompatibilityError: The library of one is not installed.
    """

    def __init__(
        self, names: Sequence[str], run: TrackedRun, *, log: EventLog, watcher: EventSink, close_s: float = _CLOSE_S
    ) -> None:
        self._feeders = [_Feeder(name, tracker_of(name), run) for name in names]
        self._log = log
        self._watcher = watcher
        self._close_s = close_s

    def __enter__(self) -> Tracking:
        """Open them; nobody waits for it."""
        for feeder in self._feeders:
            feeder.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Wait a while until what they were given is kept."""
        until = time.monotonic() + self._close_s
        for feeder in self._feeders:
            feeder.end()
        for feeder in self._feeders:
            feeder.wait(max(0.0, until - time.monotonic()))
        self._tell()

    def heard(self, stage: str, forward: EventSink) -> EventSink:
        """A sink of one stage's events that passes all on and gives points to the trackers."""
        return _Heard(stage, forward, self._take) if self._feeders else forward

    def _take(self, points: Points) -> None:
        for feeder in self._feeders:
            feeder.put(points)
        self._tell()

    def _tell(self) -> None:
        for feeder in self._feeders:
            if (failure := feeder.failure) is None or feeder.is_told:
                continue
            feeder.is_told = True
            said = f"The tracker {feeder.name} gets no more of this run"
            self._log.metrics("warning", {"message": f"{said} ({failure[0]}); the run goes on."})
            self._watcher.metrics("warning", {"message": f"{said}: {failure[1]} The run goes on."})


@final
class _Heard:
    def __init__(self, stage: str, forward: EventSink, take: Callable[[Points], None]) -> None:
        self._stage = stage
        self._forward = forward
        self._take = take

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self._forward.progress(done, total, unit, note)

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        self._forward.metrics(kind, values)
        if (points := points_of(self._stage, kind, values)) is not None:
            self._take(points)


@final
class _Feeder:
    """One tracker and its thread.

    Attributes:
        failure: The kind of its first fault, and the reason; None: none so far.
        is_told: Whether the user knows.
    """

    def __init__(self, name: str, tracker: type[Tracker], run: TrackedRun) -> None:
        self.name = name
        self.failure: tuple[str, str] | None = None
        self.is_told = False
        self._tracker = tracker
        self._run = run
        self._waiting: queue.SimpleQueue[Points | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, points: Points) -> None:
        if self.failure is not None:
            return
        if self._waiting.qsize() >= _MOST_WAITING:
            self._fail("too slow", f"{_MOST_WAITING:,} points wait for it already.")
            return
        self._waiting.put(points)

    def end(self) -> None:
        self._waiting.put(None)

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._fail("too slow", "it had not kept all when the time for that was over.")

    def _fail(self, kind: str, reason: str) -> None:
        if self.failure is None:
            self.failure = kind, reason

    def _work(self) -> None:
        try:
            tracker = self._tracker(self._run)
            while points := self._next():
                if self.failure is None:
                    tracker.log([one for one in points if one is not None])
                if points[-1] is None:
                    break
            tracker.close()
        except BaseException as error:  # noqa: BLE001  the boundary to a library that may raise or exit as it likes
            self._fail(type(error).__name__, _without_secrets(f"{type(error).__name__}: {error}"))

    def _next(self) -> list[Points | None]:
        """What came since the last time, at least one; None is the end."""
        found = [self._waiting.get()]
        while found[-1] is not None and not self._waiting.empty():
            found.append(self._waiting.get())
        return found


def _without_secrets(text: str) -> str:
    """One line of a stranger's message; values of the environment's keys, and users of addresses, are blotted out."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _LEAST_SECRET:
            text = text.replace(value, "***")
    return one_line(_USER_OF_URL.sub("://***@", text))[:_MOST_REASON]
