"""Limits, each lowered in a process of its own: pytest must keep what it has."""

import resource
import subprocess
import sys
import textwrap

import pytest

from spiritsafe.core.process import limits


def run(body: str, code: int = 0) -> list[str]:
    """What a script prints, which ends with a code."""
    script = "import os, resource\nfrom spiritsafe.core.process.limits import *\n" + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout.split()


def test_lower_limit_keeps_the_hard_one() -> None:
    body = """
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    lower_limit(resource.RLIMIT_NOFILE, 64)
    print(resource.getrlimit(resource.RLIMIT_NOFILE) == (64, hard))
    lower_limit(resource.RLIMIT_NOFILE, hard + 1)
    print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
    """
    assert run(body) == ["True", "True"]


def test_memory_and_files_have_ends() -> None:
    body = """
    limit_memory(1 << 30)
    print(resource.getrlimit(resource.RLIMIT_CORE)[0])
    try: bytearray(2 << 30)
    except MemoryError: print("memory")
    limit_files(1 << 20)
    print(resource.getrlimit(resource.RLIMIT_FSIZE)[0])
    """
    assert run(body) == ["0", "memory", str(1 << 20)]


def test_a_busy_loop_is_ended_by_the_kernel() -> None:
    assert run("limit_cpu(0.2)\nwhile True: pass", code=-24) == []


def test_the_largest_resident_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.most_resident_bytes() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > 1 << 20
    monkeypatch.setattr(limits, "resource", None)
    assert limits.most_resident_bytes() == 0
