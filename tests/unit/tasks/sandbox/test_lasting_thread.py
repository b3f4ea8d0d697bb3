from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from spiritsafe.tasks.sandbox.lasting_thread import start_lasting

ENDS_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
os.write(1, b"x")
sys.stdin.read()
"""
COMMAND = [sys.executable, "-I", "-S", "-c", ENDS_WITH_PARENT]


def started_by_a_thread() -> subprocess.Popen[bytes]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(start_lasting(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert started[0].stdout is not None
        started[0].stdout.read(1)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    return started[0]


def test_a_process_outlives_the_thread_that_asked_for_it() -> None:
    process = started_by_a_thread()
    process.communicate()  # its input ends, and so does it
    assert process.returncode == 0


def test_what_cannot_be_started_is_told_to_whom_asked() -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            start_lasting(["/no/such/program"])
    process = start_lasting(["/bin/true"])
    assert process.wait() == 0


def test_a_forked_process_starts_its_own() -> None:
    start_lasting(["/bin/true"]).wait()
    pid = os.fork()
    if not pid:
        os._exit(start_lasting(["/bin/sh", "-c", "exit 7"]).wait())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
