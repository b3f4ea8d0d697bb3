"""Golds of dates agree with the calendar of the standard library."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import dates


def _financial_year(s: Any, year: int, month: int, day: int) -> int:
    today = date(year, month, day)
    start = max(first for y in (year - 1, year) if (first := date(y, s.month, s.day)) <= today)
    following = date(start.year + 1, s.month, s.day)
    passed = (today - start).days
    named = (following - timedelta(days=1)).year if s.is_named_by_end else start.year
    return {"number": passed + 1, "left": (following - today).days - 1, "quarter": passed // 91}[
        s.asked
    ] + named * s.w * 1000


def _due_date(s: Any, given: int) -> int:
    day = datetime.strptime(f"{given:08d}", "%Y%m%d").date() + timedelta(days=s.days)
    if s.is_month_end:
        day = day.replace(day=monthrange(day.year, day.month)[1])
    while day.strftime("%A") in s.closed.split(","):
        day += timedelta(days=1 if s.is_later else -1)
    return int(day.strftime("%Y%m%d"))


def _days_off(s: Any, year: int, month: int, day: int, joined: int) -> int:
    served = year - joined - ((month, day) < (s.month, s.day))
    return s.base + len([y for y in range(s.early, served + 1) if (y - s.early) % s.step == 0])


REFERENCES: dict[str, Callable[..., Any]] = {
    "financial_year": _financial_year,
    "due_date": _due_date,
    "days_off": _days_off,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(dates, REFERENCES)
