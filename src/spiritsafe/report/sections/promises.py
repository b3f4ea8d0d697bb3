"""What a certificate promises, as a table: what was found of each promise, what is left to a cheater.

In: promises, judged by the exam room. Out: a table for the report and for :mod:`spiritsafe.report.trust_page`.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.exam.records import Promise, TrustState
from spiritsafe.report.html.markup import Html, tag
from spiritsafe.report.html.tables import plain, table, wide

_CLASS: dict[TrustState, str] = {
    "holds": "t-holds",
    "does not hold": "t-fails",
    "cannot be told": "t-open",
    "not checked here": "t-open",
}


def trust_table(promises: Sequence[Promise], *, caption: str) -> Html:
    """One row a promise."""
    columns = wide("Promise") + plain("State") + wide("Found", "Left to a cheater")
    return table(columns, [_row(promise) for promise in promises], caption=caption)


def _row(promise: Promise) -> list[object]:
    numbers = ", ".join(str(number) for number in promise.steps)
    give = tag("span", f" To check it, give {promise.give}.", class_="none") if promise.give else None
    return [
        promise.text,
        tag("span", promise.state, class_=_CLASS[promise.state]),
        tag("span", promise.finding, tag("span", f" (step {numbers})", class_="none"), give),
        promise.cheat,
    ]
