"""One sandbox as this process sees it: runs in, results out, and an end to everything in it.

In: a command that starts a fork server behind walls (see :mod:`~spiritsafe.tasks.sandbox.inside.fork_server`). Out: of
one run, or of two that are connected, how they went. Time and bytes are bounded here, outside the walls.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, final

from spiritsafe.tasks.sandbox.cgroup import make_group
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStepResult, Stop
from spiritsafe.tasks.sandbox.lasting_thread import start_lasting
from spiritsafe.tasks.sandbox.walls import free_slot

_STARTUP_S = 60.0
"""Longest until the interpreter inside is warm: on a crowded machine."""
_PARTING_S = 20.0
"""Longest until the kernel has ended all of a run."""
_OWN_PROCESSES = 8
"""Of the box, at most."""
_MESSAGE_BYTES = 1 << 12
_MOST_REPORT_BYTES = 64 << 20
_PART_BYTES = 1 << 16


@final
class BoxLost(Exception):
    """A sandbox could not be made, died, or does not answer: nothing is known of what ran in it.

    Args:
        reason: Why.
        hint: What to do about it; "": nothing is known that helps.
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


@final
@dataclass
class _Going:
    """A run that is going on."""

    number: int
    run: Run
    report: bytearray = field(default_factory=bytearray)
    outputs: list[bytearray] = field(default_factory=list)
    num_bytes: int = 0
    stop: Stop | None = None
    is_over: bool = False


@final
class Box:
    """A sandbox; for one caller at a time.

    Args:
        command: Starts a fork server, whose standard input is its socket.
        setting: What the server is told, as its last argument.
        layer: What its walls are.
        slot: Of :func:`~spiritsafe.tasks.sandbox.walls.take_slot`; it is free again when the box is closed.
        after: Called when all has ended.

    Raises:
        BoxLost: It did not start.
    """

    def __init__(
        self,
        command: Sequence[str],
        setting: Mapping[str, Any],
        *,
        layer: str,
        slot: int,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._group = make_group(f"spiritsafe-{os.getpid()}-{slot}")
        self._layer = layer if self._group is None else f"{layer}+cgroup"
        self._after = after
        self._slot = slot
        self._num_begun = 0
        try:
            self._socket, self._process = self._start(command, setting)
        except OSError:
            self._clear_away()
            raise
        try:
            if self._receive(_STARTUP_S) != {"ready": True}:
                raise BoxLost("the sandbox said nonsense")
        except BoxLost as error:
            self._socket.close()
            self._process.kill()
            said = self._last_words()
            self.close()
            raise BoxLost(f"{error}{said}") from None
        self._last_words()

    def _start(
        self, command: Sequence[str], setting: Mapping[str, Any]
    ) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        with ExitStack() as ours, ExitStack() as theirs:
            doors = self._group.doors() if self._group is not None else []
            for door in doors:
                theirs.callback(os.close, door)
            own, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(own)
            theirs.enter_context(given)
            process = start_lasting(
                [*command, json.dumps({**setting, "doors": doors})],
                stdin=given.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PYTHONHASHSEED": "0"},
                cwd="/",
                umask=0o022,
                start_new_session=True,
                pass_fds=doors,
            )
            ours.pop_all()
        return own, process

    @property
    def has_ended(self) -> bool:
        """It died while nothing ran in it."""
        return self._process.poll() is not None

    def _last_words(self) -> str:
        """What was said on standard error until now; nothing will be from here on."""
        pipe = self._process.stderr
        if pipe is None:  # never
            return ""
        with pipe:
            os.set_blocking(pipe.fileno(), False)
            said = (pipe.read() or b"").decode("utf-8", "replace").strip()
        return f": {said[-300:]}" if said else ""

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(_MESSAGE_BYTES)
        except OSError:
            raise BoxLost("the sandbox does not answer") from None
        if not data:
            raise BoxLost("the sandbox ended")
        message: dict[str, Any] = json.loads(data)
        return message

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        self._socket.settimeout(_PARTING_S)
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode("ascii")], list(descriptors))
        except OSError:
            raise BoxLost("the sandbox takes no runs") from None

    def run(self, runs: Sequence[Run]) -> list[RunResult]:
        """Run one, or two at the same time whose steps can talk to each other.

        Raises:
            BoxLost: The box is of no use any more.
        """
        limits = [run.limits for run in runs]
        known = 0
        if self._group is not None:
            memory = sum(one.memory_bytes for one in limits)
            self._group.limit(memory, sum(one.processes for one in limits) + _OWN_PROCESSES)
            known = self._group.times_out_of_memory()
        going: list[_Going] = []
        sources: dict[int, tuple[_Going, int]] = {}
        try:
            self._begin(runs, going, sources)
            self._watch(going, sources, time.monotonic() + max(one.wall_s for one in limits))
        finally:
            for descriptor in sources:
                os.close(descriptor)
        if self._group is not None and self._group.times_out_of_memory() > known:
            for one in going:
                one.stop = one.stop or "memory"
        return [self._result(one) for one in going]

    def _begin(self, runs: Sequence[Run], going: list[_Going], sources: dict[int, tuple[_Going, int]]) -> None:
        """Start them; into sources what is to be read: by descriptor, which output of which run; -1: the report."""
        with ExitStack() as given:

            def give(descriptor: int) -> int:
                given.callback(os.close, descriptor)
                return descriptor

            if len(runs) == 2:
                channels = [give(end.detach()) for end in socket.socketpair()]
            else:
                channels = [give(os.open(os.devnull, os.O_RDWR))]
            for run, channel in zip(runs, channels, strict=True):
                self._num_begun += 1
                one = _Going(self._num_begun, run)
                one.outputs = [bytearray() for _ in range(2 * len(run.steps))]
                sent = [give(_in_memory(json.dumps(run.to_json()).encode("ascii"))), channel]
                for place in range(-1, len(one.outputs)):
                    end, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                    sources[end] = (one, place)
                    sent.append(give(theirs))
                    os.set_blocking(theirs, True)
                self._send({"begin": one.number}, sent)
                going.append(one)

    def _watch(self, going: list[_Going], sources: dict[int, tuple[_Going, int]], deadline: float) -> None:
        """Read until all have ended, and end those that go too far."""
        poll = select.poll()
        for descriptor in (*sources, self._socket.fileno()):
            poll.register(descriptor, select.POLLIN)
        while sources or not all(one.is_over for one in going):
            left = deadline - time.monotonic()
            if left <= 0:
                for one in going:
                    self._end(one, "time")
                if left < -_PARTING_S:
                    raise BoxLost("a run cannot be ended")
                left = 1.0
            for descriptor, _ in poll.poll(1000 * left):
                if descriptor == self._socket.fileno():
                    self._hear(going)
                elif not self._read(descriptor, *sources[descriptor]):
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    del sources[descriptor]

    def _hear(self, going: list[_Going]) -> None:
        message = self._receive(_PARTING_S)
        if "failed" in message:
            raise BoxLost(f"a run cannot be forked: {message['reason']}")
        for one in going:
            if message.get("ended") == one.number:
                one.is_over = True
            if message.get("over") == one.number:
                self._end(one, "scratch")

    def _read(self, descriptor: int, one: _Going, place: int) -> bool:
        """Take what is there; False: there will be no more."""
        part = os.read(descriptor, _PART_BYTES)
        if place < 0:
            one.report += part
            if len(one.report) > _MOST_REPORT_BYTES:
                raise BoxLost("a report without end")
            return bool(part)
        one.num_bytes += len(part)
        if one.num_bytes > one.run.limits.output_bytes:
            self._end(one, "output")
        else:
            one.outputs[place] += part
        return bool(part)

    def _end(self, one: _Going, why: Stop) -> None:
        if one.stop is None and not one.is_over:
            one.stop = why
            self._send({"end": one.number})

    def _result(self, one: _Going) -> RunResult:
        steps: list[dict[str, Any]] = [{} for _ in one.run.steps]
        files: dict[str, bytes] = {}
        began = False
        for line in bytes(one.report).splitlines():
            try:
                said = json.loads(line)
            except ValueError:  # it was ended while it wrote
                break
            if "failed" in said:
                raise BoxLost(f"a run has no walls: {said['failed']}")
            began = began or "ready" in said
            if "step" in said:
                steps[said.pop("step")] = said
            files |= {name: base64.b64decode(content) for name, content in said.get("files", {}).items()}
        if not began and one.stop is None:
            raise BoxLost("a run ended before it began")
        outputs = [bytes(output) for output in one.outputs]
        results = [
            RunStepResult(**said, out=outputs[2 * place], err=outputs[2 * place + 1])
            for place, said in enumerate(steps)
        ]
        return RunResult(steps=tuple(results), stop=one.stop, files=files, layer=self._layer)

    def interrupt(self) -> None:
        """Have the thread that waits for a run of it find it lost; from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and everything in it."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PARTING_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        self._clear_away()

    def _clear_away(self) -> None:
        if self._group is not None:
            self._group.remove()
        if self._after is not None:
            self._after()
        free_slot(self._slot)

    def forget(self) -> None:
        """Let go of it without ending it: it belongs to the process that forked this one."""
        self._socket.close()
        free_slot(self._slot)


def _in_memory(data: bytes) -> int:
    """A descriptor from which the data can be read."""
    place = os.memfd_create("run", os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(place, rest) :]
    os.lseek(place, 0, os.SEEK_SET)
    return place
