"""Drain: a server that is told to end takes nothing new, finishes what is under way, and says so meanwhile.

In: requests that come and go, and the wish to end. Out: whether new ones are welcome, when the last one is over, and
what those are told that did not end in time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import final

from spiritsafe.core.serving import Failed, Job, JobEvent, ServedEngine, ServedModel
from spiritsafe.serve.refusals import SHUTTING_DOWN, Refusal

_LONGEST_RETRY_S = 60


@final
class Drain:
    """Which requests are under way, and whether the server ends.

    Args:
        clock: Seconds that only grow.

    Attributes:
        is_over: What is still under way will not end by itself any more.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_running = 0
        self._over_at: float | None = None
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.is_over = False

    @property
    def is_draining(self) -> bool:
        """Whether it has begun."""
        return self._over_at is not None

    @property
    def num_running(self) -> int:
        """Requests under way, those in queues included."""
        return self._num_running

    def unready(self) -> str | None:
        """For ``/health``: why new requests are not welcome."""
        if not self.is_draining:
            return None
        return f"draining: {self._num_running} requests are under way, new ones are refused"

    def begin(self, timeout_s: float) -> None:
        """Refuse new requests from now on; those under way may take so long."""
        if self._over_at is None:
            self._over_at = self._clock() + timeout_s

    def refusal(self) -> Refusal:
        """What a request is told that comes too late, or that is ended."""
        left_s = max(0.0, (self._over_at or 0.0) - self._clock())
        return Refusal(
            "This server is shutting down.",
            hint="Ask again in a moment, or ask another one.",
            status=503,
            code=SHUTTING_DOWN,
            headers={"Retry-After": str(max(1, min(_LONGEST_RETRY_S, math.ceil(left_s))))},
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """A request is under way while the block runs.

        Raises:
            Refusal: 503: the server ends.
        """
        if self.is_draining:
            raise self.refusal()
        self._num_running += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._num_running -= 1
            if not self._num_running:
                self._is_idle.set()

    async def idle(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; False: something still is."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            return False
        return True


@final
class DrainedEngine:
    """An engine whose jobs, where they fail because the server ends, say so.

    Args:
        engine: Ends its jobs when it is closed.
    """

    def __init__(self, engine: ServedEngine, drain: Drain) -> None:
        self._engine, self._drain = engine, drain

    async def describe(self) -> ServedModel:
        """As the engine does."""
        return await self._engine.describe()

    async def run(self, job: Job) -> AsyncIterator[JobEvent]:
        """As the engine does, and with another word for failures at the end."""
        events = self._engine.run(job)
        try:
            async for event in events:
                yield self._end() if isinstance(event, Failed) and self._drain.is_over else event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def count(self, job: Job) -> int | Failed:
        """As the engine does."""
        return await self._engine.count(job)

    async def close(self) -> None:
        """As the engine does."""
        await self._engine.close()

    def _end(self) -> Failed:
        refusal = self._drain.refusal()
        return Failed(fault="model", message=refusal.message, hint=refusal.hint, code=SHUTTING_DOWN)
