"""A watchdog over a process that may hang: stopped, in a driver that never returns, in a loop without an end.

In: what it is asked, and each time that it was heard. Out: a call, once it owes an answer and has said nothing for too
long. Time is counted in ticks of this process, so that only time counts in which it was awake: whoever wakes up from
an hour's sleep, with its workers, finds them as well as before.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import final

_TICK_S = 5.0
_FEWEST_TICKS = 10
"""Of a limit: what passes between two ticks, sleep included, counts as one."""


@final
class Watchdog:
    """Asks, and asks again after each answer. Make it in an event loop.

    Args:
        ask: Sends what has to be answered; called at once.
        expire: Called once, when nothing was heard for too long.
        limit_s: How long that is.
    """

    def __init__(self, ask: Callable[[], None], expire: Callable[[], None], *, limit_s: float) -> None:
        self._ask = ask
        self._expire = expire
        self._tick_s = min(_TICK_S, limit_s / _FEWEST_TICKS)
        self._most_ticks = math.ceil(limit_s / self._tick_s)
        self._num_silent = 0
        self._is_asked = False
        self.tick()

    @property
    def silent_s(self) -> float:
        """For how long it has owed an answer and said nothing."""
        return self._num_silent * self._tick_s

    def hear(self, *, is_answer: bool) -> None:
        """It said something: whatever it is, it lives."""
        self._num_silent = 0
        self._is_asked = self._is_asked and not is_answer

    def tick(self) -> None:
        """This process was awake for another while."""
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self.tick)
        if not self._is_asked:
            self._is_asked = True
            self._ask()
            return
        self._num_silent += 1
        if self._num_silent >= self._most_ticks:
            self.stop()
            self._expire()

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()
