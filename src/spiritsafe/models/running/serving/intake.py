"""What comes in: lines are read and jobs prepared beside the drawing of tokens, so that none of it waits for a prompt.

In: JSON lines. Out: a queue of what the loop that draws has to do. One thread reads lines; another, in their order,
makes tokens of prompts, which may take seconds. A cancelled job that it has not come to is not prepared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, final

from pydantic import ValidationError

from spiritsafe.core.errors import error_fields
from spiritsafe.core.process.json_lines import from_line
from spiritsafe.core.serving import Failed, Job
from spiritsafe.models.running.serving.preparation import PreparedJob

_CHUNK_BYTES = 1 << 18


@final
@dataclass(frozen=True)
class Order:
    """Something to do.

    Attributes:
        kind: "run": begin the prepared job, or say why not; "count": tell a number; "told": the line is of no use.
        job_id: Whose it is.
        what: The prepared job, the number, or what is to be told instead.
    """

    kind: Literal["run", "count", "cancel", "describe", "ping", "close", "told"]
    job_id: int = 0
    what: PreparedJob | Failed | int | str = ""


Prepare = Callable[[Job], PreparedJob | Failed]
Count = Callable[[Job], tuple[int, ...] | Failed]


def _read_job(value: Any) -> Job | Failed:
    try:
        return Job.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][:4]))
        words = f"{place}: {first['msg']}" if place else first["msg"]
        return Failed(
            fault="asker",
            message=f"The job is not understood: {words[:300]}.",
            hint="Mend this field.",
            param=place.partition(".")[0] or None,
            code="invalid",
        )


def _failure(error: Exception) -> Failed:
    fields = error_fields(error)
    return Failed(fault="model", message=fields["message"], hint=fields["hint"])


def lines_of(descriptor: int) -> Iterator[bytes]:
    """Lines of a pipe; what stands behind the last end of a line is none.

    Not through a buffered file: one that a thread waits in cannot be closed when the process ends.
    """
    begun: list[bytes] = []
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        first, *more = chunk.split(b"\n")
        begun.append(first)
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun = [more[-1]]


@final
class Intake:
    """Reads lines and prepares jobs; see the module. What it starts ends with its lines.

    Args:
        lines: Requests; their end is an order to close.
        prepare: A job to what is drawn.
        count: A job to its prompt's tokens.
    """

    def __init__(self, lines: Iterable[bytes], prepare: Prepare, count: Count) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self._lines = lines
        self._prepare = prepare
        self._count = count
        self._asked: SimpleQueue[tuple[Literal["run", "count", "ping"], int, Any] | None] = SimpleQueue()
        self._cancelled: set[int] = set()
        self._waiting: set[int] = set()

    def start(self) -> None:
        """Begin to read."""
        for work in (self._read, self._work):
            threading.Thread(target=work, daemon=True).start()

    def cancel(self, job_id: int) -> bool:
        """Forget a job that was not begun yet; False if it is not here."""
        if job_id in self._waiting:
            self._cancelled.add(job_id)
            return True
        return False

    def is_wanted(self, job_id: int) -> bool:
        """Whether an order that comes out still has an asker; to be asked once for each."""
        self._waiting.discard(job_id)
        if job_id in self._cancelled:
            self._cancelled.discard(job_id)
            return False
        return True

    # ---- the thread that reads

    def _read(self) -> None:
        for line in self._lines:
            if line.strip():
                self._sort(line)
        self._asked.put(None)
        self.orders.put(Order("close"))

    def _sort(self, line: bytes) -> None:
        try:
            request = from_line(line)
        except ValueError as error:
            self.orders.put(Order("told", what=f"The request is not JSON: {error}."))
            return
        operation = request.get("op") if isinstance(request, dict) else None
        job_id = request.get("id") if isinstance(request, dict) else None
        if operation in ("describe", "close"):
            self.orders.put(Order(operation))
        elif operation == "ping":  # through both threads, so that its answer says that neither hangs
            self._asked.put(("ping", 0, None))
        elif operation in ("run", "count", "cancel") and type(job_id) is int:
            if operation == "cancel":
                self.orders.put(Order("cancel", job_id))
            else:
                self._waiting.add(job_id)
                self._asked.put((operation, job_id, request.get("job")))
        else:
            self.orders.put(Order("told", what="The request is none of describe, run, count, cancel, ping and close."))

    # ---- the thread that prepares

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            kind, job_id, value = asked
            self.orders.put(Order(kind, job_id, self._answered(kind, job_id, value)))

    def _answered(self, kind: str, job_id: int, value: Any) -> PreparedJob | Failed | int:
        if kind == "ping" or job_id in self._cancelled:
            return 0
        try:
            job = _read_job(value)
            if isinstance(job, Failed):
                return job
            if kind == "run":
                return self._prepare(job)
            ids = self._count(job)
            return ids if isinstance(ids, Failed) else len(ids)
        except Exception as error:  # noqa: BLE001  # one job's failure is its own: the others go on
            return _failure(error)
