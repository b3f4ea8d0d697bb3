"""The process in which a verifier runs: grades one attempt after the other, under limits that the kernel enforces.

Forked by :mod:`spiritsafe.tasks.grading.main`, which watches it. One JSON object a line. In: ``{"problem": {…}, "text":
"…"}``. Out: ``{"item": n, "verdict": {…}}`` or ``{"item": n, "raised": "…"}``; with ``"left": true`` when processes go
on running after the verdict, ``"leave": true`` when the next attempt should be graded by a fresh process, and
``"strained": true`` when memory ran out, for which earlier attempts may be to blame.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from pydantic import Field

from spiritsafe.core.process.limits import limit_cpu, limit_files, limit_memory
from spiritsafe.core.process.process_tree import reap
from spiritsafe.core.records import Problem, Record, Verdict
from spiritsafe.tasks.task import Task

MAX_REPLY_BYTES = 1 << 16
"""A verdict is short; what is longer is a fault."""
_MAX_REASON = 300


@final
class GraderLimits(Record):
    """What one attempt may cost its verifier.

    Attributes:
        wall_s: Seconds from request to verdict; generous, because it only has to catch what sleeps.
        cpu_s: CPU seconds of each process, counted by the kernel, so that a crowded machine fails nobody.
        memory_bytes: Address space of each process, and memory that all of them hold together.
        output_bytes: Bytes written to stdout and stderr together, and size of any one file.
    """

    wall_s: float = Field(default=20.0, gt=0.0)
    cpu_s: float = Field(default=10.0, gt=0.0)
    memory_bytes: int = Field(default=4 << 30, gt=0)
    output_bytes: int = Field(default=1 << 20, gt=0)


def serve_grades(task: Task, limits: GraderLimits, requests: int, replies: int) -> None:
    """Grade until the requests end, or until this process should not go on.

    Args:
        task: Whose verifier judges.
        limits: Memory and files are limited once, CPU seconds before each attempt.
        requests: File descriptor to read from.
        replies: File descriptor to write to.
    """
    limit_memory(limits.memory_bytes)
    limit_files(limits.output_bytes)
    with suppress(OSError):  # Linux: if the machine runs out of memory, then this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    with os.fdopen(requests, "rb") as lines:
        for item, line in enumerate(lines):
            reply = _answer(task, limits.cpu_s, line)
            _write(replies, {"item": item, **reply})
            if reply.get("leave"):
                return


def _answer(task: Task, cpu_s: float, line: bytes) -> dict[str, Any]:
    """The reply to one request, once nothing of it goes on in this process."""
    request = json.loads(line)
    problem = Problem.model_validate(request["problem"])
    limit_cpu(cpu_s)
    reply: dict[str, Any]
    try:
        verdict = task.verifier.judge(problem, request["text"])
        if not isinstance(verdict, Verdict):
            raise TypeError(f"the verifier gave a {type(verdict).__name__}, not a Verdict")
        reply = {"verdict": verdict.to_json()}
    except BaseException as error:  # noqa: BLE001  the boundary: SystemExit is the verifier's too
        # what broke off half-way may hold locks or have half-changed something: the next attempt gets a fresh process
        reply = {"raised": _reason(error), "leave": True, "strained": isinstance(error, MemoryError)}
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0.0)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the verifier may have put anything there
            stream.flush()
    if reap()[1]:
        reply |= {"left": True, "leave": True}
    if threading.active_count() > 1:
        reply["leave"] = True
    return reply


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "MemoryError: the memory limit was reached"
    try:
        return f"{type(error).__name__}: {error}"[:_MAX_REASON]
    except Exception:  # noqa: BLE001  an exception whose own text raises
        return type(error).__name__


def _write(replies: int, reply: dict[str, Any]) -> None:
    line = json.dumps(reply).encode("ascii") + b"\n"
    if len(line) > MAX_REPLY_BYTES:
        short = {"item": reply["item"], "raised": "the verdict is too long", "leave": True}
        line = json.dumps(short).encode("ascii") + b"\n"
    while line:
        line = line[os.write(replies, line) :]
