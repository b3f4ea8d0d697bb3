from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.core.process.free_memory import free_bytes, reachable_bytes, resident_bytes


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_free_memory_is_the_least_of_machine_and_control_groups(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    assert reachable_bytes(proc, groups, own_bytes=5) is None
    write(proc / "meminfo", "MemTotal:  9000 kB\nMemAvailable:    8000 kB\n")
    assert reachable_bytes(proc, groups, own_bytes=5) == 8000 * 1024 + 5
    # version 2: an outer group has the narrower limit; pages of files can be dropped
    write(proc / "self/cgroup", "0::/outer/inner\n")
    write(groups / "outer/inner/memory.max", "max\n")
    write(groups / "outer/inner/memory.current", "100\n")
    write(groups / "outer/memory.max", "1000000\n")
    write(groups / "outer/memory.current", "400000\n")
    write(groups / "outer/memory.stat", "anon 300000\ninactive_file 50000\n")
    assert reachable_bytes(proc, groups, own_bytes=5) == 650_000 + 5
    # version 1 says "no limit" by a huge number
    write(proc / "self/cgroup", "4:memory:/job\n3:cpuset:/\n")
    write(groups / "memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    write(groups / "memory/job/memory.usage_in_bytes", "70000\n")
    assert reachable_bytes(proc, groups, own_bytes=0) == 8000 * 1024
    write(groups / "memory/job/memory.limit_in_bytes", "90000\n")
    assert reachable_bytes(proc, groups, own_bytes=0) == 20_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_process_has_something_and_may_have_more() -> None:
    assert resident_bytes() > 1_000_000
    free = free_bytes()
    assert free is not None
    assert free >= 0


def test_children_hold_memory_too() -> None:
    own = resident_bytes()
    program = "import sys; held = bytearray(range(256)) * (1 << 18); print(len(held), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        held = int(child.stdout.readline())
        assert resident_bytes(with_children=True) > own // 2 + held
        child.stdin.close()
