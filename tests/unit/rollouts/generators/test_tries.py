"""All tries of one question, without a network and without a clock."""

from __future__ import annotations

import asyncio

import pytest

from spiritsafe.rollouts.generators.exchange import RemoteConfig, Trouble
from spiritsafe.rollouts.generators.rate_limits import RateLimiter
from spiritsafe.rollouts.generators.tries import ask_until_answered

CONFIG = RemoteConfig(backoff_base_s=8.0, backoff_most_s=8.0, max_tries=4, retry_after_most_s=60.0)
BUSY = Trouble(reason="busy", again=True)


def ask(
    *outcomes: str | Trouble, turns: int = 99, most_timeouts: int = 2
) -> tuple[object, int, list[float], list[bool]]:
    """What is found at the end, how many tries it took, the rests between them, and what was judged the last."""
    left, rests, lasts = list(outcomes), list[float](), list[bool]()
    num_turns = 0

    async def send() -> str | Trouble:
        return left.pop(0)

    async def turn() -> bool:
        nonlocal num_turns
        num_turns += 1
        return num_turns <= turns

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async def run() -> tuple[str | Trouble | None, int]:
        return await ask_until_answered(
            send,
            config=CONFIG,
            limiter=RateLimiter(None, None),
            turn=turn,
            rest=rest,
            seed_parts=("p", 0),
            judge=lambda trouble, is_last: lasts.append(is_last),
            most_timeouts=most_timeouts,
        )

    outcome, num_tries = asyncio.run(run())
    return outcome, num_tries, rests, lasts


def test_it_is_sent_until_it_is_answered() -> None:
    outcome, num_tries, rests, lasts = ask(BUSY, BUSY, "yes", "never sent")
    assert (outcome, num_tries, lasts) == ("yes", 3, [False, False])
    assert all(4.0 <= seconds <= 8.0 for seconds in rests)
    assert rests == ask(BUSY, BUSY, "yes")[2]  # a repeated run waits as long


def test_tries_have_an_end_and_nobody_rests_behind_the_last() -> None:
    outcome, num_tries, rests, lasts = ask(*[BUSY] * 9)
    assert (outcome, num_tries, len(rests), lasts) == (BUSY, 4, 3, [False, False, False, True])


def test_what_another_try_would_not_help_is_not_sent_again() -> None:
    wrong = Trouble(reason="no such model", answered=True)
    assert ask(wrong, "never sent") == (wrong, 1, [], [True])


def test_what_runs_out_of_time_is_not_sent_for_ever() -> None:
    slow = Trouble(reason="slow", again=True, timed_out=True)
    assert ask(*[slow] * 9)[:2] == (slow, 2)
    assert ask(*[slow] * 9, most_timeouts=4)[:2] == (slow, 4)


def test_a_wait_that_is_asked_for_is_kept_and_one_without_end_is_not() -> None:
    outcome, _, rests, _ = ask(Trouble(reason="full", again=True, wait_s=30.0), "yes")
    assert (outcome, rests) == ("yes", [30.0])
    outcome, num_tries, rests, lasts = ask(Trouble(reason="full", again=True, wait_s=61.0), "never sent")
    assert (outcome, num_tries, rests, lasts) == (
        Trouble(reason="full; it asks for a wait of 61 s"), 1, [], [True],
    )  # fmt: skip


@pytest.mark.parametrize("turns", [0, 1])
def test_nothing_is_sent_after_the_end(turns: int) -> None:
    outcome, num_tries, _, _ = ask(BUSY, "never sent", turns=turns)
    assert (outcome, num_tries) == ((None, 0) if turns == 0 else (BUSY, 1))
