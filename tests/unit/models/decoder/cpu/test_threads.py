from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spiritsafe.models.decoder.cpu import threads


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class CountingLoop:
    """Adds one to each number of a job; as a loop of numba's has an address and can be called."""

    def __init__(self) -> None:
        kind = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64))
        self.entered: list[int] = []

        def enter(job: Any) -> None:
            self.entered.append(job[1])

        self.ctypes = kind(enter)
        self.address = ctypes.cast(self.ctypes, ctypes.c_void_p).value


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("has_door", [True, False])
def test_each_of_torchs_threads_enters_a_loop_where_there_is_a_door(
    has_door: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_door:
        monkeypatch.setattr(threads, "_parallel", lambda: None)
    elif threads._parallel() is None:
        pytest.skip("torch brings no OpenMP of GNU's on this system")
    loop = CountingLoop()
    threads.run_loop(loop, (0, 7))
    assert loop.entered == [7] * (3 if has_door else 1)


@pytest.mark.parametrize(
    ("installed", "door", "count", "can"),
    [
        (True, True, 1, True),
        (True, True, 8, True),
        (True, False, 1, True),
        (True, False, 8, False),
        (False, True, 1, False),
    ],
)
def test_where_loops_would_leave_threads_idle_there_are_none(
    installed: bool, door: bool, count: int, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "has_numba", lambda: installed)
    monkeypatch.setattr(threads, "_parallel", lambda: print if door else None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert threads.can_loop() == can


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP for Linux only")
def test_who_installed_the_tests_has_loops_in_every_thread() -> None:
    assert threads._parallel() is not None
    assert threads.can_loop()


def test_a_system_without_the_door_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no library of all symbols, macOS another OpenMP."""
    threads._parallel.cache_clear()
    for error in (TypeError("bad argument type"), OSError("no such library")):

        def none(name: None, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(threads.ctypes, "CDLL", none)
        assert threads._parallel() is None
        threads._parallel.cache_clear()
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: object())
    assert threads._parallel() is None
    monkeypatch.undo()
    threads._parallel.cache_clear()


PROGRAM = """
from spiritsafe.models.decoder.cpu.threads import can_loop, has_bfloat16_products
print(can_loop(), can_loop() and has_bfloat16_products())
"""


@pytest.mark.parametrize(
    ("name", "value", "loops"),
    [("NUMBA_DISABLE_JIT", "1", "False"), ("NUMBA_CPU_NAME", "generic", "True"), ("NUMBA_ENABLE_AVX", "0", "True")],
)
def test_a_compiler_that_is_held_back_is_not_asked_for_what_it_does_not_know(name: str, value: str, loops: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ | {name: value}, check=True
    )
    assert done.stdout.split() == [loops, "False"]
