from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psutil
import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox import box as module
from spiritsafe.tasks.sandbox import landlock
from spiritsafe.tasks.sandbox.box import Box, BoxLost
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.layers import open_layer
from spiritsafe.tasks.sandbox.walls import take_slot

SERVER = """
import json, os, socket, sys
channel = socket.socket(fileno=os.dup(0))
def say(**message):
    channel.send(json.dumps(message).encode())
def hear():
    data, descriptors, _, _ = socket.recv_fds(channel, 4096, 250)
    return (json.loads(data), descriptors) if data else sys.exit()
"""
"""Of fork servers that do what a real one never should."""


def python(source: str, **changes: Any) -> Run:
    return Run(files={"main.py": source}, steps=(RunStep(python="main.py"),), **changes)


def new_box(layer: str) -> Box:
    sandbox_of(layer)  # or the test is skipped
    return open_layer(layer, take_slot())


def false_box(source: str, **changes: Any) -> Box:
    command = [sys.executable, "-I", "-S", "-c", SERVER + source]
    return Box(command, {}, layer="false", slot=take_slot(), **changes)


def those_with(mark: str) -> list[int]:
    """Processes whose arguments name it."""
    processes = psutil.process_iter(["cmdline"])
    return [one.pid for one in processes if any(mark in part for part in one.info["cmdline"] or ())]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Of whatever happened to a box, neither processes nor descriptors may stay."""
    me = psutil.Process()
    before = me.num_fds(), {process.pid for process in me.children(recursive=True)}
    yield
    assert (me.num_fds(), {process.pid for process in me.children(recursive=True)}) == before


@every_layer
def test_what_was_said_before_the_end_is_kept(layer: str) -> None:
    sandbox_of(layer)
    with closing(new_box(layer)) as box:
        source = "import sys, time\nprint('begun', flush=True)\nprint('oh', file=sys.stderr)\ntime.sleep(600)"
        run = Run(
            files={"main.py": source},
            steps=(
                RunStep(argv=("/bin/echo", "first")),
                RunStep(python="main.py"),
                RunStep(argv=("/bin/echo", "never")),
            ),
            limits=Limits(wall_s=1.5),
            collect=("main.py",),
        )
        (result,) = box.run([run])
        first, second, third = result.steps
        assert result.stop == "time"
        assert (first.code, first.text) == (0, "first\n")
        assert (second.code, second.text, second.errors) == (None, "begun\n", "oh\n")
        assert (third.code, third.out) == (None, b"")
        assert result.files == {}
        assert box.run([python("print(1)")])[0].steps[0].text == "1\n"


@every_layer
def test_output_is_counted_over_all_streams_and_steps(layer: str) -> None:
    sandbox_of(layer)
    source = "import sys\nsys.stdout.write('o' * 600)\nsys.stderr.write('e' * 600)"
    two = Run(
        files={"main.py": source}, steps=(RunStep(python="main.py"),) * 2, limits=Limits(output_bytes=2400, wall_s=60)
    )
    with closing(new_box(layer)) as box:
        (fits,) = box.run([two])
        assert fits.stop is None
        assert sum(len(step.out) + len(step.err) for step in fits.steps) == 2400
        (bursts,) = box.run([Run(files=two.files, steps=two.steps, limits=Limits(output_bytes=2399, wall_s=60))])
        assert sum(len(step.out) + len(step.err) for step in bursts.steps) <= 2399


@every_layer
def test_of_two_runs_each_has_its_own_limits_and_end(layer: str) -> None:
    sandbox_of(layer)
    talks = "import socket\nother = socket.socket(fileno=3)\n"
    first = Run(
        files={"main.py": talks + "other.sendall(b'x')\nwhile True: print('y' * 999)"},
        steps=(RunStep(python="main.py", has_channel=True),),
        limits=Limits(output_bytes=5000),
    )
    second = Run(
        # the socket closes when the first run has been ended, and this one goes on
        files={"main.py": talks + "print(other.recv(1), other.recv(1))"},
        steps=(RunStep(python="main.py", has_channel=True),),
    )
    with closing(new_box(layer)) as box:
        one, other = box.run([first, second])
    assert one.stop == "output"
    assert (other.stop, other.steps[0].code, other.steps[0].text) == (None, 0, "b'x' b''\n")


@every_layer
def test_a_box_whose_server_is_killed_under_a_run_is_lost(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of(layer)
    box = new_box(layer)
    everything = psutil.Process(box._process.pid)
    server = everything if layer == landlock.NAME else everything.children()[0]
    mark = f"left-{secrets.token_hex(8)}"
    source = f"""
import os, subprocess, sys
for own in (False, True):
    subprocess.Popen(["/bin/sh", "-c", "sleep 600; : {mark}"], start_new_session=own)
print("begun", flush=True)
subprocess.run(["/bin/sh", "-c", "sleep 600; : {mark}"])
"""
    read = Box._read

    def kill_then_read(self: Box, *arguments: Any) -> bool:
        if arguments[-1] == 0:
            with suppress(psutil.NoSuchProcess):  # there is more than one part to read
                server.kill()
        return read(self, *arguments)

    monkeypatch.setattr(Box, "_read", kill_then_read)
    with closing(box), pytest.raises(BoxLost, match=r"ended|takes no runs|before it began"):
        box.run([python(source)])
    assert box.has_ended
    assert those_with(mark) == []


@every_layer
def test_a_box_that_is_closed_under_a_run_ends_it(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of(layer)
    mark = f"left-{secrets.token_hex(8)}"
    source = f"""
import subprocess
subprocess.Popen(["/bin/sh", "-c", "sleep 600; : {mark}"], start_new_session=True)
print("begun", flush=True)
subprocess.run(["/bin/sh", "-c", "sleep 600; : {mark}"])
"""

    def interrupt(*arguments: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Box, "_read", interrupt)
    with closing(new_box(layer)) as box, pytest.raises(KeyboardInterrupt):
        box.run([python(source)])
    assert those_with(mark) == []


@every_layer
def test_a_box_outlives_the_thread_that_opened_it(layer: str) -> None:
    sandbox_of(layer)
    boxes: list[Box] = []
    thread = threading.Thread(target=lambda: boxes.append(new_box(layer)))
    thread.start()
    thread.join()
    with closing(boxes[0]) as box:
        assert [box.run([python("print(1)")])[0].steps[0].text for _ in range(20)] == ["1\n"] * 20


@every_layer
def test_results_tell_what_was_used(layer: str) -> None:
    sandbox_of(layer)
    source = "import time\nx = bytearray(200 << 20)\nwhile time.process_time() < 0.4: pass"
    with closing(new_box(layer)) as box:
        (result,) = box.run([python(source)])
    assert 0.2 < result.steps[0].cpu_s < 5
    assert 200 << 20 < result.steps[0].memory_bytes < 400 << 20
    assert result.layer in (layer, f"{layer}+cgroup")


def test_a_server_that_does_not_start_says_why() -> None:
    ended: list[int] = []
    for source, why in (
        ("sys.exit('no room for this')", "the sandbox ended: no room for this"),
        ("say(ready=False)", "nonsense"),
        ("say(begin=1)", "nonsense"),
    ):
        with pytest.raises(BoxLost, match=why):
            false_box(source, after=lambda: ended.append(1))
    assert ended == [1, 1, 1]


def test_a_server_that_is_silent_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STARTUP_S", 0.1)
    with pytest.raises(BoxLost, match="does not answer"):
        false_box("import time\ntime.sleep(600)")


def test_a_program_that_is_missing_leaves_nothing() -> None:
    ended: list[int] = []
    with pytest.raises(FileNotFoundError):
        Box(["/no/such/program"], {}, layer="false", slot=take_slot(), after=lambda: ended.append(1))
    assert ended == [1]


REPORTS = {
    "a run has no walls: no Landlock": 'os.write(d[2], b\'{"failed": "no Landlock"}\\n\')',
    "before it began": "pass",
    "a report without end": "import threading\nfor _ in range(65):\n    os.write(d[2], b'x' * (1 << 20))",
    "cannot be forked: full": "say(failed=n, reason='full')",
}


@pytest.mark.parametrize("why", REPORTS)
def test_a_server_that_fails_a_run_has_no_result(why: str) -> None:
    source = f"""
say(ready=True)
message, d = hear()
n = message["begin"]
{REPORTS[why]}
for one in d: os.close(one)
say(ended=n)
hear()
"""
    with closing(false_box(source)) as box, pytest.raises(BoxLost, match=why):
        box.run([python("")])


def test_a_run_that_cannot_be_ended_loses_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(false_box("say(ready=True)\nhear()\nhear()\nhear()")) as box:
        monkeypatch.setattr(module, "_PARTING_S", 0.2)
        with pytest.raises(BoxLost, match=r"cannot be ended|does not answer"):
            box.run([python("", limits=Limits(wall_s=0.1))])


def test_a_report_that_breaks_off_counts_as_far_as_it_goes() -> None:
    source = """
say(ready=True)
message, d = hear()
os.write(d[2], b'{"ready": true}\\n{"step": 0, "code": 7, "cpu_s": 1.5, "memory_bytes": 9}\\n{"step": 1, "co')
for one in d: os.close(one)
say(ended=message["begin"])
hear()
"""
    with closing(false_box(source)) as box:
        (result,) = box.run([Run(steps=(RunStep(argv=("x",)), RunStep(argv=("y",))))])
    assert [step.code for step in result.steps] == [7, None]
    assert (result.steps[0].cpu_s, result.steps[0].memory_bytes) == (1.5, 9)


class FakeGroup:
    """A control group in which every run uses up the memory."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.kills = 0

    def doors(self) -> list[int]:
        return []

    def limit(self, *limits: int) -> None:
        self.said.append(limits)

    def times_out_of_memory(self) -> int:
        self.kills += 1
        return self.kills

    def remove(self) -> None:
        self.said.append("removed")


def test_a_control_group_bounds_what_all_runs_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    group = FakeGroup()
    monkeypatch.setattr(module, "make_group", lambda name: group)
    source = """
say(ready=True)
for _ in range(2):
    message, d = hear()
    os.write(d[2], b'{"ready": true}\\n')
    for one in d: os.close(one)
    say(ended=message["begin"])
hear()
"""
    limits = Limits(memory_bytes=100, processes=3)
    with closing(false_box(source)) as box:
        one, other = box.run([Run(steps=(), limits=limits), Run(steps=(), limits=limits)])
    assert (one.stop, other.stop, one.layer) == ("memory", "memory", "false+cgroup")
    assert group.said == [(200, 6 + module._OWN_PROCESSES), "removed"]


def test_a_run_of_any_size_is_handed_in_whole() -> None:
    every = os.urandom(3 << 20)
    place = module._in_memory(every)
    with os.fdopen(place, "rb") as file:
        assert file.read() == every
