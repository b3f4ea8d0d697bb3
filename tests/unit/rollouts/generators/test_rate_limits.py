import asyncio
from datetime import UTC, datetime

import pytest

from spiritsafe.rollouts.generators.rate_limits import RateLimiter, backoff_s, retry_after_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def starts(limiter: RateLimiter, clock: Clock, *costs: int) -> list[float]:
    """When requests of these costs start, all wanting to at once."""
    times = []
    for cost in costs:
        clock.now += max(0.0, limiter.wait_s())
        limiter.book(cost)
        times.append(clock.now - 1000.0)
    return times


def test_requests_are_spaced_evenly() -> None:
    clock = Clock()
    limiter = RateLimiter(120, None, clock=clock)
    assert starts(limiter, clock, *[1] * 9) == pytest.approx([0.5 * i for i in range(9)], abs=0.021)
    clock.now += 100
    after_idling = starts(limiter, clock, *[1] * 5)
    assert after_idling[4] - after_idling[0] >= 4 * 0.5 - 0.021  # idle time is not saved up for a burst


def test_lateness_does_not_add_up() -> None:
    clock = Clock()
    limiter = RateLimiter(600, None, clock=clock)
    for _ in range(1000):
        clock.now += max(0.0, limiter.wait_s()) + 0.01
        limiter.book(1)
    assert clock.now - 1000.0 == pytest.approx(100.0, rel=0.01)


def test_tokens_are_spaced_and_unused_ones_given_back() -> None:
    clock = Clock()
    limiter = RateLimiter(None, 6000, clock=clock)
    assert starts(limiter, clock, 100, 50, 80) == pytest.approx([0.0, 1.0, 1.5])
    assert limiter.wait_s() == pytest.approx(0.8)
    limiter.refund(60)
    assert limiter.wait_s() == pytest.approx(0.2)


def test_the_stricter_limit_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(60, 600, clock=clock)
    assert starts(limiter, clock, 5, 30, 1) == pytest.approx([0, 1, 4], abs=0.021)


def test_without_limits_nobody_waits_unless_paused() -> None:
    clock = Clock()
    limiter = RateLimiter(None, None, clock=clock)
    assert starts(limiter, clock, 10**9, 10**9) == [0.0, 0.0]
    limiter.pause(3)
    limiter.pause(1)  # a shorter pause does not end a longer one
    assert limiter.wait_s() == 3.0
    clock.now += 4
    assert limiter.wait_s() <= 0.0


def test_acquire_is_first_come_first_served_and_sees_refunds() -> None:
    async def scenario() -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(None, 60, clock=loop.time)
        order: list[str] = []

        async def take(name: str, cost: int) -> None:
            await limiter.acquire(cost)
            order.append(name)
            limiter.refund(cost)

        start = loop.time()
        await asyncio.gather(*(take(name, 100) for name in "abc"))  # 100 s each, were they not given back
        return order, loop.time() - start

    order, seconds = asyncio.run(scenario())
    assert order == ["a", "b", "c"]
    assert seconds < 5


def test_acquire_waits_out_a_pause_that_begins_while_it_waits() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(600, None, clock=loop.time)
        start = loop.time()
        await limiter.acquire(1)
        second = asyncio.ensure_future(limiter.acquire(1))
        await asyncio.sleep(0)
        limiter.pause(0.15)
        await second
        return loop.time() - start

    assert asyncio.run(scenario()) >= 0.15


def test_backoff_doubles_is_capped_and_repeatable() -> None:
    waits = [backoff_s(i, base_s=1.0, most_s=10.0, seed_parts=(7, "p")) for i in range(8)]
    for index, wait in enumerate(waits):
        assert min(10.0, 2.0**index) / 2 <= wait <= min(10.0, 2.0**index)
    assert waits == [backoff_s(i, base_s=1.0, most_s=10.0, seed_parts=(7, "p")) for i in range(8)]
    assert waits != [backoff_s(i, base_s=1.0, most_s=10.0, seed_parts=(8, "p")) for i in range(8)]
    assert backoff_s(10_000, base_s=1.0, most_s=10.0, seed_parts=()) <= 10.0


def test_retry_after() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert retry_after_s("7") == 7.0
    assert retry_after_s(" 0.25 ") == 0.25
    assert retry_after_s("Fri, 02 Jan 2026 03:04:35 GMT", now=now) == 30.0
    assert retry_after_s("Fri, 02 Jan 2026 03:04:35 -0000", now=now) == 30.0
    assert retry_after_s("Thu, 01 Jan 2026 00:00:00 GMT", now=now) == 0.0
    for nonsense in (None, "", "soon", "-5", "1e9", "9" * 400, "nan", "٣"):
        assert retry_after_s(nonsense) is None


def test_where_nobody_waits_a_turn_is_taken_at_once() -> None:
    now = [0.0]
    limiter = RateLimiter(60.0, None, clock=lambda: now[0])
    assert limiter.take(1)
    assert not limiter.take(1)
    now[0] = 1.0
    assert limiter.take(1)
    limiter.pause(5.0)
    now[0] = 3.0
    assert not limiter.take(1)
