from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from spiritsafe.tasks.sandbox import landlock, walls
from spiritsafe.tasks.sandbox.inside import fork_server, kernel, run
from spiritsafe.tasks.sandbox.job import Run, RunStep

pytestmark = pytest.mark.skipif(
    not kernel.landlock_version() or landlock._interpreter() is None, reason="no Landlock, or no Python for it"
)


@dataclass
class Server:
    """A fork server of Landlock's layer, talked to as the box does."""

    channel: socket.socket
    process: subprocess.Popen[bytes]
    ends: dict[int, list[int]] = field(default_factory=dict)

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.channel.recv(4096) or b"{}")
        return message

    def begin(self, number: int, source: str, *, more: tuple[RunStep, ...] = ()) -> None:
        """Begin a run of a Python file; its outputs are read from ``ends``."""
        what = Run(files={"a.py": source}, steps=(RunStep(python="a.py"), *more))
        task = os.memfd_create("task")
        os.write(task, json.dumps(what.to_json()).encode())
        os.lseek(task, 0, os.SEEK_SET)
        pipes = [os.pipe() for _ in range(1 + 2 * len(what.steps))]
        sent = [task, os.open(os.devnull, os.O_RDWR), *(theirs for _, theirs in pipes)]
        socket.send_fds(self.channel, [json.dumps({"begin": number}).encode()], sent)
        for descriptor in sent:
            os.close(descriptor)
        self.ends[number] = [own for own, _ in pipes]

    def read(self, number: int, place: int) -> bytes:
        """All of one output, -1: of the report."""
        return b"".join(iter(lambda: os.read(self.ends[number][place + 1], 1 << 16), b""))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_one(**changes: Any) -> Server:
        python = landlock._interpreter() or walls.interpreter()
        places, _ = walls.readable_places()
        own = walls.python_folders() if python == walls.interpreter() else []
        setting = {"has_namespaces": False, "user": None, "scratch": str(tmp_path), "readable": [*places, *own]}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [str(python), "-I", "-S", "-B", str(walls.INSIDE / "fork_server.py"), json.dumps(setting | changes)],
                stdin=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )
        servers.append(Server(ours, process))
        return servers[-1]

    yield start_one
    for server in servers:
        server.channel.close()
        server.process.wait(60)
        for ends in server.ends.values():
            for end in ends:
                os.close(end)


def test_it_says_when_it_is_ready_and_when_a_run_has_ended(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    assert server.hear() == {"ready": True}
    server.begin(7, "print('said')\nopen('left', 'w')", more=(RunStep(argv=("/bin/ls",)),))
    assert server.hear() == {"ended": 7}
    assert (server.read(7, 0), server.read(7, 2)) == (b"said\n", b"a.py\nleft\n")
    lines = [json.loads(line) for line in server.read(7, -1).splitlines()]
    assert [{*line} for line in lines] == [{"ready"}, *[{"step", "code", "cpu_s", "memory_bytes"}] * 2, {"files"}]
    assert os.listdir(tmp_path) == []


def test_of_two_runs_the_right_one_is_ended(start: Callable[..., Server]) -> None:
    server = start()
    server.hear()
    sleeps = "import sys, time\nprint('begun', flush=True)\ntime.sleep(600)"
    server.begin(1, sleeps)
    server.begin(2, sleeps)
    for number in (1, 2):
        assert os.read(server.ends[number][1], 99) == b"begun\n"
    server.channel.send(b'{"end": 99}')  # there is no such run
    server.channel.send(b'{"end": 2}')
    assert server.hear() == {"ended": 2}
    assert server.read(2, 0) == b""
    server.begin(3, "print('goes on')")
    assert server.hear() == {"ended": 3}
    server.channel.send(b'{"end": 1}')
    assert server.hear() == {"ended": 1}


def test_a_run_that_writes_too_much_is_told_of(start: Callable[..., Server]) -> None:
    server = start(scratch_bytes=1 << 20, scratch_files=10)
    server.hear()
    server.begin(1, "import time\nopen('a', 'wb').write(bytes(2 << 20))\ntime.sleep(600)")
    assert server.hear() == {"over": 1}
    server.begin(2, "import os, time\nfor n in range(20): os.mkdir(str(n))\ntime.sleep(600)")
    heard = server.hear()
    while heard == {"over": 1}:
        heard = server.hear()
    assert heard == {"over": 2}


def test_with_the_socket_everything_ends(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    server.hear()
    server.begin(
        1, "import os, time\nif not os.fork():\n    os.setsid()\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    )
    said = b""
    while said.count(b"\n") < 2:
        said += os.read(server.ends[1][1], 99)
    processes = [psutil.Process(int(pid)) for pid in said.split()]
    server.channel.close()
    assert server.process.wait(60) == 0
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)
    assert os.listdir(tmp_path) == []


def test_it_ends_with_the_process_that_started_it(start: Callable[..., Server]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    setting = json.dumps({"has_namespaces": False, "user": None})
    source = f"""
import subprocess, sys
command = [sys.executable, "-I", "-S", "-B", {str(walls.INSIDE / "fork_server.py")!r}, {setting!r}]
subprocess.Popen(command, stdin={theirs.fileno()})
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
    with closing(ours):
        assert ours.recv(99) == b'{"ready": true}'
        parent.kill()
        parent.communicate()
        theirs.close()
        ours.settimeout(60)
        assert ours.recv(99) == b""  # it has no other end any more, though this one is open


def test_a_run_cannot_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(run, "begin", fails)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        given = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        runs = fork_server._Runs(theirs, run.Setting(has_namespaces=False, user=None))
        runs.begin(5, given)
        assert json.loads(ours.recv(999)) == {"failed": 5, "reason": "[Errno 11] Resource temporarily unavailable"}
        assert not runs.are_going
    for descriptor in given:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_what_is_imported_beforehand_is_of_pythons_own_library(start: Callable[..., Server]) -> None:
    names = fork_server._PRELOADED.split(", ")
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    server = start()
    server.hear()
    server.begin(1, f"import sys\nprint(sorted({set(names)!r} - sys.modules.keys()))")
    assert server.read(1, 0) == b"[]\n"
    assert server.hear() == {"ended": 1}
