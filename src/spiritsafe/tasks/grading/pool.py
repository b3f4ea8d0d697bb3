"""Verdicts from worker processes: a verifier that misbehaves costs one attempt, not the run.

In: a task and attempts. Out: their Verdicts, in order. Each attempt has limits on seconds, memory and output; one whose
verifier sleeps, spins, forks, allocates, prints without end, raises, dies or answers nonsense is "unscored" with the
reason, and its neighbours are graded as if it had not been there. It holds for any task, a user's own verifier
included.

Verifiers that run foreign code in a sandbox judge in threads of this process: the sandbox has limits of its own.

It is **not a security sandbox**: a verifier has this user's rights, files and network, and one that wants to do harm
can. It protects a run from accidents, among them those that a model's odd texts provoke.

Three kinds of process: this one; for each worker a keeper that watches it (:mod:`spiritsafe.tasks.grading.main`); and
the worker, forked by the keeper in milliseconds (:mod:`spiritsafe.tasks.grading.worker`). Time is measured by the
keeper, so that a busy trainer fails nobody. On Linux everything that a verifier starts is found and ended, in whatever
session and however far forked off, unless it kills its keeper first; elsewhere, what stays in its process group.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self, final

from pydantic import ValidationError

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.limits import usable_cores
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks.grading.keeper import Keeper, KeeperLost
from spiritsafe.tasks.grading.worker import GraderLimits
from spiritsafe.tasks.registry import build_task
from spiritsafe.tasks.task import Task, Verifier

_WINDOW = 4
"""Requests under way in one keeper: it need not wait for this process between two of them."""
_ROOM_BYTES = 64 << 20
"""Address space that a verdict needs at least."""


@final
class _Batch:
    """Attempts, their verdicts as far as they are known, and which ones wait: for a keeper, or for a thread here."""

    def __init__(self, verifier: Verifier, pairs: Sequence[tuple[Problem, str]]) -> None:
        self.pairs = pairs
        self.verdicts = [verifier.verdict("unscored", reason="not graded")] * len(pairs)
        self.waiting, self.sandboxed = deque[int](), deque[int]()
        for index, (problem, _) in enumerate(pairs):
            (self.sandboxed if _is_sandboxed(verifier, problem) else self.waiting).append(index)
        self._verifier = verifier
        self._problems: dict[int, str] = {}

    def next(self) -> int | None:
        """The next one that waits for a keeper."""
        return _taken(self.waiting)

    def grade_sandboxed(self, task: Task) -> None:
        """Grade here what a sandbox holds."""
        while (index := _taken(self.sandboxed)) is not None:
            self.verdicts[index] = task.grade(*self.pairs[index])

    def clear(self) -> None:
        """Grade no more."""
        self.waiting.clear()
        self.sandboxed.clear()

    def put_back(self, indices: deque[int]) -> None:
        """Have them wait again, first."""
        self.waiting.extendleft(reversed(indices))
        indices.clear()

    def request(self, index: int) -> bytes:
        """The line for the keeper; a problem that is attempted many times is written once."""
        problem, text = self.pairs[index]
        if id(problem) not in self._problems:
            self._problems[id(problem)] = json.dumps(problem.to_json())
        return f'{{"problem": {self._problems[id(problem)]}, "text": {json.dumps(text)}}}\n'.encode("ascii")

    def settle(self, index: int | None, reply: dict[str, Any]) -> None:
        """Keep the verdict of a keeper's reply."""
        if index is None:
            return
        try:
            verdict = Verdict.model_validate(reply["verdict"]) if "verdict" in reply else None
        except ValidationError as error:
            reply, verdict = {"unscored": f"not a verdict: {error.errors()[0]['msg']}"}, None
        self.verdicts[index] = verdict or self._verifier.verdict("unscored", reason=str(reply.get("unscored")))


def _is_sandboxed(verifier: Verifier, problem: Problem) -> bool:
    with suppress(TaskError):  # it is of no known task, which the keeper's verdict says
        return verifier.of(problem).sandboxed
    return False


def _taken(waiting: deque[int]) -> int | None:
    with suppress(IndexError):  # another thread may take the last one between a look and a pop
        return waiting.popleft()
    return None


@final
class GraderPool:
    """A task's verifier in worker processes; stands wherever a task is needed only to grade.

    One worker is started here, so that a task that other processes cannot build fails at once; the rest when first
    needed. Safe from any thread. Close it, or use it in a ``with`` statement.

    Args:
        task: A task that was made from a spec; or a spec; or ``module:attribute``, for a task of one's own: a Task, or
            something that makes one when called. Each keeper builds the task anew, once, and forks its workers from
            there. So what the task needs for good, such as a server of its own, it should start when it is built, and
            as a process, not as a thread: processes that a verdict leaves running cost that attempt.
        num_workers: Most attempts graded at once; the usable CPU cores when left out.
        wall_s: Seconds one attempt may take.
        cpu_s: CPU seconds that each of its processes may use.
        memory_bytes: Address space of each of its processes, and memory that they hold together.
        output_bytes: Bytes it may print, and size of any file it writes.

    Attributes:
        verifier: The task's verifier, as in this process.

    Raises:
        TaskError: There is no such task, a worker cannot build it, or a limit makes no sense.
        SourceError: A data file of the task cannot be read.
    """

    def __init__(
        self,
        task: Task | str,
        *,
        num_workers: int | None = None,
        wall_s: float = 20.0,
        cpu_s: float = 10.0,
        memory_bytes: int = 4 << 30,
        output_bytes: int = 1 << 20,
    ) -> None:
        try:
            self._limits = GraderLimits(
                wall_s=wall_s, cpu_s=cpu_s, memory_bytes=memory_bytes, output_bytes=output_bytes
            )
        except ValidationError as error:
            raise TaskError("A grader's limits must be positive.", hint="Leave them out for the defaults.") from error
        self._num_workers = usable_cores() if num_workers is None else num_workers
        if self._num_workers < 1:
            raise TaskError(f"num_workers={num_workers} grades nothing.", hint="Use 1 or more.")
        self._source = task.name if isinstance(task, Task) else task.strip()
        self._task = build_task(self._source) if isinstance(task, str) else task
        self.name: str = self._task.name
        self.version: str = self._task.version
        self.verifier: Verifier = self._task.verifier
        self.verifier.check_machine()
        self._pid = os.getpid()
        self._slots = threading.BoundedSemaphore(self._num_workers)
        self._lock = threading.Lock()
        self._idle: list[Keeper] = []
        if self.verifier.sandboxed:
            return
        try:
            self._idle.append(self._start())
        except (KeeperLost, OSError) as error:
            raise TaskError(
                f"A worker process cannot grade {self.name}: {error}.",
                hint="Name the task by its spec, or as module:attribute that other processes can import.",
            ) from error

    def grade(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one completion; "unscored" with the reason when there is none within the limits."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, pairs: Iterable[tuple[Problem, str]]) -> list[Verdict]:
        """Verdicts on many completions, several at a time, in the order of the pairs. Never raises."""
        if os.getpid() != self._pid:  # forked: the keepers are the other process's
            self._pid, self._idle = os.getpid(), []
            self._slots, self._lock = threading.BoundedSemaphore(self._num_workers), threading.Lock()
        batch = _Batch(self.verifier, list(pairs))
        num_threads = min(self._num_workers, len(batch.pairs))
        if num_threads <= 1:
            self._grade(batch)
        else:
            with ThreadPoolExecutor(num_threads, thread_name_prefix="grader") as threads:
                try:
                    for served in [threads.submit(self._grade, batch) for _ in range(num_threads)]:
                        served.result()
                except BaseException:  # Ctrl-C: do not grade the rest first
                    batch.clear()
                    raise
        return batch.verdicts

    def close(self) -> None:
        """End the idle workers; a later call starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for keeper in idle:
            keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _grade(self, batch: _Batch) -> None:
        """Grade what waits in the batch here, then with one keeper, or its successors when it is lost."""
        batch.grade_sandboxed(self._task)
        with self._slots:
            keeper: Keeper | None = None
            under_way: deque[int] = deque()
            try:
                while under_way or batch.waiting:
                    try:
                        keeper = keeper or self._take()
                        # the last ones are left for whoever is free first
                        while len(under_way) < min(_WINDOW, 1 + len(batch.waiting) // self._num_workers):
                            if (index := batch.next()) is None:
                                break
                            under_way.append(index)
                            keeper.send(batch.request(index), num_before=len(under_way) - 1)
                        if under_way:
                            batch.settle(under_way[0], keeper.receive())
                            under_way.popleft()
                    except (KeeperLost, OSError) as lost:
                        if keeper is None or not keeper.num_served:  # else an earlier attempt may be to blame
                            batch.settle(under_way.popleft() if under_way else batch.next(), {"unscored": str(lost)})
                        batch.put_back(under_way)
                        if keeper:
                            keeper.close()
                        keeper = None
            finally:
                if keeper and under_way:
                    keeper.close()
                elif keeper:
                    with self._lock:
                        self._idle.append(keeper)

    def _take(self) -> Keeper:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def _start(self) -> Keeper:
        """A keeper that is ready.

        Raises:
            KeeperLost: It did not get ready, or built another task.
        """
        keeper = Keeper(self._source, self._limits)
        try:
            first = keeper.first()
            if "failed" in first:
                raise KeeperLost(str(first["failed"]))
            ours = [self.name, self.version, self.verifier.name, self.verifier.version]
            if first["ready"] != ours:
                raise KeeperLost(f"it built {first['ready']} where this process has {ours}")
            needed = int(first["address_bytes"]) + _ROOM_BYTES
            if needed > self._limits.memory_bytes:
                raise KeeperLost(f"the task alone takes {needed} bytes of address space, more than memory_bytes")
        except BaseException:
            keeper.close()
            raise
        return keeper
