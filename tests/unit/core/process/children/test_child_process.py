"""Children that speak, fall silent, flood, hang and will not go."""

import os
import sys
import time
from pathlib import Path

import pytest

from spiritsafe.core.process.children import child_process
from spiritsafe.core.process.children.child_process import ChildProcess

ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"


def python(code: str) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", code])


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_lines_go_both_ways_and_the_end_is_seen() -> None:
    child = python(ECHO)
    child.send(b"abc\n", 20)
    assert child.receive(10) == b"cba\n"
    with pytest.raises(TimeoutError):
        child.receive(0.05)
    started = time.monotonic()
    child.stop(10)
    assert time.monotonic() - started < 5  # it ends by itself when its stdin does
    assert child.receive(1) is None
    assert child.receive(1) is None
    assert child.exit_status() == 0


def test_large_lines_do_not_block_either_side() -> None:
    child = python(ECHO)
    line = b"x" * (1 << 20) + b"\n"
    for _ in range(8):
        child.send(line, 20)
    time.sleep(0.05)
    for _ in range(8):
        assert child.receive(20) == line
    child.stop(5)


def test_a_line_without_an_end_is_the_end_of_what_is_read() -> None:
    child = ChildProcess(
        [sys.executable, "-c", "print('ok', flush=True); print('x' * 100_000, flush=True); print('no')"],
        most_line_bytes=1000,
    )
    assert child.receive(20) == b"ok\n"
    assert child.receive(20) is None
    child.stop(5)


def test_a_child_that_floods_is_read_ahead_so_far_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_MOST_AHEAD_BYTES", 4000)
    child = python("import sys\nprint('first', file=sys.stderr, flush=True)\nwhile True: print('x' * 99)")
    for _ in range(1000):
        assert child.receive(20) == b"x" * 99 + b"\n"
    time.sleep(0.05)
    assert child._lines._num_bytes <= 4100
    child.stop(0)  # although it waits for its reader
    assert child.exit_status() == -15


def test_who_does_not_read_is_not_waited_for() -> None:
    child = python("import time; print(flush=True); time.sleep(600)")
    assert child.receive(20) == b"\n"
    with pytest.raises(TimeoutError):
        child.send(b"x" * (4 << 20) + b"\n", 0.1)
    child.stop(0)


def test_without_a_group_of_its_own_it_alone_is_told_to_end() -> None:
    child = ChildProcess(
        [sys.executable, "-c", "import os, time; print(os.getpgrp(), flush=True); time.sleep(600)"], own_group=False
    )
    assert child.receive(20) == b"%d\n" % os.getpgrp()
    child.stop(0, term_wait_s=None)
    assert child.exit_status() == -15


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the table of processes")
@pytest.mark.parametrize("obeys", [False, True])
def test_who_must_be_told_to_end_ends_with_what_left_its_group(obeys: bool) -> None:
    code = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.{"SIG_DFL" if obeys else "SIG_IGN"})
far = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(far.pid, flush=True)
time.sleep(600)
"""
    child = python(code)
    line = child.receive(20)
    assert line is not None
    child.stop(0, term_wait_s=10 if obeys else 0.05)
    deadline = time.monotonic() + 5
    while is_alive(int(line)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(int(line))


def test_only_the_tail_of_stderr_is_kept() -> None:
    child = python("import sys\nfor i in range(5000): print('line', i, 'y' * 100, file=sys.stderr)\nsys.exit(3)")
    assert child.receive(10) is None
    tail = child.stderr_tail()
    assert child.exit_status() == 3
    assert tail.splitlines()[-1].startswith("line 4999 ")
    assert len(tail.splitlines()) == 20
    child.stop(0)


def test_stop_ends_the_whole_group_even_if_it_does_not_want_to() -> None:
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""
    child = python(code)
    line = child.receive(20)
    assert line is not None
    pids = [int(word) for word in line.split()]
    assert pids[0] == child.pid != os.getpid()
    assert all(is_alive(pid) for pid in pids)
    child.stop(0.05)
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_alive(pid) for pid in pids)
    assert child.exit_status() == -9


def test_a_grandchild_left_behind_is_ended_too() -> None:
    code = """
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(grandchild.pid, flush=True)
"""
    child = python(code)
    line = child.receive(20)
    assert line is not None
    child.stop(5)
    deadline = time.monotonic() + 5
    while is_alive(int(line)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(int(line))


def test_a_dead_child_takes_questions_without_complaint() -> None:
    child = python("")
    assert child.receive(10) is None
    for _ in range(100):
        child.send(b"x" * 10_000 + b"\n", 20)
    child.stop(0)


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        ChildProcess(["/no-such-program"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", ("was ended by SIGSEGV", "last lines")),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ("was ended by SIGKILL", "memory")),
        ("raise SystemExit(3)", ("ended with exit status 3", "last lines")),
    ],
)
def test_how_it_ended_is_told(code: str, said: tuple[str, str]) -> None:
    child = python(code)
    assert child.receive(20) is None
    how, hint = child.ending()
    assert how == said[0]
    assert said[1] in hint
    child.stop(0)


def test_the_output_is_for_answers_alone() -> None:
    child = python(
        "import os\nfrom spiritsafe.core.process.children.child_process import take_stdout\nanswers = take_stdout()\n"
        "print('noise')\nos.write(1, b'noise of C\\n')\nprint('answer', file=answers, flush=True)"
    )
    assert child.receive(20) == b"answer\n"
    assert child.receive(20) is None
    child.stop(5)
    assert child.stderr_tail().split("\n") == ["noise", "noise of C"]
