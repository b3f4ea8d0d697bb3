import asyncio
from datetime import UTC, datetime

import pytest

from spiritsafe.rollouts.limits import RateLimiter, backoff_s, retry_after_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_spaced_evenly() -> None:
    clock = Clock()
    limiter = RateLimiter(120, None, clock=clock)
    assert [limiter.reserve(1) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    clock.now += 10
    assert limiter.reserve(1) == 0.0  # idle time is not saved up for a burst
    assert limiter.reserve(1) == 0.5


def test_tokens_are_spaced_and_unused_ones_given_back() -> None:
    limiter = RateLimiter(None, 6000, clock=Clock())
    assert [limiter.reserve(100), limiter.reserve(50), limiter.reserve(1)] == pytest.approx([0.0, 1.0, 1.5])
    limiter.refund(51)
    assert limiter.reserve(1) == pytest.approx(1.0)


def test_the_stricter_limit_holds() -> None:
    limiter = RateLimiter(60, 600, clock=Clock())
    assert [limiter.reserve(5), limiter.reserve(30), limiter.reserve(1)] == [0.0, 1.0, 4.0]


def test_without_limits_nobody_waits_unless_paused() -> None:
    clock = Clock()
    limiter = RateLimiter(None, None, clock=clock)
    assert limiter.reserve(10**9) == 0.0
    limiter.pause(3)
    limiter.pause(1)  # a shorter pause does not end a longer one
    assert limiter.reserve(1) == 3.0
    clock.now += 4
    assert limiter.reserve(1) == 0.0


def test_acquire_waits_out_a_pause_that_begins_while_it_waits() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(6000, None, clock=loop.time)
        start = loop.time()
        await limiter.acquire(1)
        second = asyncio.ensure_future(limiter.acquire(1))
        await asyncio.sleep(0)
        limiter.pause(0.08)
        await second
        return loop.time() - start

    assert asyncio.run(scenario()) >= 0.08


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
