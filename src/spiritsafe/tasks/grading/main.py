"""The process that keeps a grading process: ``python -m spiritsafe.tasks.grading.main <options as JSON>``.

It builds the task once and runs none of its verifier. For grading it forks a worker
(:mod:`spiritsafe.tasks.grading.worker`), passes requests on one by one, and watches: time, bytes printed, memory and
number of processes. A worker that breaks a limit, dies or writes nonsense is killed with everything that it started;
the next one is forked in milliseconds, because the task is already here.

An attempt is "unscored" only when a *fresh* worker failed on it: when one that has graded others dies, an earlier
attempt may be to blame, so the attempt is repeated (but not when its time ran out: that is too dear to repeat, and what
could be left behind to cause it, a lock held by a broken-off call, ends with the worker that was broken off).

Protocol, one JSON object a line. Out: first ``{"ready": {…}}`` or ``{"failed": "…"}``; then for each request line
``{"verdict": {…}}`` or ``{"unscored": "…"}``.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, final

from spiritsafe.core.process.children.pool import serve_inline
from spiritsafe.core.process.process_tree import adopt_orphans, descendants, end_descendants, process_facts
from spiritsafe.tasks.grading.watch import WatchedWorker, WorkerLost
from spiritsafe.tasks.grading.worker import GraderLimits
from spiritsafe.tasks.registry import build_task


@final
class _Keeper:
    """Grades request lines with the worker of the moment."""

    def __init__(self, start: Callable[[], WatchedWorker]) -> None:
        self._start = start
        self._worker: WatchedWorker | None = None

    def grade(self, line: bytes) -> dict[str, Any]:
        """The reply to one request line."""
        while True:
            worker = self._worker = self._worker or self._start()
            fresh = not worker.num_served
            try:
                reply = worker.ask(line)
            except WorkerLost as lost:
                self.end()
                if fresh or lost.final:
                    return {"unscored": str(lost)}
                continue
            if reply.get("leave"):
                self.end()
            if "verdict" in reply:
                return {"verdict": reply["verdict"]}
            if fresh or not reply.get("strained"):
                return {"unscored": str(reply["raised"])}

    def end(self) -> None:
        """Kill the worker; the next attempt gets a new one."""
        if self._worker:
            self._worker.end()
        self._worker = None


def main() -> None:
    """Grade until stdin ends or SIGTERM comes."""
    options = json.loads(sys.argv[1])
    requests, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    adopt_orphans()
    serve_inline()
    try:
        with os.fdopen(requests, "rb") as lines:
            _serve(options, lines, replies)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_descendants()
        shutil.rmtree(options["scratch"], ignore_errors=True)


def _serve(options: dict[str, Any], lines: BinaryIO, replies: int) -> None:
    limits = GraderLimits.from_json(options["limits"])
    try:
        task = build_task(options["source"])
    except Exception as error:  # noqa: BLE001  the boundary: the pool tells its user
        _say(replies, {"failed": f"{type(error).__name__}: {error}"})
        return
    gc.collect()
    gc.freeze()  # a worker's collector would otherwise copy the pages that it shares with this process
    facts = process_facts(os.getpid())
    ready = [task.name, task.version, task.verifier.name, task.verifier.version]
    _say(replies, {"ready": ready, "address_bytes": facts.address_bytes if facts else 0})
    start = partial(
        WatchedWorker,
        task,
        limits,
        scratch=options["scratch"],
        private=(lines.fileno(), replies),
        helpers=frozenset(facts.pid for facts in descendants(os.getpid())),
    )
    keeper = _Keeper(start)
    try:
        for line in lines:
            _say(replies, keeper.grade(line))
    finally:
        keeper.end()


def _say(replies: int, reply: dict[str, Any]) -> None:
    line = json.dumps(reply).encode("ascii") + b"\n"
    while line:
        line = line[os.write(replies, line) :]


if __name__ == "__main__":
    main()
