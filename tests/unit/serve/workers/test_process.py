from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

import psutil

from spiritsafe.serve.workers.process import WorkerEnding, WorkerProcess

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\nsys.stderr.write('bye'); sys.exit(3)"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('1', flush=True); time.sleep(600)"


async def heard(program: str, *values: Any, stop: bool) -> tuple[list[Any], list[WorkerEnding]]:
    said, endings = list[Any](), list[WorkerEnding]()
    changed = asyncio.Event()

    def hear(value: Any) -> None:
        said.append(value)
        changed.set()

    def end(ending: WorkerEnding) -> None:
        endings.append(ending)
        changed.set()

    process = WorkerProcess([sys.executable, "-c", program], hear, end)
    for value in values:
        process.send(value)
    while not endings and len(said) < max(1, len(values)):
        await changed.wait()
        changed.clear()
    if stop:
        await process.stop(0.1)
    while not (endings or stop):
        await changed.wait()
        changed.clear()
    return said, endings


def test_large_values_go_out_and_come_back() -> None:
    values = [{"text": "x" * 3_000_000}, {"half": "\ud83d"}, 5]
    assert asyncio.run(heard(ECHO, *values, stop=True)) == (values, [])


def test_its_end_is_told_once_behind_all_that_it_said() -> None:
    said, (ending,) = asyncio.run(
        heard("import sys; print(1); print(2); sys.stderr.write('bye'); sys.exit(3)", stop=False)
    )
    assert said == [1, 2]
    assert (ending.how, ending.tail) == ("ended with exit status 3", "bye")


def test_one_that_neither_reads_nor_obeys_is_killed() -> None:
    assert asyncio.run(deaf()) == ([1], [])


async def deaf() -> tuple[list[Any], list[WorkerEnding]]:
    said, endings = list[Any](), list[WorkerEnding]()
    up = asyncio.Event()
    process = WorkerProcess([sys.executable, "-c", DEAF], lambda value: (said.append(value), up.set()), endings.append)
    await up.wait()
    process.send("x" * 10_000_000)  # more than a pipe holds
    await process.stop(0.1)
    return said, endings


def test_what_it_started_in_a_group_of_its_own_is_killed_with_it() -> None:
    async def whole() -> None:
        said, ending = asyncio.Queue[int](), asyncio.Event()
        process = WorkerProcess([sys.executable, "-c", PARENT], said.put_nowait, lambda _: ending.set())
        below = psutil.Process(await said.get())
        below.suspend()
        process.kill()
        await ending.wait()
        with suppress(psutil.NoSuchProcess):
            while below.status() != psutil.STATUS_ZOMBIE:  # whoever adopted it may not have looked yet
                await asyncio.sleep(0)

    asyncio.run(whole())


def test_nonsense_is_an_end() -> None:
    said, (ending,) = asyncio.run(heard("print('la la'); import time; time.sleep(600)", stop=False))
    assert said == []
    assert "answered nonsense: b'la la" in ending.how
