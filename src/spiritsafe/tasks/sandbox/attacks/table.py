"""The table of attacks: which of them this machine's sandbox denies.

In: a sandbox. Out: for each attack of :mod:`~spiritsafe.tasks.sandbox.attacks.programs` whether it was denied, and how.
Outside wait a secret file, a process with a secret, and servers, so that an attack that comes through shows.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import psutil

from spiritsafe.core.records import Record
from spiritsafe.tasks.sandbox.attacks import programs
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.sandbox import Sandbox, SandboxFailure

_LIMITS = Limits(cpu_s=1.0, wall_s=5.0)
_LIBC = ctypes.CDLL(None, use_errno=True)
_REMOVE = 0
"""Linux's IPC_RMID."""
_STOPPED = {
    "time": "ended: its time was over",
    "output": "ended: it wrote too much output",
    "memory": "ended: it held too much memory",
    "scratch": "ended: it wrote too many bytes or files",
}


@final
class AttackResult(Record):
    """How one attack went.

    Attributes:
        name: Its function's name.
        tries: What it tries.
        denied: Whether it failed.
        how: What stopped it, or what it got.
    """

    name: str
    tries: str
    denied: bool
    how: str


@contextmanager
def outside() -> Iterator[dict[str, Any]]:
    """What waits outside for attacks; the facts that they are told."""
    folder = tempfile.mkdtemp(prefix="spiritsafe-outside-")
    secret, mark = secrets.token_hex(16), f"attack-{secrets.token_hex(8)}"
    Path(folder, "secret.txt").write_text(secret, "ascii")
    os.chmod(folder, 0o755)
    abstract, path = f"spiritsafe-{secrets.token_hex(8)}", os.path.join(folder, "socket")
    servers = [socket.create_server(("127.0.0.1", 0))]
    for address in ("\0" + abstract, path):
        servers.append(socket.socket(socket.AF_UNIX))
        servers[-1].bind(address)
        servers[-1].listen()
    greeters = [threading.Thread(target=_greet, args=(server,), daemon=True) for server in servers]
    for greeter in greeters:
        greeter.start()
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", secret], env={"SECRET": secret}, start_new_session=True
    )
    segment = _shared_memory(secret.encode("ascii"))
    try:
        yield {
            "secret": secret,
            "file": os.path.join(folder, "secret.txt"),
            "folder": folder,
            "home": str(Path.home()),
            "grader": str(Path(__file__)),
            "pid": sleeper.pid,
            "port": servers[0].getsockname()[1],
            "abstract": abstract,
            "socket": path,
            "key": secrets.randbelow(1 << 30) + 1,
            "segment": segment,
            "mark": mark,
            "outside": False,
        }
    finally:
        _LIBC.shmctl(segment, _REMOVE, None)
        sleeper.kill()
        sleeper.wait()
        for server, greeter in zip(servers, greeters, strict=True):
            server.shutdown(socket.SHUT_RDWR)  # which ends its waiting; closing does not
            greeter.join()
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _shared_memory(content: bytes) -> int:
    """The number of a new segment that everybody may read."""
    segment: int = _LIBC.shmget(0, ctypes.c_size_t(4096), 0o644)
    _LIBC.shmat.restype = ctypes.c_void_p
    if segment >= 0:  # a machine may have none
        address = _LIBC.shmat(segment, None, 0)
        ctypes.memmove(address, content, len(content))
        _LIBC.shmdt(ctypes.c_void_p(address))
    return segment


def _greet(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            visitor, _ = server.accept()
            with visitor:
                visitor.sendall(b"welcome")


def run_attack(sandbox: Sandbox, name: str, facts: dict[str, Any]) -> AttackResult:
    """Let one attack try."""
    tries = (programs.ATTACKS[name].__doc__ or name).rstrip(".")
    try:
        denied, how = _try(sandbox, name, facts)
    except SandboxFailure as failure:
        denied, how = False, f"the sandbox failed: {failure}"
    if denied and (left := _left_behind(facts)):
        denied, how = False, f"it left {left}"
    return AttackResult(name=name, tries=tries, denied=denied, how=how)


def _try(sandbox: Sandbox, name: str, facts: dict[str, Any]) -> tuple[bool, str]:
    source = Path(programs.__file__).read_text("utf-8")
    step = RunStep(python="attack.py", arguments=(name, json.dumps(facts)))
    result = sandbox.run(Run(files={"attack.py": source}, steps=(step,), limits=_LIMITS))
    said = result.steps[0].text.strip()
    lines = [line for line in said.splitlines() if line.startswith(("GOT", "denied"))]
    if any(line.startswith("GOT") for line in lines):
        return False, lines[-1][:200]
    if name == "leave_file":
        return _try(sandbox, "find_what_was_left", facts)
    if result.stop is not None:
        return True, _STOPPED[result.stop]
    code = result.steps[0].code
    if lines:
        return True, lines[-1].removeprefix("denied: ")[:200]
    if code is None or code >= 0:
        return False, f"the attack broke: {result.steps[0].errors.strip()[-150:]}"
    return True, f"ended by {signal.Signals(-code).name}"


def _left_behind(facts: dict[str, Any]) -> str | None:
    """A process or a file of an attack outside."""
    for process in psutil.process_iter(["cmdline"]):
        if any(facts["mark"] in part and process.pid != os.getpid() for part in process.info["cmdline"] or ()):
            return f"process {process.pid}"
    places = (facts["folder"], tempfile.gettempdir(), "/", "/usr", "/dev", "/dev/shm")
    for place in places:
        for name in ("attack", facts["mark"]):
            if os.path.exists(os.path.join(place, name)):
                return f"the file {os.path.join(place, name)}"
    return None


def attack_table(sandbox: Sandbox) -> list[AttackResult]:
    """All attacks, one after the other."""
    with outside() as facts:
        return [run_attack(sandbox, name, facts) for name in programs.ATTACKS]
