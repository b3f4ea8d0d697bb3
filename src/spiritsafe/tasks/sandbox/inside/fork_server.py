"""The process in a sandbox from which runs are forked: ``python -I -S fork_server.py <options as JSON>``.

It runs nothing foreign and is told nothing of a run but its number, so that what it forks knows no other run. Standard
input is a socket of messages. In: ``{"begin": n}`` with descriptors
(:mod:`~spiritsafe.tasks.sandbox.inside.run` says which), or ``{"end": n}``. Out: ``{"ready": true}``;
``{"failed": n, "reason": …}`` where a run cannot be forked; ``{"over": n}`` where it wrote too much; and
``{"ended": n}`` once no process of it is left.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

_PACKAGE = "spiritsafe.tasks.sandbox.inside"

if not __package__:  # it is run as a file, where there is nothing of the package but this folder
    for _name in ("spiritsafe", "spiritsafe.tasks", "spiritsafe.tasks.sandbox", _PACKAGE):
        sys.modules[_name] = types.ModuleType(_name)
        sys.modules[_name].__path__ = [str(Path(__file__).parent)] if _name == _PACKAGE else []

from spiritsafe.tasks.sandbox.inside import kernel, leftovers, python_file, run  # noqa: E402  as above

_PRELOADED = (
    "abc, array, ast, bisect, cmath, collections, contextlib, copy, dataclasses, datetime, decimal, enum, fractions, "
    "functools, hashlib, heapq, inspect, io, itertools, json, math, numbers, operator, os, pathlib, pprint, queue, "
    "random, re, statistics, string, struct, sys, textwrap, threading, time, traceback, types, typing, "
    "unittest, unittest.mock"
)
"""What short programs import: done once, here."""
_MOST_DESCRIPTORS = 250
_MOST_MESSAGE = 1 << 12
_LOOK_S = 0.05


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, descriptors, _, _ = socket.recv_fds(channel, _MOST_MESSAGE, _MOST_DESCRIPTORS)
    return (json.loads(data), descriptors) if data else None


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.send(json.dumps(message).encode("ascii"))


class _Runs:
    """Which run is which process."""

    def __init__(self, channel: socket.socket, setting: run.Setting) -> None:
        self._channel = channel
        self._setting = setting
        self._numbers: dict[int, int] = {}

    @property
    def are_going(self) -> bool:
        """Whether there are any."""
        return bool(self._numbers)

    def begin(self, number: int, descriptors: list[int]) -> None:
        """Fork a run."""
        try:
            pid = run.begin(self._setting, number, descriptors, private=(self._channel.fileno(),))
        except OSError as error:
            _send(self._channel, {"failed": number, "reason": str(error)})
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._numbers[pid] = number

    def end(self, number: int) -> None:
        """End a run; it is over when :meth:`collect` has seen it."""
        for pid, own in self._numbers.items():
            if own == number:
                os.kill(pid, signal.SIGKILL)  # with the first process of its namespace all others end

    def collect(self) -> None:
        """Tell of the runs that are over."""
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                number = self._numbers.pop(pid, None)
                if number is not None:
                    if not self._setting.has_namespaces:
                        leftovers.clear(run.folder_of(self._setting, number), spare=self._numbers)
                    _send(self._channel, {"ended": number})

    def end_all(self) -> None:
        """End all runs, where the kernel does not once this process has ended."""
        if not self._setting.has_namespaces:
            for number in self._numbers.values():
                leftovers.clear(run.folder_of(self._setting, number), spare=())

    def watch(self) -> None:
        """Where the kernel does not: end runs that wrote too much."""
        for number in self._numbers.values():
            folder, setting = run.folder_of(self._setting, number), self._setting
            if leftovers.is_too_full(folder, most_bytes=setting.scratch_bytes, most_files=setting.scratch_files):
                _send(self._channel, {"over": number})


def main() -> None:
    """Fork runs until the socket closes."""
    kernel.die_with_parent()
    kernel.set_dumpable(False)
    for number in (signal.SIGHUP, signal.SIGQUIT):  # a shell has what it starts in the background ignore them
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setting = run.Setting(**json.loads(sys.argv[1]))
    for door in setting.doors:
        os.write(door, b"0")
        os.close(door)
    for name in _PRELOADED.split(", "):
        __import__(name)
    python_file.warm_up()
    channel = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    kernel.take_orphans()
    awake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()  # a run's collector would otherwise copy the pages that it shares with this process
    runs = _Runs(channel, setting)
    _send(channel, {"ready": True})
    while True:
        is_watching = runs.are_going and not setting.has_namespaces
        ready, _, _ = select.select([channel.fileno(), awake], [], [], _LOOK_S if is_watching else None)
        if is_watching:
            runs.watch()
        if awake in ready:
            os.read(awake, 4096)
            runs.collect()
        if channel.fileno() in ready:
            received = _receive(channel)
            if received is None:
                runs.end_all()
                return
            message, descriptors = received
            if "begin" in message:
                runs.begin(message["begin"], descriptors)
            else:
                runs.end(message["end"])


if __name__ == "__main__":
    main()
