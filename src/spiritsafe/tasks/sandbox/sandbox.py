"""The sandbox: foreign code in, results out, from any thread.

In: runs. Out: how they went. Behind it stands a pool of boxes, each with a warm interpreter; one that is lost is
replaced. A run whose box was lost is tried once more, since another one may have been to blame.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar, final

from spiritsafe.core.process.limits import usable_cores
from spiritsafe.tasks.sandbox.box import Box, BoxLost
from spiritsafe.tasks.sandbox.job import Run, RunResult
from spiritsafe.tasks.sandbox.layers import open_layer, strongest_layer
from spiritsafe.tasks.sandbox.walls import take_slot

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


@final
class SandboxFailure(Exception):
    """Nothing is known of a run: its sandbox failed, which is nobody's wrong answer.

    Args:
        reason: Why.
        hint: What to do about it; "": nothing is known that helps.
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


@final
class _Work:
    """Parts that are done side by side.

    Attributes:
        boxes: In use for them.
        is_over: They shall use no more.
    """

    def __init__(self) -> None:
        self.boxes: set[Box] = set()
        self.is_over = False


@final
class Sandbox:
    """Boxes of one layer; safe from any thread. Close it, or use it in a ``with`` statement.

    Args:
        num_boxes: Most runs at once; the usable cores when left out.
        layer: Its name; the strongest that there is here when left out.
        extra: More folders and files that can be read inside.

    Attributes:
        layer: What holds its runs.
        num_boxes: Most runs at once.

    Raises:
        SandboxMissingError: There is none here.
    """

    def __init__(self, *, num_boxes: int | None = None, layer: str | None = None, extra: tuple[str, ...] = ()) -> None:
        self.layer = layer or strongest_layer()
        self.num_boxes = num_boxes or usable_cores()
        self._extra = extra
        self._reset()

    def _reset(self) -> None:
        self._slots = threading.BoundedSemaphore(self.num_boxes)
        self._lock = threading.Lock()
        self._idle: list[Box] = []
        self._boxes: set[Box] = set()
        self._local = threading.local()

    def run(self, run: Run) -> RunResult:
        """One run.

        Raises:
            SandboxFailure: Its box was lost, and so was a new one.
        """
        return self._with_box(lambda box: box.run([run])[0])

    def run_pair(self, first: Run, second: Run) -> tuple[RunResult, RunResult]:
        """Two at once, in namespaces of their own; descriptor 3 of each is a socket to the other.

        Raises:
            SandboxFailure: As above.
        """

        def both(box: Box) -> tuple[RunResult, RunResult]:
            one, other = box.run([first, second])
            return one, other

        return self._with_box(both)

    def map(self, use: Callable[[_Part], _Result], parts: Sequence[_Part]) -> list[_Result]:
        """What is made of each part, as many at once as there are boxes; Ctrl-C ends the runs of all of them.

        Raises:
            SandboxFailure: As above.
        """
        work = _Work()
        works = (work, *getattr(self._local, "works", ()))  # a part may have parts of its own

        def use_here(part: _Part) -> _Result:
            self._local.works = works
            return use(part)

        with ThreadPoolExecutor(max(1, min(self.num_boxes, len(parts)))) as threads:
            try:
                return list(threads.map(use_here, parts))
            except Exception:
                raise  # the others come to their end
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                with self._lock:
                    work.is_over = True
                    for box in work.boxes:
                        box.interrupt()
                raise

    def _with_box(self, use: Callable[[Box], _Result]) -> _Result:
        with self._slots:
            for is_last in (False, True):
                try:
                    box = self._take()
                except BoxLost as error:
                    raise SandboxFailure(str(error), hint=error.hint) from None
                except OSError as error:
                    raise SandboxFailure(str(error)) from None
                try:
                    result = use(box)
                except BaseException as error:
                    self._drop(box)
                    if isinstance(error, BoxLost | OSError):
                        if is_last:
                            raise SandboxFailure(str(error)) from None
                        continue
                    raise
                with self._lock:
                    self._idle.append(box)
                    for work in getattr(self._local, "works", ()):
                        work.boxes.discard(box)
                return result
        raise AssertionError("never reached")

    def _take(self) -> Box:
        box = self._idle_box() or open_layer(self.layer, take_slot(), self._extra)
        works = getattr(self._local, "works", ())
        with self._lock:
            self._boxes.add(box)
            if not any(work.is_over for work in works):
                for work in works:
                    work.boxes.add(box)
                return box
            self._idle.append(box)
        raise BoxLost("the work was interrupted")

    def _idle_box(self) -> Box | None:
        with self._lock:
            while self._idle:
                box = self._idle.pop()
                if not box.has_ended:
                    return box
                self._boxes.remove(box)
                box.close()
        return None

    def _drop(self, box: Box) -> None:
        box.close()
        with self._lock:
            self._boxes.discard(box)
            for work in getattr(self._local, "works", ()):
                work.boxes.discard(box)

    def close(self) -> None:
        """End the boxes that are idle; a later run starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for box in idle:
            self._drop(box)

    def forget(self) -> None:
        """Let go of the boxes without ending them: they belong to the process that forked this one."""
        for box in self._boxes:
            box.forget()
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


_shared: list[Sandbox] = []
_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """That of all tasks of this process; it ends with the process.

    Raises:
        SandboxMissingError: There is none here.
    """
    with _lock:
        if not _shared:
            _shared.append(Sandbox())
        return _shared[0]


def _close() -> None:
    for sandbox in _shared:
        sandbox.close()


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    for sandbox in _shared:
        sandbox.forget()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
