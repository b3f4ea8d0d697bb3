"""Admission: places are never oversold nor lost, keys take turns, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random

import pytest
from asynchronous import asynchronous

from spiritsafe.serve.operation.admission import AdmissionQueue
from spiritsafe.serve.refusals import Refusal


def queue_of(places: int = 1, waiting: int = 100, wait_s: float = 600.0) -> AdmissionQueue:
    return AdmissionQueue(num_places=places, most_waiting=waiting, longest_wait_s=wait_s)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynchronous
async def test_keys_take_turns() -> None:
    queue, order = queue_of(), []
    await queue.enter("holder")

    async def ask(key: str) -> None:
        await queue.enter(key)
        order.append(key)
        queue.leave()

    tasks = [asyncio.create_task(ask(key)) for key in "aaaaabbc"]
    await settle()
    assert (queue.num_taken, queue.num_waiting) == (1, 8)
    queue.leave()
    await asyncio.gather(*tasks)
    assert "".join(order) == "abcabaaa"
    assert (queue.num_taken, queue.num_waiting) == (0, 0)


@asynchronous
async def test_one_that_needs_more_places_is_not_overtaken_for_ever() -> None:
    queue = queue_of(places=2)
    await queue.enter("a")
    large = asyncio.create_task(queue.enter("b", 2))
    await settle()
    small = asyncio.create_task(queue.enter("c"))
    await settle()
    assert not small.done()
    queue.leave()
    await large
    assert not small.done()
    queue.leave(2)
    await small
    queue.leave()
    await queue.enter("d", 1000)  # more than there are: all of them
    assert queue.num_taken == 2


@asynchronous
async def test_a_full_queue_and_a_long_wait_are_429() -> None:
    queue = queue_of(waiting=1, wait_s=0.0)
    await queue.enter("a")
    with pytest.raises(Refusal, match="waited 0 s") as refused:
        await queue.enter("b")
    assert refused.value.status == 429
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
    patient = queue_of(waiting=1)
    await patient.enter("a")
    waiting = asyncio.create_task(patient.enter("b"))
    await settle()
    with pytest.raises(Refusal, match="queue is full"):
        await patient.enter("c")
    patient.end(lambda: Refusal("over", hint="", status=503))
    with pytest.raises(Refusal, match="over"):
        await waiting
    assert (patient.num_taken, patient.num_waiting) == (1, 0)


@asynchronous
async def test_clients_that_hang_up_at_any_moment_lose_no_place() -> None:
    """Every order of asking, leaving and hanging up: the sum of places stays what it is."""
    for seed in range(40):
        rng = random.Random(seed)
        queue, most = queue_of(places=3), 0
        held = 0

        async def ask(key: str, size: int, rng: random.Random = rng, queue: AdmissionQueue = queue) -> None:
            nonlocal held, most
            await queue.enter(key, size)
            held += size
            most = max(most, held)
            try:
                for _ in range(rng.randint(0, 3)):
                    await asyncio.sleep(0)
            finally:
                held -= size
                queue.leave(size)

        tasks = [asyncio.create_task(ask(rng.choice("abcd"), rng.randint(1, 3))) for _ in range(60)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if rng.random() < 0.5:
                rng.choice(tasks).cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in done)
        assert most <= 3
        assert (queue.num_taken, queue.num_waiting, held) == (0, 0, 0)
