"""Trees of processes, each grown in a process of its own: whoever ends all descendants must not be pytest."""

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from spiritsafe.core.process.process_tree import descendants, process_facts

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def run(body: str) -> list[str]:
    """What a script prints."""
    script = (
        "import os, signal, subprocess, sys, time\nfrom spiritsafe.core.process.process_tree import *\n"
        + textwrap.dedent(body)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@needs_proc
def test_facts_agree_with_what_the_system_says_otherwise() -> None:
    facts = process_facts(os.getpid())
    assert facts is not None
    assert (facts.pid, facts.parent, facts.group, facts.ended) == (os.getpid(), os.getppid(), os.getpgrp(), False)
    assert facts.resident_bytes <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (1 << 20)
    assert facts.resident_bytes > 1 << 20
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    assert abs(facts.address_bytes - pages * os.sysconf("SC_PAGE_SIZE")) < 64 << 20
    assert process_facts(2**22 + 1) is None  # beyond the largest number there can be


@needs_proc
def test_a_name_with_brackets_and_spaces_is_no_trap(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 ("
    odd.symlink_to(sys.executable)
    child = subprocess.Popen([str(odd), "-c", "print(flush=True); import time; time.sleep(60)"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        facts = process_facts(child.pid)
        assert facts is not None
        assert (facts.parent, facts.ended) == (os.getpid(), False)
        assert child.pid in {below.pid for below in descendants(os.getpid())}
    finally:
        child.kill()
        child.communicate()


FAMILY = """
adopt_orphans()
def spawn(depth, session):
    read, write = os.pipe()
    if not os.fork():
        if session: os.setsid()
        if depth: spawn(depth - 1, session)
        os.write(write, b'x')
        if depth: os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    os.read(read, 1)
"""


@needs_proc
def test_orphans_stay_in_the_tree_and_are_ended() -> None:
    body = """
    spawn(2, False); spawn(2, True); spawn(0, True)
    time.sleep(0.1)
    print(sum(not facts.ended for facts in descendants(os.getpid())))
    codes = end_descendants()
    print(len(descendants(os.getpid())), sorted(set(codes.values())), len([c for c in codes.values() if c == -9]))
    print(reap())
    """
    assert run(FAMILY + textwrap.dedent(body)) == ["3", "0", "[-9,", "0]", "3", "({},", "False)"]


@needs_proc
def test_those_to_be_spared_live_with_what_is_below_them() -> None:
    body = """
    below = 'import subprocess, sys; p = subprocess.Popen(["sleep", "60"]); print(flush=True); p.wait()'
    helper = subprocess.Popen([sys.executable, '-c', below], stdout=subprocess.PIPE)
    helper.stdout.readline()
    spawn(0, True)
    end_descendants(spare=[helper.pid])
    print(len(descendants(os.getpid())), helper.poll())
    end_descendants()
    print(len(descendants(os.getpid())))
    """
    assert run(FAMILY + textwrap.dedent(body)) == ["2", "None", "0"]


@needs_proc
def test_one_that_multiplies_is_caught() -> None:
    """Each starts another and ends, so that whoever kills what stands in the table always comes too late."""
    body = """
    adopt_orphans()
    if not os.fork():
        os.setsid()
        for _ in range(20_000):
            if os.fork(): os._exit(0)
        os._exit(0)
    time.sleep(0.2)
    print(len(descendants(os.getpid())) > 0)
    end_descendants()
    print(len(descendants(os.getpid())))
    """
    assert run(body) == ["True", "0"]


def test_reap_gives_codes_as_subprocess_does_and_says_whether_others_live() -> None:
    body = """
    read, write = os.pipe()
    for code in (0, 3):
        if not os.fork(): os._exit(code)
    if not os.fork(): os.kill(os.getpid(), signal.SIGKILL)
    last = os.fork()
    if not last: os.read(read, 1); os._exit(0)
    time.sleep(0.2)
    codes, living = reap()
    print(sorted(codes.values()), living)
    os.write(write, b'x'); time.sleep(0.2)
    codes, living = reap()
    print(codes == {last: 0}, living, reap())
    """
    assert run(body) == ["[-9,", "0,", "3]", "True", "True", "False", "({},", "False)"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_a_process_ends_with_its_parent_even_if_that_was_quicker() -> None:
    body = """
    adopt_orphans()
    for early in (True, False):
        if not os.fork():
            parent = os.getpid()
            if not os.fork():
                if early: time.sleep(0.2)
                end_with_parent(parent)
                time.sleep(60)
                os._exit(7)
            time.sleep(0 if early else 0.2)
            os._exit(0)
    time.sleep(0.8)
    print(sorted(reap()[0].values()))
    """
    assert run(body) == ["[-9,", "0,", "0,", "1]"]
