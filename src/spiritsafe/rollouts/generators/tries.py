"""All tries of one question at an endpoint: how often it is sent, and how long is waited between two tries.

In: what sends it once. Out: its answer, or the trouble with the last try. What another try would not help is not sent
again; a wait that the endpoint asks for pauses everybody, and one that is too long ends our patience.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from spiritsafe.core.canonical import JSON
from spiritsafe.rollouts.generators.exchange import RemoteConfig, Trouble
from spiritsafe.rollouts.generators.patience import MOST_TIMEOUTS
from spiritsafe.rollouts.generators.rate_limits import RateLimiter, backoff_s

_AnswerT = TypeVar("_AnswerT")


async def ask_until_answered(
    send: Callable[[], Awaitable[_AnswerT | Trouble]],
    *,
    config: RemoteConfig,
    limiter: RateLimiter,
    turn: Callable[[], Awaitable[bool]],
    rest: Callable[[float], Awaitable[object]],
    seed_parts: tuple[JSON, ...],
    judge: Callable[[Trouble, bool], None] = lambda trouble, is_last: None,
    most_timeouts: int = MOST_TIMEOUTS,
) -> tuple[_AnswerT | Trouble | None, int]:
    """Send a question until it is answered, or another try is of no use.

    Args:
        send: Sends it once.
        config: Says how often, and how long is waited.
        limiter: Paused when the endpoint asks for it.
        turn: Waits for one's turn to send; False: everything has ended.
        rest: Waits so many seconds.
        seed_parts: What the waits are drawn from.
        judge: Hears of each trouble, and whether it was the last; may raise.
        most_timeouts: Tries that run out of time.

    Returns:
        The answer, or the last trouble, or None where nothing was sent; and the number of tries.
    """
    trouble: Trouble | None = None
    num_tries = num_timeouts = 0
    while num_tries < config.max_tries and num_timeouts < most_timeouts and await turn():
        outcome = await send()
        num_tries += 1
        if not isinstance(outcome, Trouble):
            return outcome, num_tries
        trouble, wait_s = outcome, outcome.wait_s
        if wait_s is not None and wait_s > config.retry_after_most_s:
            trouble = Trouble(reason=f"{trouble.reason}; it asks for a wait of {wait_s:.0f} s")
        num_timeouts += trouble.timed_out
        is_last = not trouble.again or num_tries == config.max_tries
        judge(trouble, is_last)
        if is_last:
            break
        if wait_s is not None:
            limiter.pause(wait_s)  # the endpoint means all of us, not only this connection
        pause_s = backoff_s(
            num_tries - 1, base_s=config.backoff_base_s, most_s=config.backoff_most_s, seed_parts=seed_parts
        )
        await rest(max(pause_s, wait_s or 0.0))
    return trouble, num_tries
