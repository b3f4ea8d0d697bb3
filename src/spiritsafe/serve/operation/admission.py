"""Admission: how many requests a model answers at a time, who waits for how long, and who comes next.

In: requests of keys. Out: a place, or a refusal that says when to come again. Keys take turns, so that
one that sends a thousand requests does not stand before another's single one. Whoever leaves the queue (a client that
hung up, a request that waited too long) leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import final

from spiritsafe.serve.operation.limits import over_limit
from spiritsafe.serve.refusals import Refusal

_LONGEST_RETRY_S = 60
_MEMORY = 0.8  # of the mean time between two places that became free


@final
class _Waiter:
    """A request in the queue."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def was_granted(self) -> bool:
        """Whether it has its places."""
        return self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None


@final
class AdmissionQueue:
    """Places at one model.

    Args:
        num_places: Completions that are drawn at a time.
        most_waiting: Requests that wait; 0: none does.
        longest_wait_s: How long one waits.
        clock: Seconds that only grow; only the estimate of when to come again follows it.
    """

    def __init__(
        self,
        *,
        num_places: int,
        most_waiting: int,
        longest_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_places, self._most_waiting, self._longest_wait_s = num_places, most_waiting, longest_wait_s
        self._clock = clock
        self._num_taken = 0
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()  # the key whose turn it is comes first
        self._last_release: float | None = None
        self._release_every_s = 1.0

    @property
    def num_taken(self) -> int:
        """Places that are taken."""
        return self._num_taken

    @property
    def num_waiting(self) -> int:
        """Requests in the queue."""
        return sum(len(queue) for queue in self._queues.values())

    async def enter(self, key: str, size: int = 1) -> None:
        """Wait for places and take them; :meth:`leave` gives them back.

        Args:
            key: Whose turn it has to be.
            size: Places; a request for more than there are has all of them.

        Raises:
            Refusal: 429: the queue is full, or it waited too long. Or what :meth:`end` was given.
        """
        size = min(size, self.num_places)
        if not self._queues and self._fits(size):
            self._num_taken += size
            return
        if self.num_waiting >= self._most_waiting:
            raise self._refusal("The queue is full")
        waiter = _Waiter(size)
        self._queues.setdefault(key, deque()).append(waiter)
        try:
            async with asyncio.timeout(self._longest_wait_s):
                await waiter.granted
        except TimeoutError:
            if waiter.was_granted:
                return  # it came in the same moment
            self._remove(key, waiter)
            raise self._refusal(f"It waited {self._longest_wait_s:g} s in the queue") from None
        except asyncio.CancelledError:
            if waiter.was_granted:
                self.leave(size)
            else:
                self._remove(key, waiter)
            raise

    def leave(self, size: int = 1) -> None:
        """Give places back."""
        self._num_taken -= min(size, self.num_places)
        now = self._clock()
        if self._last_release is not None:
            self._release_every_s = _MEMORY * self._release_every_s + (1 - _MEMORY) * (now - self._last_release)
        self._last_release = now
        self._grant()

    def end(self, refusal: Callable[[], Refusal]) -> None:
        """Refuse all that wait."""
        for queue in self._queues.values():
            for waiter in queue:
                if not waiter.granted.done():
                    waiter.granted.set_exception(refusal())
        self._queues.clear()

    def _fits(self, size: int) -> bool:
        return self._num_taken + size <= self.num_places

    def _grant(self) -> None:
        """Give free places to those whose turn it is; nobody overtakes one that needs more places."""
        while self._queues:
            key, queue = next(iter(self._queues.items()))
            is_there = not queue[0].granted.done()  # else it was cancelled, and has not yet come to take itself out
            if is_there and not self._fits(queue[0].size):
                return
            waiter = queue.popleft()
            if not queue:
                del self._queues[key]
            elif is_there:
                self._queues.move_to_end(key)
            if is_there:
                self._num_taken += waiter.size
                waiter.granted.set_result(None)

    def _remove(self, key: str, waiter: _Waiter) -> None:
        queue = self._queues.get(key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[key]
            self._grant()  # it may have been the one that needed more places

    def _refusal(self, what: str) -> Refusal:
        again_s = min(_LONGEST_RETRY_S, self._release_every_s * (self.num_waiting + 1))
        said = f"{what}: {self._num_taken} of {self.num_places} places are taken, {self.num_waiting} requests wait."
        return over_limit(said, again_s)
