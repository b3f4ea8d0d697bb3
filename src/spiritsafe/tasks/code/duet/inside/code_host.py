"""The side of the code; descriptor 3 leads to the side of the tests.

In: ``job.json``: texts of programs, in which order each has its turn, how long a turn and a call may compute, and which
turns are traced. Each turn is a process of its own, whose functions the other side calls. Out: for each turn a line of
JSON: how it ended, the seconds that it computed, those of its longest call, and of a traced one the program's lines
that were run.
"""

from __future__ import annotations

import builtins
import gc
import json
import os
import signal
import socket
import sys
import time
import types
from contextlib import suppress
from typing import Any

from spiritsafe.tasks.code.duet.inside.channel import ChannelLost, hear, say
from spiritsafe.tasks.code.duet.inside.fenced import fork_fenced, wait_for
from spiritsafe.tasks.code.duet.inside.values import NotPlainError, decoded, encoded

_MODULE = "solution"
_MOST_LINES_BYTES = 1 << 20


def load_module(source: str) -> types.ModuleType:
    """Run a program as the module ``solution``."""
    module = types.ModuleType(_MODULE)
    module.__dict__["__file__"] = f"{_MODULE}.py"
    sys.modules[_MODULE] = module
    exec(compile(source, f"{_MODULE}.py", "exec", dont_inherit=True), module.__dict__)
    return module


def _manifest(module: types.ModuleType) -> dict[str, Any]:
    """Of each public name what the other side shall have: a function, a kind of error, or a plain value."""
    names: dict[str, Any] = {}
    for name, value in list(vars(module).items()):
        if name.startswith("__"):
            continue
        if isinstance(value, type) and issubclass(value, BaseException):
            names[name] = {"error": _builtin(value)}
        elif callable(value):
            names[name] = {"call": name}
        else:
            with suppress(NotPlainError):
                names[name] = {"value": encoded(value, strict=True)}
    return names


def _builtin(kind: type[BaseException]) -> str:
    """The nearest of Python's own errors."""
    known = (each.__name__ for each in kind.__mro__ if getattr(builtins, each.__name__, None) is each)
    return next(known, "Exception")


def _call(module: types.ModuleType, message: dict[str, Any]) -> dict[str, Any]:
    arguments = [decoded(each) for each in message["arguments"]]
    named = {name: decoded(each) for name, each in message["named"].items()}
    try:
        result = vars(module)[message["call"]](*arguments, **named)
        reply: dict[str, Any] = {"value": _encoded(result)}
    except BaseException as error:  # noqa: BLE001  whatever it is, the other side shall have it
        kind = type(error)
        words = [_encoded(each) for each in error.args]
        reply = {"raised": kind.__name__, "builtin": _builtin(kind), "words": words}
    after = {"arguments": [_encoded(each) for each in arguments], "named": {n: _encoded(v) for n, v in named.items()}}
    for part in ("arguments", "named"):
        if after[part] != message[part]:
            reply[part] = after[part]
    return reply


def _encoded(value: object) -> Any:
    try:
        return encoded(value)
    except NotPlainError as error:
        return ["opaque", str(error)]


def _serve(channel: socket.socket, source: str, call_cpu_s: float) -> float:
    """Until the other side has no more calls; the seconds that the longest one computed."""
    longest_s = 0.0
    with suppress(ChannelLost):
        try:
            module = load_module(source)
        except BaseException as error:  # noqa: BLE001  whatever it is, the other side shall know
            say(channel, {"broken": f"{type(error).__name__}: {error}"[:300]})
            return longest_s
        say(channel, {"names": _manifest(module)})
        while True:
            message = hear(channel)
            began = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, call_cpu_s)
            reply = _call(module, message)
            longest_s = max(longest_s, time.process_time() - began)
            say(channel, reply)
    return longest_s


def _traced_lines() -> set[int]:
    """Numbers of the program's lines, as they are run from here on."""
    lines: set[int] = set()

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != f"{_MODULE}.py":
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    return lines


def _read(descriptor: int) -> dict[str, Any]:
    """What a turn's process said of its lines and its longest call, which may be anything."""
    data = bytearray()
    while len(data) < _MOST_LINES_BYTES and (part := os.read(descriptor, 1 << 16)):
        data += part
    os.close(descriptor)
    try:
        longest_s, lines = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return {}
    return {"longest_call_s": longest_s, "lines": lines or None}


def main() -> None:
    """Give each program its turns."""
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    channel = socket.socket(fileno=3)
    gc.collect()
    gc.freeze()  # collecting in a turn would copy the pages that it shares with this process
    for place, number in enumerate(job["order"]):
        mine, theirs = socket.socketpair()

        reading, writing = os.pipe()
        is_traced = place in job["traced"]

        def work(
            mine: socket.socket = mine,
            source: str = job["programs"][number],
            writing: int = writing,
            is_traced: bool = is_traced,
        ) -> None:
            lines = _traced_lines() if is_traced else set[int]()
            longest_s = _serve(mine, source, job["call_cpu_s"])
            sys.settrace(None)
            os.write(writing, json.dumps([round(longest_s, 6), sorted(lines)]).encode("ascii"))

        pid = fork_fenced(work, keep=(mine.fileno(), writing), cpu_s=job["cpu_s"], wall_s=job["wall_s"])
        mine.close()
        os.close(writing)
        with theirs:
            socket.send_fds(channel, [b"turn"], [theirs.fileno()])
        is_done = channel.recv(4) == b"done"
        said = _read(reading)
        code, cpu_s = wait_for(pid)
        sys.stdout.write(json.dumps({"code": code, "cpu_s": round(cpu_s, 6), **said}) + "\n")
        if not is_done:
            return
