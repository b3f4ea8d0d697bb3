"""Clocks: each entry's time is its signer's own clock, and one that is wrong moves nobody else's.

In: entries of a ledger. Out: which time the next one of a key gets, whether a key's times run backwards, the entries
whose clock is wrong. The order of a ledger is that of its entries; times are only what signers say. None inherits the
time of another key's entry: a line dated 2099 leaves all later ones as they are.
Exercised by ``pytest tests/unit/ledger/test_clocks.py``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta

from spiritsafe.core.certificates import LedgerEntry
from spiritsafe.core.outcomes import instant

__all__ = ["CLOCK_TOLERANCE", "next_time", "runs_back", "wrong_clocks"]

CLOCK_TOLERANCE = timedelta(days=1)
"""Clocks may differ by so much; beyond it one of them is wrong."""


def runs_back(before: str | None, time: str) -> bool:
    """Whether a key's time lies before its last one.

    Where it lies more than a day before, the clock was wrong then, or is now: :func:`wrong_clocks` names the entry.

    Args:
        before: The key's last time that is an instant, if it has one.
        time: Its next.
    """
    last, now = instant(before) if before else None, instant(time)
    return last is not None and now is not None and timedelta(0) < last - now <= CLOCK_TOLERANCE


def next_time(before: str | None, now: str) -> str:
    """The time of a key's next entry: now, or its last time where the clock was set back a little since.

    Args:
        before: The key's last time that is an instant, if it has one.
        now: What its clock says.
    """
    return before if before and runs_back(before, now) else now


def wrong_clocks(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Entries whose time is no instant, or more than a day off those around them.

    What is around them is the longest run of times that rise: one clock that is wrong stands out against all others,
    however far it is off. Entries with the very same time count once, for old versions gave the next ones the time of
    an entry that was ahead of them.
    """
    times = [(entry, moment) for entry in entries if (moment := instant(entry.time)) is not None]
    rising = _longest_rise([moment for _, moment in times])
    wrong = [entry for entry in entries if instant(entry.time) is None]
    at = 0
    for number, (entry, moment) in enumerate(times):
        while at < len(rising) and rising[at] < number:
            at += 1
        low = times[rising[at - 1]][1] if at else moment
        high = times[rising[at]][1] if at < len(rising) else moment
        if moment - high > CLOCK_TOLERANCE or low - moment > CLOCK_TOLERANCE:
            wrong.append(entry)
    return sorted(wrong, key=lambda entry: entry.index)


def _longest_rise(moments: Sequence[datetime]) -> list[int]:
    """Places of the longest strictly rising run; of equally long ones the one that ends lowest."""
    tails: list[datetime] = []
    ends: list[int] = []
    before: list[int] = []
    for place, moment in enumerate(moments):
        at = bisect_left(tails, moment)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [moment]
        ends[at : at + 1] = [place]
    run, place = [], ends[-1] if ends else -1
    while place >= 0:
        run.append(place)
        place = before[place]
    return run[::-1]
