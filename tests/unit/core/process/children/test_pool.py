"""The pool of children: whatever happens in a child, the caller gets an answer or a failure, and the pool goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from spiritsafe.core.process.children.pool import ChildFailure, ChildPool, Handler, shared_pool

ECHO = Handler("json", "JSONEncoder")  # importable, but not callable: a handler that always raises
LENGTH = Handler("functools", "partial")  # takes no arguments here, so building it raises
FAULT = "spiritsafe.tasks.grading.faults"


@pytest.fixture(scope="module")
def pool() -> Iterator[ChildPool]:
    pool = ChildPool(max_children=1, cpu_s=1, wall_s=60.0)
    yield pool
    pool.close()


def serves(pool: ChildPool) -> bool:
    return bool(pool.call(Handler(FAULT, "FaultyHandler", {"fault": "none"}), {"x": 1}) == {"x": 1})


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("raise", "raised", "RuntimeError: injected"),
        ("crash", "crashed", "ended with code 3"),
        ("hog", "raised", "MemoryError"),
        ("spin", "timeout", "CPU seconds"),
    ],
)
def test_faults_become_failures_and_the_next_call_is_served(
    pool: ChildPool, fault: str, kind: str, message: str
) -> None:
    with pytest.raises(ChildFailure, match=message) as caught:
        pool.call(Handler(FAULT, "FaultyHandler", {"fault": fault}), None)
    assert caught.value.kind == kind
    assert serves(pool)


def test_a_child_that_sleeps_is_killed() -> None:
    pool = ChildPool(max_children=1, cpu_s=1, wall_s=0.5)
    with pytest.raises(ChildFailure, match=r"no reply within 0\.5 s") as caught:
        pool.call(Handler(FAULT, "FaultyHandler", {"fault": "hang"}), None)
    assert caught.value.kind == "timeout"
    pool.close()


def test_a_handler_that_cannot_be_built_is_a_failure(pool: ChildPool) -> None:
    for handler in (Handler("no_such_module", "x"), Handler("json", "no_such_attribute"), LENGTH):
        with pytest.raises(ChildFailure) as caught:
            pool.call(handler, None)
        assert caught.value.kind == "raised"
    with pytest.raises(ChildFailure, match="not callable"):
        pool.call(ECHO, 1)


def test_what_a_handler_prints_does_not_disturb_the_protocol(pool: ChildPool) -> None:
    with pytest.raises(ChildFailure, match="TypeError"):
        pool.call(Handler("builtins", "print", {"end": "x\n"}), "y")
    assert serves(pool)


def test_threads_share_the_pool() -> None:
    pool = ChildPool(max_children=2, cpu_s=5, wall_s=60.0)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(serves(pool))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert results == [True] * 8


def test_a_child_that_died_while_nobody_asked_is_replaced() -> None:
    """As systems short of memory do it: nobody's call fails for it."""
    pool = ChildPool(max_children=2)
    try:
        assert serves(pool)
        (first,) = pool._idle
        os.kill(first._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first._process.pid, os.WEXITED | os.WNOWAIT)
        assert serves(pool)
        (second,) = pool._idle
        assert second is not first
        assert serves(pool)
        assert pool._idle == [second]
    finally:
        pool.close()


def test_children_end_with_their_parent() -> None:
    script = (
        "import os\n"
        "from spiritsafe.core.process.children.pool import Handler, shared_pool\n"
        "from spiritsafe.core.process.children.pool import _SHARED\n"
        "h = Handler('spiritsafe.tasks.grading.faults', 'FaultyHandler', {'fault': 'none'})\n"
        "print(shared_pool().call(h, 'correct'))\n"
        "print(_SHARED._idle[0]._process.pid, flush=True)\n"
        "os._exit(0)\n"  # no atexit: as after kill -9
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert out[0] == "correct"
    deadline = time.monotonic() + 10
    while _alive(int(out[1])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(out[1]))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_inline_there_are_no_children_and_the_same_failures() -> None:
    """In a process of its own: it cannot be undone."""
    script = (
        "from spiritsafe.core.process.children.pool import ChildFailure, Handler, serve_inline, shared_pool\n"
        "from spiritsafe.core.process.process_tree import descendants\n"
        "import os\n"
        "serve_inline()\n"
        "fault = lambda kind: Handler('spiritsafe.tasks.grading.faults', 'FaultyHandler', {'fault': kind})\n"
        "print(shared_pool().call(fault('none'), 'x'))\n"
        "for handler in (fault('raise'), Handler('json', 'nothing')):\n"
        "    try: shared_pool().call(handler, None)\n"
        "    except ChildFailure as failure: print(failure.kind, failure)\n"
        "try: shared_pool().call(fault('hog'), None)\n"
        "except MemoryError: print('memory')\n"
        "print(len(descendants(os.getpid())))\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        "x",
        "raised RuntimeError: injected",
        "raised AttributeError: module 'json' has no attribute 'nothing'",
        "memory",
        "0",
    ]


def test_there_is_one_shared_pool() -> None:
    assert shared_pool() is shared_pool()
