from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.code.duet.inside.fenced import read_messages
from spiritsafe.tasks.code.duet.programs import program_files
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep

# Processes are forked in the sandbox: a fork of the process of tests would run whatever is registered there.
_PROGRAM = """import os, sys
from spiritsafe.tasks.code.duet.inside.fenced import fork_fenced, wait_for

kept, closed = os.pipe()
reading, writing = os.pipe()

def work():
    {work}

pid = fork_fenced(work, keep=(writing,), cpu_s={cpu_s}, wall_s={wall_s}, file_bytes={file_bytes})
os.close(writing)
said = b""
while part := os.read(reading, 1 << 16):
    said += part
code, cpu_s = wait_for(pid)
print(code, cpu_s < 5.0, said.decode())
"""


def outcome(
    layer: str,
    work: str,
    *,
    cpu_s: float = 20.0,
    wall_s: float = 60.0,
    file_bytes: int = 0,
    limits: Limits | None = None,
) -> list[str]:
    """Exit code, whether it computed less than five seconds, and what the work wrote to ``writing``."""
    main = _PROGRAM.format(work=work.replace("\n", "\n    "), cpu_s=cpu_s, wall_s=wall_s, file_bytes=file_bytes)
    files = {**program_files("fenced"), "main.py": main}
    run = Run(files=files, steps=(RunStep(python="main.py"),), limits=limits or Limits(cpu_s=60.0, wall_s=120.0))
    step = sandbox_of(layer).run(run).steps[0]
    assert step.code == 0, step.errors
    return step.text.strip().split(" ", 2)


@every_layer
def test_it_works_and_ends(layer: str) -> None:
    assert outcome(layer, "os.write(writing, b'here')") == ["0", "True", "here"]
    assert outcome(layer, "raise ValueError")[0] == "0"  # what it says is all that is known
    assert outcome(layer, "os._exit(7)")[0] == "7"
    assert outcome(layer, "sys.exit(7)")[0] == "0"
    assert outcome(layer, "os.abort()")[0] in ("-6", "-11")


@every_layer
def test_files_are_as_long_as_they_may_be(layer: str) -> None:
    work = """with open('trace', 'wb', buffering=0) as file:
    for _ in range(9):
        os.write(writing, b'%d ' % file.write(b'x' * 100))"""
    assert outcome(layer, work, file_bytes=250) == ["0", "True", "100 100 50"]
    assert outcome(layer, work) == ["0", "True"]


_ATTEMPTS = {
    "a process": "os.fork()",
    "a program": "import subprocess; subprocess.run(['/bin/true'])",
    "a thread": "import _thread; _thread.start_new_thread(print, ())",
    "a file": "os.write(os.open('trace', os.O_CREAT | os.O_WRONLY), b'x')",
    "more of it": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (9, 9))",
    "a descriptor of the one above": "os.write(closed, b'x')",
    "another of them": "os.read(reading, 1)",
}


@every_layer
def test_it_leaves_nothing(layer: str) -> None:
    lines = [
        f"try:\n    {attempt}\n    os.write(writing, {f'{what}, '.encode()!r})\n"
        "except (OSError, ValueError, RuntimeError):\n    pass"
        for what, attempt in _ATTEMPTS.items()
    ]
    # SIGXFSZ, which Python ignores, else ends what writes a file
    assert outcome(layer, "\n".join(lines)) == ["0", "True"]


@every_layer
def test_its_descriptors_are_those_that_it_keeps(layer: str) -> None:
    work = """found = []
for number in range(256):
    try:
        os.fstat(number)
    except OSError:
        continue
    found.append(number)
nowhere = os.stat(os.devnull).st_rdev
fine = [os.fstat(number).st_rdev == nowhere for number in found]
os.write(writing, f"{found == [0, 1, 2, writing]} {fine}".encode())"""
    assert outcome(layer, work)[2] == "True [True, True, True, False]"


@every_layer
def test_its_time_ends(layer: str) -> None:
    assert outcome(layer, "while True: pass", cpu_s=0.1)[:2] == [str(-signal.SIGPROF), "True"]
    asleep = "import time; time.sleep(600)"
    assert outcome(layer, asleep, wall_s=0.1)[:2] == [str(-signal.SIGALRM), "True"]


@every_layer
def test_its_time_ends_whatever_it_does_to_the_clock(layer: str) -> None:
    work = """import signal
signal.setitimer(signal.ITIMER_PROF, 0)
signal.signal(signal.SIGPROF, signal.SIG_IGN)
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass"""
    assert outcome(layer, work, cpu_s=0.1)[:2] == [str(-signal.SIGKILL), "True"]


@every_layer
def test_its_bounds_keep_to_those_above(layer: str) -> None:
    limits = Limits(cpu_s=1.0)
    assert outcome(layer, "os.write(writing, b'here')", cpu_s=60.0, limits=limits) == ["0", "True", "here"]
    assert outcome(layer, "while True: pass", cpu_s=60.0, limits=limits)[:2] == [str(-signal.SIGKILL), "True"]


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b'{"a": 1}\n{"b": "\\u00e9"}\n', [{"a": 1}, {"b": "é"}]),
        (b"", []),
        (b'{"a": 1}\n{"b": ', [{"a": 1}]),
        (b'{"a": 1}\n[2]\n{"c": 3}\n', [{"a": 1}]),
        (b'{"a": 1}\n\xff\n{"c": 3}\n', [{"a": 1}]),
        (b'{"a": 1}\n' + b"[" * 20_000 + b'\n{"c": 3}\n', [{"a": 1}]),
        (b'{"a": 1}\n' * 9_000, [{"a": 1}] * ((1 << 16) // 9)),  # what is read at once, which is more than the bound
    ],
)
def test_what_makes_sense_is_heard_up_to_a_bound(said: bytes, heard: list[Any], tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(said)
    reading = os.open(tmp_path / "said", os.O_RDONLY)
    assert read_messages(reading, 1 << 15) == heard
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(reading)
