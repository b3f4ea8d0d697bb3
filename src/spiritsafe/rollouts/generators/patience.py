"""Patience with an endpoint: when to give it up, and what to say while it is waited for.

In: what became of each question, a clock. Out: whether so many questions in a row were not answered that no further one
is worth asking; now and then a sentence on who is waited for, and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

MOST_MISSES = 8
"""So many different problems without an answer, and none with one between them: the endpoint is gone."""

_MOST_AT_FIRST = 2
"""The same, for an endpoint that never answered anything: it is not there yet, or not what it is taken for."""

MOST_TIMEOUTS = 2
"""A sample that ran out of time so often is not sent again: each time takes as long as an answer may take."""

TELL_EVERY_S = 10.0
_MOST_GAP_S = 60.0


@final
class Breaker:
    """Counts problems in a row that were not answered; several samples of one problem count once.

    Args:
        concurrency: Questions at once. Where they are few, waiting for :data:`MOST_MISSES` to run out of time would
            take hours: then twice as many requests that ran out of time are enough.
        has_answered: Whether the endpoint ever answered anything.
    """

    def __init__(self, concurrency: int, *, has_answered: bool) -> None:
        self._most_misses = MOST_MISSES if has_answered else _MOST_AT_FIRST
        self._most_timeouts = min(MOST_MISSES, 2 * concurrency)
        self._missed: set[str] = set()
        self._timeouts = 0
        self.num_answered = 0

    @property
    def num_missed(self) -> int:
        """Since the last answer."""
        return len(self._missed)

    def answered(self) -> None:
        """The endpoint answered something."""
        self.num_answered += 1
        self._most_misses = MOST_MISSES
        self._timeouts = 0
        self._missed.clear()

    def missed(self, problem_id: str, *, timed_out: bool = False) -> bool:
        """A problem was not answered; whether the endpoint is to be given up."""
        self._missed.add(problem_id)
        self._timeouts += timed_out
        return self.num_missed >= self._most_misses or (self.num_missed > 1 and self._timeouts >= self._most_timeouts)


@final
class Waiting:
    """Says who is waited for and why, while nothing is answered: after :data:`TELL_EVERY_S`, then ever more rarely.

    Args:
        where: The endpoint.
        tell: Hears the sentences, from the network's thread.
    """

    def __init__(self, where: str, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._tell = tell
        self._clock = clock
        self._reason = ""
        self._gap_s = TELL_EVERY_S
        self._heard = self._told = clock()

    def begin(self) -> None:
        """Questions are about to be sent."""
        self._heard = self._told = self._clock()
        self._reason = ""

    def heard(self) -> None:
        """An answer came."""
        self._gap_s = TELL_EVERY_S
        self._heard = self._clock()
        self._reason = ""

    def trouble(self, reason: str, asked_s: float | None) -> None:
        """A try failed; ``asked_s``: the endpoint asks to wait."""
        wait = f"; it asks for a wait of {asked_s:.0f} s" if asked_s else ""
        fresh = f"{reason}{wait}" != self._reason
        self._reason = f"{reason}{wait}"
        if asked_s is not None and asked_s >= TELL_EVERY_S and fresh:
            self._say(self._reason)

    def look(self, num_open: int, timeout_s: float) -> None:
        """Called every second or so, with the number of questions that wait for an answer."""
        now = self._clock()
        if num_open and now - max(self._heard, self._told) >= self._gap_s:
            self._gap_s = min(2 * self._gap_s, _MOST_GAP_S)
            questions = f"{num_open} question{'s' * (num_open != 1)} open, at most {timeout_s:g} s a request"
            why = f"; last: {self._reason}" if self._reason else ""
            self._say(f"no answer for {now - self._heard:.0f} s ({questions}{why})")

    def _say(self, text: str) -> None:
        self._told = self._clock()
        self._tell(f"Waiting for {self._where}: {text}.")
