"""The loop that draws: orders are taken between two steps, and what a step gave to all jobs is told in one line.

In: orders, a session. Out: lines ``{"events":[[id,"piece",{…}],…]}``. A fault in one job is that job's alone. While
nothing is drawn it waits for the next order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty
from typing import Any, BinaryIO, final

from spiritsafe.core.errors import error_fields
from spiritsafe.core.process.json_lines import to_line
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error
from spiritsafe.core.serving import Failed, ServedModel
from spiritsafe.models.running.engine.request import Drawn, Session
from spiritsafe.models.running.serving.intake import Intake, Order
from spiritsafe.models.running.serving.preparation import PreparedJob
from spiritsafe.models.running.serving.running import Event, RunningJob

_MOST_BROKEN_STEPS = 3
"""In a row: what fails so often does not get well again in this process."""

_TOGETHER_SECONDS = 0.005
"""That the first job waits where nothing was drawn: prompts that come at once are computed at once, for less."""


def _told(error: Exception) -> Event:
    fields = error_fields(memory_error(error) if is_out_of_memory(error) else error)
    return "failed", {"fault": "model", "message": fields["message"], "hint": fields["hint"]}


@final
@dataclass(frozen=True)
class _Scoring:
    """A job whose prompt is scored, a part between two steps, before anything is drawn for it."""

    prepared: PreparedJob
    job: RunningJob
    parts: Iterator[Drawn]


@final
class ServingLoop:
    """Answers jobs; see the module.

    Args:
        open_session: Gives what draws; asked for a new one where one has failed.
        described: What is told of the model.
        intake: Where orders come from.
        run: Makes a running job of a prepared one.
        replies: Where lines go.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        described: ServedModel,
        intake: Intake,
        run: Callable[[PreparedJob], RunningJob],
        replies: BinaryIO,
    ) -> None:
        self._open_session = open_session
        self._session = open_session()
        self._described = described
        self._intake = intake
        self._run_job = run
        self._replies = replies
        self._scoring: dict[int, _Scoring] = {}
        self._running: dict[int, tuple[int, RunningJob]] = {}
        self._handles: dict[int, int] = {}
        self._events: list[tuple[int, str, Mapping[str, Any]]] = []
        self._num_broken = 0

    def run(self) -> None:
        """Answer until an order to close.

        Raises:
            Exception: What steps raised three times in a row.
        """
        while self._take_orders():
            if self._running:
                self._step()
            if self._scoring:
                self._score_more()
            self._flush()

    # ---- orders

    def _take_orders(self) -> bool:
        """All that wait; one at least while there is nothing else to do. False: it is time to close."""
        while True:
            is_idle = not (self._running or self._scoring or self._events)
            try:
                order = self._intake.orders.get(block=is_idle)
            except Empty:
                return True
            if order.kind == "close":
                return False
            self._take(order)
            if is_idle and self._running:
                time.sleep(_TOGETHER_SECONDS)

    def _take(self, order: Order) -> None:
        if order.kind == "describe":
            self._write({"described": self._described.to_json()})
        elif order.kind == "ping":
            self._live()
        elif order.kind == "told":
            self._write({"error": {"type": "IntegrityError", "message": order.what, "hint": "Send one of these."}})
        elif order.kind == "cancel":
            if not self._intake.cancel(order.job_id):
                self._drop(order.job_id)
        elif self._intake.is_wanted(order.job_id):
            if isinstance(order.what, Failed):
                self._tell(order.job_id, [("failed", order.what.model_dump(mode="json"))])
            elif isinstance(order.what, PreparedJob):
                self._begin(order.job_id, order.what)
            else:
                self._tell(order.job_id, [("count", {"num_tokens": order.what})])

    def _begin(self, job_id: int, prepared: PreparedJob) -> None:
        try:
            job, asked = self._run_job(prepared), prepared.job
            if asked.echo and asked.top_logprobs is not None:
                parts = self._session.score(prepared.prompt_ids, asked.top_logprobs)
                self._scoring[job_id] = _Scoring(prepared, job, parts)
            else:
                self._draw(job_id, prepared, job)
        except Exception as error:  # noqa: BLE001  # one job's failure is its own
            self._tell(job_id, [_told(error)])

    def _draw(self, job_id: int, prepared: PreparedJob, job: RunningJob) -> None:
        if prepared.request is None:
            self._tell(job_id, job.close())
        else:
            handle = self._session.submit(prepared.request)
            self._running[job_id] = (handle, job)
            self._handles[handle] = job_id

    def _drop(self, job_id: int) -> None:
        """Forget a job that is scored or drawn, if it still is."""
        self._scoring.pop(job_id, None)
        if job_id in self._running:
            handle, _ = self._running.pop(job_id)
            del self._handles[handle]
            self._session.cancel(handle)

    # ---- steps

    def _score_more(self) -> None:
        """Compute a part of the prompt that came first of those that are scored; behind its last part it is drawn."""
        job_id, scoring = next(iter(self._scoring.items()))
        try:
            part = next(scoring.parts, None)
            if part is not None:
                scoring.job.scored.append(part)
                return
            self._drop(job_id)
            self._draw(job_id, scoring.prepared, scoring.job)
        except Exception as error:  # noqa: BLE001  # one job's failure is its own
            self._drop(job_id)
            self._tell(job_id, [_told(error)])
            if not self._running and not self._scoring:  # what computes may have ended; no step would find out
                self._session = self._open_session()

    def _step(self) -> None:
        try:
            drawn = self._session.step()
        except Exception as error:  # the process boundary: all who wait are told
            self._num_broken += 1
            for failed in [*self._running, *self._scoring]:
                self._drop(failed)
                self._tell(failed, [_told(error)])
            if self._num_broken == _MOST_BROKEN_STEPS:
                self._flush()
                raise
            self._session = self._open_session()
            return
        self._num_broken = 0
        for one in drawn:
            job_id = self._handles.get(one.handle)
            if job_id is None:
                continue
            job = self._running[job_id][1]
            try:
                self._tell(job_id, job.take(one))
            except Exception as error:  # noqa: BLE001  # one job's failure is its own
                self._drop(job_id)
                self._tell(job_id, [_told(error)])
            else:
                if job.is_over:
                    self._drop(job_id)

    # ---- telling

    def _live(self) -> None:
        """Whoever waits may wait on: this does not hang."""
        self._write({"pong": True})

    def _tell(self, job_id: int, events: Iterable[Event]) -> None:
        self._events += [(job_id, name, value) for name, value in events]

    def _flush(self) -> None:
        if self._events:
            self._write({"events": self._events})
            self._events = []

    def _write(self, reply: Mapping[str, Any]) -> None:
        self._replies.write(to_line(reply))
        self._replies.flush()
