"""Clocks: each entry's time is its signer's own clock, and one that is wrong moves nobody else's.

In: entries of a ledger. Out: which time the next one of a key gets, whether a key's times run backwards, the entries
whose clock is wrong. The order of a ledger is that of its entries; times are only what signers say. None inherits the
time of another key's entry: a line dated 2099 leaves all later ones as they are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from spiritsafe.core.records import instant
from spiritsafe.ledger.records import LedgerEntry

CLOCK_TOLERANCE = timedelta(days=1)
"""Clocks may differ by so much; beyond it one of them is wrong."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    moments = [instant(entry.time) for entry in entries]
    told = [(entry, moment) for entry, moment in zip(entries, moments, strict=True) if moment is not None]
    rising = _longest_rise([(moment - _EPOCH).total_seconds() for _, moment in told])
    wrong = [entry for entry, moment in zip(entries, moments, strict=True) if moment is None]
    at = 0
    for place, (entry, moment) in enumerate(told):
        while at < len(rising) and rising[at] < place:
            at += 1
        low = told[rising[at - 1]][1] if at else moment
        high = told[rising[at]][1] if at < len(rising) else moment
        if moment - high > CLOCK_TOLERANCE or low - moment > CLOCK_TOLERANCE:
            wrong.append(entry)
    return sorted(wrong, key=lambda entry: entry.index)


def _longest_rise(moments: Sequence[float]) -> list[int]:
    """Places of the longest strictly rising run; of equally long ones a narrow one.

    Patience sorting: pile k holds, ever lower, the places where a longest run of k+1 ends. A run goes on from the
    highest end that is below.
    """
    piles: list[list[int]] = []
    lows: list[float] = []
    before: list[int] = []
    starts: list[float] = []
    for place, moment in enumerate(moments):
        at = bisect_left(lows, moment)
        last = -1
        if at:
            pile = piles[at - 1]
            last = pile[bisect_right(pile, -moment, key=lambda other: -moments[other])]
        before.append(last)
        starts.append(moment if last < 0 else starts[last])
        if at == len(piles):
            piles.append([])
            lows.append(moment)
        piles[at].append(place)
        lows[at] = moment
    run: list[int] = []
    place = min(piles[-1], key=lambda end: moments[end] - starts[end]) if piles else -1
    while place >= 0:
        run.append(place)
        place = before[place]
    return run[::-1]
