"""Limits of keys: what is let in over time is what the limit says, whatever the pattern of asking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.serve.operation.keys import ApiKey, KeyLimits
from spiritsafe.serve.operation.limits import KeyLimiter, TokenBucket
from spiritsafe.serve.refusals import Refusal


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(**limits: int) -> ApiKey:
    return ApiKey(name="ada", limits=KeyLimits(**limits))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_in_any_stretch_no_more_is_let_in_than_the_bucket_and_what_came_back(size: int, gaps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(size, 60.0, clock=clock)
    let_in: list[float] = []
    for gap in gaps:
        clock.now += gap
        if bucket.wait_s() == 0:
            bucket.take(1)
            let_in.append(clock.now)
    for first, start in enumerate(let_in):
        for last in range(first, len(let_in)):
            assert last - first + 1 <= size + (let_in[last] - start) * size / 60.0 + 1e-6


def test_what_is_told_to_wait_is_enough_and_not_too_much() -> None:
    clock = Clock()
    limiter, ada = KeyLimiter(clock=clock), key(requests_per_minute=2)
    for _ in range(2):
        limiter.enter(ada)
        limiter.leave(ada)
    with pytest.raises(Refusal) as refused:
        limiter.enter(ada)
    assert refused.value.status == 429
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.headers == {"Retry-After": "30"}
    clock.now += 29.0
    with pytest.raises(Refusal):
        limiter.enter(ada)
    clock.now += 1.0
    limiter.enter(ada)


def test_tokens_may_leave_a_debt_that_is_paid_back_first() -> None:
    clock = Clock()
    limiter, ada = KeyLimiter(clock=clock), key(tokens_per_minute=60, tokens_per_day=100_000)
    limiter.enter(ada)
    limiter.charge(ada, 180)
    limiter.leave(ada)
    assert limiter.headers(ada) == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "3m0s",
    }
    with pytest.raises(Refusal, match="60 tokens a minute") as refused:
        limiter.enter(ada)
    assert refused.value.headers["Retry-After"] == "121"
    clock.now += 121
    limiter.enter(ada)


def test_of_two_limits_the_one_that_lasts_longer_is_told() -> None:
    clock = Clock()
    limiter, ada = KeyLimiter(clock=clock), key(tokens_per_minute=6_000, tokens_per_day=8_640)
    limiter.enter(ada)
    limiter.charge(ada, 8_640 + 99)
    with pytest.raises(Refusal, match="8,640 tokens a day") as refused:
        limiter.enter(ada)
    assert refused.value.headers["Retry-After"] == "1000"  # not the 28 s after which the minute's bucket has some
    assert limiter.headers(ada)["x-ratelimit-limit-tokens"] == "8640"


def test_requests_under_way_are_counted_and_given_back() -> None:
    limiter, ada = KeyLimiter(clock=Clock()), key(concurrent_requests=2)
    limiter.enter(ada)
    limiter.enter(ada)
    with pytest.raises(Refusal, match="2 requests under way"):
        limiter.enter(ada)
    limiter.enter(ApiKey(name="ben"))
    limiter.leave(ada)
    limiter.enter(ada)


def test_a_changed_limit_keeps_what_was_used() -> None:
    limiter, few = KeyLimiter(clock=Clock()), key(requests_per_minute=3)
    for _ in range(3):
        limiter.enter(few)
    more = key(requests_per_minute=5)
    for _ in range(2):
        limiter.enter(more)
    with pytest.raises(Refusal):
        limiter.enter(more)
    assert limiter.headers(more)["x-ratelimit-remaining-requests"] == "0"
    assert limiter.headers(key()) == {}
    limiter.enter(key())
