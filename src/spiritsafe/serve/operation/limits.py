"""Limits of keys: token buckets for requests and tokens, and how many requests of a key are under way.

In: a key and its limits, tokens as they are counted. Out: a request that is let in, or a refusal that says when to
come again. Tokens of an answer are not known before it is there, so a key is let in while its bucket holds
any, and what it then uses may leave the bucket in debt: what it gets in the long run is what its limit says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from spiritsafe.serve.operation.keys import ApiKey
from spiritsafe.serve.refusals import Refusal

_MINUTE_S = 60.0
_DAY_S = 86_400.0


def over_limit(message: str, again_s: float) -> Refusal:
    """What is said of a request that is beyond a limit now: 429, and when to come again."""
    after = max(1, math.ceil(again_s))
    return Refusal(
        message, hint=f"Try again in {after} s.", status=429, code="rate_limit_exceeded",
        headers={"Retry-After": str(after)},
    )  # fmt: skip


@final
class TokenBucket:
    """So many units a period, all of which may be taken at once; they come back evenly.

    Args:
        size: Units a period.
        period_s: How long an empty bucket takes to fill.
        clock: Seconds that only grow.
    """

    def __init__(self, size: int, period_s: float, *, clock: Callable[[], float]) -> None:
        self.size, self.period_s, self._clock = size, period_s, clock
        self._level, self._seen = float(size), clock()

    def level(self) -> float:
        """What is in it; less than nothing where more was taken than there was."""
        now = self._clock()
        self._level = min(self.size, self._level + (now - self._seen) * self.size / self.period_s)
        self._seen = now
        return self._level

    def take(self, units: float) -> None:
        """Take units, whether there are so many or not."""
        self._level = self.level() - units

    def wait_s(self, units: float = 1.0) -> float:
        """Seconds until there are so many; 0: there are."""
        return max(0.0, (units - self.level()) * self.period_s / self.size)

    def full_after_s(self) -> float:
        """Seconds until it is full."""
        return self.wait_s(self.size)

    def resize(self, size: int) -> None:
        """Another limit from now on; what was used stays used."""
        used = self.size - self.level()
        self.size = size
        self._level = size - used


@final
@dataclass
class _KeyState:
    """What is counted of one key."""

    buckets: dict[str, TokenBucket] = field(default_factory=dict)
    num_running: int = 0


_BUCKETS: tuple[tuple[str, str, str, float], ...] = (
    ("requests_per_minute", "requests", "requests a minute", _MINUTE_S),
    ("tokens_per_minute", "tokens", "tokens a minute", _MINUTE_S),
    ("tokens_per_day", "tokens", "tokens a day", _DAY_S),
)
"""Field of the limits, what headers call it, words, period."""


@final
class KeyLimiter:
    """Counts what keys use, and refuses what is beyond their limits.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _KeyState] = {}

    def enter(self, key: ApiKey) -> None:
        """Let a request in; :meth:`leave` says that it is over.

        Raises:
            Refusal: 429: it is beyond a limit.
        """
        state = self._state(key)
        most = key.limits.concurrent_requests
        if most is not None and state.num_running >= most:
            raise over_limit(f"This key may have {most} requests under way at a time, and has them.", 1)
        waits = [
            (bucket.wait_s(), f"{bucket.size:,} {words}")
            for name, _, words, _ in _BUCKETS
            if (bucket := state.buckets.get(name)) is not None
        ]
        wait_s, words = max(waits, default=(0.0, ""))
        if wait_s > 0:
            raise over_limit(f"This key has used up its {words}.", wait_s)
        if "requests_per_minute" in state.buckets:
            state.buckets["requests_per_minute"].take(1)
        state.num_running += 1

    def charge(self, key: ApiKey, num_tokens: int) -> None:
        """Count tokens of a key."""
        for name, bucket in self._state(key).buckets.items():
            if name != "requests_per_minute":
                bucket.take(num_tokens)

    def leave(self, key: ApiKey) -> None:
        """One request of a key less is under way."""
        self._state(key).num_running -= 1

    def headers(self, key: ApiKey) -> dict[str, str]:
        """What is left, as OpenAI's headers say it; of two limits on tokens the one that is nearer."""
        buckets = self._state(key).buckets
        told: dict[str, str] = {}
        for kind in ("requests", "tokens"):
            own = [buckets[name] for name, of, _, _ in _BUCKETS if of == kind and name in buckets]
            if own:
                nearest = max(own, key=lambda bucket: (bucket.wait_s(), -bucket.level()))
                told[f"x-ratelimit-limit-{kind}"] = str(nearest.size)
                told[f"x-ratelimit-remaining-{kind}"] = str(max(0, math.floor(nearest.level())))
                told[f"x-ratelimit-reset-{kind}"] = _duration(nearest.full_after_s())
        return told

    def _state(self, key: ApiKey) -> _KeyState:
        """A key's counts, with buckets as its limits are now."""
        state = self._states.setdefault(key.name, _KeyState())
        for name, _, _, period_s in _BUCKETS:
            size = getattr(key.limits, name)
            if size is None:
                state.buckets.pop(name, None)
            elif name not in state.buckets:
                state.buckets[name] = TokenBucket(size, period_s, clock=self._clock)
            elif state.buckets[name].size != size:
                state.buckets[name].resize(size)
        return state


def _duration(seconds: float) -> str:
    """As OpenAI writes it: ``1m30.5s``, ``12ms``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 10) / 10, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.1f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
