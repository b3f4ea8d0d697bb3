"""How fast a remote endpoint may be asked, and how long to wait after it failed.

In: limits a minute, a clock, what the endpoint asked for. Out: seconds to wait. Requests and tokens are spaced evenly
instead of in bursts, so that an endpoint sees no more than its limit, however it counts; a "wait" from the endpoint
pauses everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.seeds import SEED_BITS, derive_seed

_CATCH_UP_S = 0.02  # sleeping takes a little longer than asked; so much of it must not add up


@final
class RateLimiter:
    """Spaces requests so that neither limit a minute is passed; shared by all connections to one endpoint.

    Args:
        requests_per_minute: None: no limit.
        tokens_per_minute: None: no limit. Counts prompt and completion, as operators do.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._next_request = 0.0
        self._next_token = 0.0
        self._paused_until = 0.0
        self._queue = asyncio.Lock()

    def wait_s(self) -> float:
        """Seconds until the next request may start; 0 or less: now."""
        return max(self._next_request, self._next_token, self._paused_until) - self._clock()

    def book(self, num_tokens: int) -> None:
        """One request of at most ``num_tokens`` starts now."""
        now = self._clock()
        self._next_request = max(self._next_request, now - _CATCH_UP_S) + self._request_s
        self._next_token = max(self._next_token, now) + self._token_s * num_tokens

    def refund(self, num_tokens: int) -> None:
        """Give booked tokens back that were not used."""
        self._next_token -= self._token_s * num_tokens

    def pause(self, seconds: float) -> None:
        """Let nobody start for some seconds."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def take(self, num_tokens: int) -> bool:
        """Book at once where nobody has to wait; else do nothing."""
        if self._queue.locked() or self.wait_s() > 0:
            return False
        self.book(num_tokens)
        return True

    async def acquire(self, num_tokens: int) -> None:
        """Wait for one's turn, first come, first served; a pause that begins meanwhile is waited out too."""
        async with self._queue:
            while (wait := self.wait_s()) > 0:
                await asyncio.sleep(wait)
            self.book(num_tokens)


def backoff_s(try_index: int, *, base_s: float, most_s: float, seed_parts: tuple[JSON, ...]) -> float:
    """Seconds to wait after the failed try ``try_index`` (0 is the first): doubling, capped, halved at random.

    The draw is a function of ``seed_parts`` and the try, so a repeated run waits as long.
    """
    draw = derive_seed("backoff", *seed_parts, try_index) / 2**SEED_BITS
    return float(min(most_s, base_s * 2.0 ** min(try_index, 60)) * (0.5 + 0.5 * draw))


def retry_after_s(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110 §10.2.3: seconds, or an HTTP date); None: nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdecimal() and text.isascii() and len(text) <= 12:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
