"""Time is told by ticks, and each test gives them by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spiritsafe.serve.workers.watchdog import Watchdog


class Watched:
    """A watchdog of ten ticks, and what it did."""

    def __init__(self) -> None:
        self.num_asked = self.num_expired = 0
        self.dog = Watchdog(self._ask, self._expire, limit_s=50.0)

    def _ask(self) -> None:
        self.num_asked += 1

    def _expire(self) -> None:
        self.num_expired += 1

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.dog._timer.cancel()
            self.dog.tick()


def watched(test: Callable[[Watched], None]) -> None:
    async def whole() -> None:
        one = Watched()
        test(one)
        one.dog.stop()

    asyncio.run(whole())


def test_one_that_never_answers_is_given_up_once() -> None:
    def test(one: Watched) -> None:
        one.ticks(9)
        assert (one.num_asked, one.num_expired, one.dog.silent_s) == (1, 0, 45.0)
        one.ticks(1)
        assert (one.num_asked, one.num_expired) == (1, 1)
        assert one.dog._timer.cancelled()

    watched(test)


def test_each_answer_is_followed_by_another_question() -> None:
    def test(one: Watched) -> None:
        for _ in range(5):
            one.ticks(9)
            one.dog.hear(is_answer=True)
            assert one.dog.silent_s == 0.0
            one.ticks(1)
        assert (one.num_asked, one.num_expired) == (6, 0)

    watched(test)


def test_whatever_it_says_shows_that_it_lives() -> None:
    def test(one: Watched) -> None:
        for _ in range(5):
            one.ticks(9)
            one.dog.hear(is_answer=False)
        assert (one.num_asked, one.num_expired) == (1, 0), "it still owes the answer"
        one.ticks(10)
        assert one.num_expired == 1

    watched(test)


def test_a_sleep_of_the_whole_machine_counts_as_one_tick() -> None:
    async def whole() -> None:
        one, loop = Watched(), asyncio.get_running_loop()
        one.ticks(8)
        loop.time = lambda: 1e9  # type: ignore[method-assign]  # it wakes up years later
        for _ in range(20):
            await asyncio.sleep(0)
        assert (one.dog.silent_s, one.num_expired) == (45.0, 0)
        one.dog.stop()

    asyncio.run(whole())
