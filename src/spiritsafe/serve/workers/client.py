"""A model in a process of its own, as the server's engine.

In: a command, such as ``python -m spiritsafe.models.running.serving.worker DIRECTORY``, and jobs. Out: events of each
job. The process starts with the first question. One that dies fails the jobs that it had, and the next job starts
another; one that dies again and again without an answer is not started any more. One that hangs is ended, as if it had
died. Who asks is told that it died; why, with paths and last lines, is for the log.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from spiritsafe.core.errors import EndpointError, IntegrityError, SpiritsafeError, error_from_fields
from spiritsafe.core.serving import Ended, Failed, Job, JobEvent, ServedModel
from spiritsafe.serve.workers.mailbox import Mailbox
from spiritsafe.serve.workers.process import WorkerEnding, WorkerProcess
from spiritsafe.serve.workers.watchdog import Watchdog

_LOG = logging.getLogger(__name__)
_MODULE = "spiritsafe.models.running.serving.worker"
_MOST_DEAD = 3
"""Processes in a row that end without an answer before no more are started."""
_SILENCE_S = 300.0
"""Without a word from a process that was asked for one. It answers between two steps and two parts of a prompt, which
take about half a second. But the step of a model that was swapped out reads all its weights back, 16 GB in some 160 s
at 100 MB/s, and an end that comes too early costs answers that were on their way."""
_NAME_CHARACTERS = 200


def worker_command(
    directory: Path,
    *,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
    max_batch: int = 64,
    max_context: int | None = None,
) -> list[str]:
    """The command of a worker for a model directory on this machine.

    Args:
        max_batch: Most answers at once.
        max_context: Longest prompt plus answer; None is the model's own, of a GGUF file what memory allows.
    """
    options = {"--device": device, "--dtype": dtype, "--max-batch": max_batch, "--max-context": max_context}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return [sys.executable, "-m", _MODULE, str(directory), *given]


@final
class WorkerEngine:
    """A :class:`~spiritsafe.core.serving.ServedEngine` at the other end of a pipe, for one event loop.

    Args:
        command: Program and arguments.
        start_timeout_s: Most seconds until it has described itself: loading weights takes a while.
        silence_timeout_s: Most seconds without a word afterwards. Both count while this process is awake.
        close_timeout_s: Seconds given to it to end by itself before it is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        start_timeout_s: float = 600.0,
        silence_timeout_s: float = _SILENCE_S,
        close_timeout_s: float = 5.0,
    ) -> None:
        self._command = list(command)
        self._start_timeout_s = start_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._close_timeout_s = close_timeout_s
        self._process: WorkerProcess | None = None
        self._described: asyncio.Future[ServedModel] | None = None
        self._watchdog: Watchdog | None = None
        self._jobs: dict[int, Mailbox] = {}
        self._digest: str | None = None
        self._num_asked = 0
        self._num_dead = 0
        self._num_started = self._num_hung = 0
        self._fault: SpiritsafeError | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return None if self._process is None else self._process.pid

    @property
    def silent_s(self) -> float:
        """For how long its process has owed an answer and said nothing; one that is loading owes none."""
        is_up = self._described is not None and self._described.done()
        return self._watchdog.silent_s if self._watchdog is not None and is_up else 0.0

    async def describe(self) -> ServedModel:
        """What it is; starts the process.

        Raises:
            EndpointError: It does not start, or dies.
            SpiritsafeError: What it says of why it cannot load the model, as the same class.
        """
        return await asyncio.shield(self._started())

    async def run(self, job: Job) -> AsyncGenerator[JobEvent, None]:
        """See :class:`~spiritsafe.core.serving.ServedEngine`."""
        mailbox = await self._ask("run", job)
        if isinstance(mailbox, Failed):
            yield mailbox
            return
        try:
            while True:
                try:
                    event = await mailbox.record()
                except IntegrityError as error:
                    event = _failed(error)
                    self._forget(mailbox)
                if isinstance(event, Ended | Failed):
                    self._jobs.pop(mailbox.job_id, None)
                    yield event
                    return
                yield event
        finally:
            self._forget(mailbox)

    async def count(self, job: Job) -> int | Failed:
        """See :class:`~spiritsafe.core.serving.ServedEngine`."""
        mailbox = await self._ask("count", job)
        if isinstance(mailbox, Failed):
            return mailbox
        try:
            name, value = await mailbox.get()
            self._jobs.pop(mailbox.job_id, None)
            return int(value["num_tokens"]) if name == "count" else Failed.from_json(value)
        finally:
            self._forget(mailbox)

    async def close(self) -> None:
        """End the process; jobs that it had fail. A second call does nothing."""
        self._is_closed = True
        process = self._process
        self._lose(EndpointError("The model is shut down.", hint="Ask again when it is up."))
        if process is not None:
            await process.stop(self._close_timeout_s)

    # ---- asking

    async def _ask(self, operation: Literal["run", "count"], job: Job) -> Mailbox | Failed:
        try:
            await self.describe()
        except SpiritsafeError as error:
            if self._digest is None:  # it never was there, and nobody was told why
                _LOG.error("%s", error.diagnostics())
            return self._gone()
        if self._process is None:  # it died between two turns of the event loop
            return self._gone()
        self._num_asked += 1
        mailbox = self._jobs[self._num_asked] = Mailbox(self._num_asked)
        self._process.send({"op": operation, "id": mailbox.job_id, "job": job.to_json()})
        return mailbox

    def _forget(self, mailbox: Mailbox) -> None:
        """Free what a job holds that is not over."""
        if self._jobs.pop(mailbox.job_id, None) is not None and self._process is not None:
            self._process.send({"op": "cancel", "id": mailbox.job_id})

    # ---- the process

    def _started(self) -> asyncio.Future[ServedModel]:
        if self._described is not None:
            return self._described
        if self._is_closed:
            raise EndpointError("The model is shut down.", hint="Ask again when it is up.")
        if self._num_dead >= _MOST_DEAD:
            why = "" if self._fault is None else f" The last: {self._fault.message}"
            raise EndpointError(
                f"{_MOST_DEAD} processes in a row ended without an answer.{why}",
                hint="Mend what it says, and start the server again.",
            )
        loop = asyncio.get_running_loop()
        self._num_started += 1
        number = self._num_started
        try:
            process = WorkerProcess(self._command, partial(self._hear, number), partial(self._end, number))
        except OSError as error:
            raise EndpointError(
                f"{self._name} cannot be started: {error.strerror or error}.",
                hint="Check that the program exists and may be executed.",
            ) from error
        self._process = process
        self._described = loop.create_future()
        self._described.add_done_callback(_look)
        self._watch(process, "describe", self._start_timeout_s)
        return self._described

    def _watch(self, process: WorkerProcess, operation: Literal["describe", "ping"], limit_s: float) -> None:
        """Ask this, and end the process if it says nothing for so long."""
        if self._watchdog is not None:
            self._watchdog.stop()
        ask = partial(process.send, {"op": operation})
        self._watchdog = Watchdog(ask, partial(self._hang, process, limit_s), limit_s=limit_s)

    def _hear(self, number: int, value: Any) -> None:
        """What the process says."""
        if number != self._num_started or self._process is None:
            return
        try:
            if self._watchdog is not None:
                self._watchdog.hear(is_answer="pong" in value)
            if "events" in value:
                for job_id, name, event in value["events"]:
                    self._tell(job_id, name, event)
            elif "described" in value:
                self._answer(ServedModel.from_json(value["described"]))
            elif "pong" not in value:
                self._refuse(error_from_fields(value["error"], hint=f"It was started as {self._name}."))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._refuse(EndpointError(f"{self._name} answered nonsense.", hint="Use one version on both ends."))
            self._process.kill()

    def _tell(self, job_id: int, name: str, event: Any) -> None:
        if name in ("ended", "count"):
            self._num_dead = 0
        mailbox = self._jobs.get(job_id)
        if mailbox is not None:
            mailbox.put(name, event)

    def _answer(self, model: ServedModel) -> None:
        if self._digest not in (None, model.digest) and self._process is not None:
            hint = "Put the files back as they were, or start the server again."
            self._refuse(IntegrityError(f"{self._name} now holds {model.digest}, not {self._digest}.", hint=hint))
            self._process.kill()
            return
        self._digest = model.digest
        if self._process is not None:
            self._watch(self._process, "ping", self._silence_timeout_s)
        if self._described is not None and not self._described.done():
            self._described.set_result(model)

    def _refuse(self, error: SpiritsafeError) -> None:
        """It says why it will be of no use, or it is of none."""
        self._fault = error
        if self._digest is not None:
            _LOG.error("%s", error.diagnostics())
        if self._described is not None and not self._described.done():
            self._described.set_exception(error)

    def _hang(self, process: WorkerProcess, limit_s: float) -> None:
        """It says nothing. Nobody waits for its end: one that is held in a driver does not even obey SIGKILL."""
        hint = "It may need more time, or hang: look at its last lines."
        silent = EndpointError(f"{self._name} said nothing for {limit_s:g} s, and was ended.", hint=hint)
        self._num_dead += 1
        self._num_hung = self._num_started
        self._refuse(silent)
        self._lose(silent, "The model's process did not respond and was ended.")
        process.kill()

    def _end(self, number: int, ending: WorkerEnding) -> None:
        """The process has ended by itself, or because it hung."""
        shown = f" Its last lines were:\n{ending.tail}\n" if ending.tail else ""
        if number == self._num_hung:
            _LOG.error("%s, which said nothing, has ended.%s", self._name, shown)
        if number != self._num_started or self._process is None:
            return
        self._num_dead += 1
        died = EndpointError(f"{self._name} {ending.how}.{shown}", hint=ending.hint)
        was_up = self._described is not None and self._described.done() and self._described.exception() is None
        if self._digest is not None:
            _LOG.error("%s", died.diagnostics())
        self._fault = died if was_up or self._fault is None else self._fault
        self._lose(self._fault)

    def _lose(self, error: SpiritsafeError, message: str = "The model's process has ended.") -> None:
        """The process is of no use any more: all who wait for it are told."""
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._described is not None and not self._described.done():
            self._described.set_exception(error)
        self._process = self._described = self._watchdog = None
        failed = self._gone(message).to_json()
        jobs, self._jobs = self._jobs, {}
        for mailbox in jobs.values():
            mailbox.put("failed", failed)

    def _gone(self, message: str = "The model's process has ended.") -> Failed:
        """What who asks is told of a process that is of no use: nothing of this machine."""
        if self._is_closed:
            return Failed(fault="model", message="The model is shut down.", hint="Ask again when it is up.")
        if self._num_dead >= _MOST_DEAD:
            hint = "Tell who runs this server: its log says why."
            return Failed(fault="model", message="The model's process ends again and again.", hint=hint)
        return Failed(fault="model", message=message, hint="Ask again: another one is started.")

    @property
    def _name(self) -> str:
        line = shlex.join(self._command)
        return f"The worker `{line if len(line) <= _NAME_CHARACTERS else line[: _NAME_CHARACTERS - 1] + '…'}`"


def _failed(error: SpiritsafeError) -> Failed:
    return Failed(fault="model", message=error.message, hint=error.hint)


def _look(described: asyncio.Future[ServedModel]) -> None:
    """Whoever waits gets the error; where nobody does, it is no defect either."""
    if not described.cancelled():
        described.exception()
