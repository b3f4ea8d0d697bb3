"""A task whose verifier does what the text says: everything that a verifier must not do, and some things it may."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks.task import Draft, Task, Verifier

PROBLEM = Problem(task="hostile:task", canonical_text="x", messages=(), facts={"answer": "ok"})
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def spin() -> None:
    while True:
        pass


def leave(*, session: bool) -> None:
    """Leave a grandchild behind: forked twice, so that its parent is gone, and perhaps in a session of its own."""
    if not os.fork():
        if session:
            os.setsid()
        if not os.fork():
            time.sleep(60)
        os._exit(0)
    os.wait()


def leave_and_die() -> None:
    leave(session=True)
    os._exit(9)


def multiply(depth: int = 7) -> None:
    """128 processes that sleep."""
    for _ in range(depth):
        os.fork()
    time.sleep(60)


def share_memory_out() -> None:
    """Four children of 200 MB each: none is too large, all of them are."""
    for _ in range(4):
        if not os.fork():
            held = b"x" * (200 << 20)
            time.sleep(60)
            os._exit(len(held) % 2)
    time.sleep(60)


def print_gigabyte(descriptor: int) -> None:
    chunk = b"spam " * 200_000
    for _ in range(1000):
        os.write(descriptor, chunk)


def write_file() -> None:
    path = Path(os.environ["TMPDIR"]) / "large"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))


def scribble(junk: bytes) -> None:
    """Write junk wherever it can be written."""
    for descriptor in range(3, 64):
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, junk)
        except OSError:
            continue


def close_all() -> None:
    os.closerange(0, 64)


def later(action: Any, seconds: float = 0.05) -> None:
    threading.Timer(seconds, action).start()


LOCK = threading.Lock()


def lock_and_raise() -> None:
    LOCK.acquire()
    raise ValueError("the lock is not released")


LEAK: list[bytes] = []

DEEDS: dict[str, Any] = {
    # no verdict
    "sleep": lambda: time.sleep(60),
    "spin": spin,
    "ignore the CPU limit and spin": lambda: (signal.signal(signal.SIGXCPU, signal.SIG_IGN), spin()),
    "stop itself": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "fork and sleep": lambda: os.fork() or time.sleep(60),
    "start a process": lambda: subprocess.Popen(SLEEP),
    "start a process in a session of its own": lambda: subprocess.Popen(SLEEP, start_new_session=True),
    "leave a grandchild": lambda: leave(session=False),
    "leave a daemon": lambda: leave(session=True),
    "leave a daemon and die": leave_and_die,
    "multiply": multiply,
    "allocate": lambda: bytearray(8 << 30),
    "allocate in children": share_memory_out,
    "print": lambda: print_gigabyte(1),
    "print errors": lambda: print_gigabyte(2),
    "write a large file": write_file,
    "raise": lambda: int("junk"),
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: signal.raise_signal(signal.SIGINT),
    "die": lambda: os._exit(3),
    "crash": lambda: ctypes.string_at(0),
    "kill its keeper": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "write junk": lambda: scribble(b"junk\n"),
    "write half a line of junk": lambda: scribble(b'{"item": '),
    "write deep junk": lambda: scribble(b"[" * 30_000 + b"\n"),
    "write much junk": lambda: scribble(b"j" * 65_000),
    "close all files": close_all,
    "lock and raise": lock_and_raise,
    # a verdict, and perhaps something that would fall on whoever comes next
    "leak": lambda: LEAK.append(b"x" * (200 << 20)),
    "die later": lambda: later(lambda: os._exit(3)),
    "write junk later": lambda: later(lambda: scribble(b"junk\n")),
    "an alarm later": lambda: signal.setitimer(signal.ITIMER_REAL, 0.05),
}


class HostileVerifier(Verifier):
    name = "hostile"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        if text in DEEDS:
            DEEDS[text]()
        elif text.startswith("give "):
            gifts: dict[str, Any] = {
                "give nothing": None,
                "give text": "correct",
                "give a long answer": Verdict(
                    status="wrong", score=0.0, answer="x" * 10_000_000, verifier="hostile", version="1"
                ),
            }
            return gifts[text]  # type: ignore[no-any-return]  # junk is the point
        elif text == "print a little":
            sys.stdout.write("x" * 1000)
        elif text == "run a process":
            subprocess.run([sys.executable, "-c", "print(1)"], check=True)
        elif text == "write where it graded":
            Path(os.environ["TMPDIR"]).joinpath("note").write_text("x")
            return self.verdict("wrong", answer=os.environ["TMPDIR"])
        with LOCK:
            right = text == problem.facts["answer"]
        return self.verdict("correct" if right else "wrong", answer=text)


class HostileTask(Task):
    def __init__(self) -> None:
        super().__init__(name="hostile:task", version="1", verifier=HostileVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        return itertools.repeat(Draft("x", lambda: PROBLEM))


def unbuildable() -> Task:
    if os.environ.get("PYTHONHASHSEED") == "0":
        raise RuntimeError("not in a child")
    return HostileTask()


def never_the_same() -> Task:
    task = HostileTask()
    task.version = str(os.getpid())
    return task


A_TASK = HostileTask()
NO_TASK = dict
