"""Templates of dates of the Gregorian calendar: financial years, due dates, weekdays."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import combinations
from typing import Any

from spiritsafe.tasks.code.templates.inputs import Arguments, whole
from spiritsafe.tasks.code.templates.template import Exercise, template

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CLOSED = tuple(",".join(days) for count in (1, 2) for days in combinations(_WEEKDAYS, count))
_DATE = (whole(1890, 2110, 2000, 2024, 1900), whole(1, 12, 2, 3), whole(1, 31, 28, 29, 30))
_NOTES = (
    "Dates are valid ones of the Gregorian calendar: a year is a leap year if it is a multiple of 4 but not of 100, "
    "or a multiple of 400."
)
_HELPERS = f"""\
def days_in(year: int, month: int) -> int:
    lengths = {list(_LENGTHS)}
    if month == 2 and (year % 4 == 0 and year % 100 != 0 or year % 400 == 0):
        return 29
    return lengths[month - 1]


"""


def _near_date(year: int, month: int, day: int, start: date) -> Arguments:
    """Every third date is within two weeks of the start of a financial year."""
    if (month + day) % 3:
        return _valid_date(year, month, day)
    near = start.replace(year=year) + timedelta(days=(day - 16) // 2 if day % 2 else day % 3 - 1)
    return near.year, near.month, near.day


def _valid_date(year: int, month: int, day: int) -> Arguments:
    is_leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    return year, month, min(day, 29 if month == 2 and is_leap else _LENGTHS[month - 1])


def _unlike_calendar_years(s: dict[str, Any]) -> dict[str, Any] | None:
    if (s["month"], s["day"]) == (1, 1):
        return None
    return s if s["w"] else s | {"is_named_by_end": False}  # the name does not count then


@template(
    level=4,
    settle=_unlike_calendar_years,
    month=range(1, 13),
    day=range(1, 29),
    asked=("number", "left", "quarter"),
    is_named_by_end=(False, True),
    w=range(10),
)
def _financial_year(month: int, day: int, asked: str, is_named_by_end: bool, w: int) -> Exercise:
    start = f"{_MONTHS[month - 1]} {day}"
    what = {
        "number": "the number of the day in its financial year (the first day is 1)",
        "left": "how many days of its financial year come after the day",
        "quarter": "how many blocks of 91 full days have passed in its financial year before the day",
    }[asked]
    value = {"number": "passed + 1", "left": "length - passed - 1", "quarter": "passed // 91"}[asked]
    name = "ends" if is_named_by_end else "begins"
    return Exercise(
        gold=f"""\
{_HELPERS}def day_of_year(year: int, month: int, day: int) -> int:
    total = day
    for m in range(1, month):
        total += days_in(year, m)
    return total


def financial_day(year: int, month: int, day: int) -> int:
    first = year
    if month < {month} or month == {month} and day < {day}:
        first -= 1
    length = 365
    if days_in(first{" + 1" if month > 2 else ""}, 2) == 29:
        length = 366
    passed = day_of_year(year, month, day) - day_of_year(first, {month}, {day})
    if first < year:
        passed += day_of_year(first, 12, 31)
    return {value} + (first{" + 1" if is_named_by_end else ""}) * {w * 1000}
""".replace(" + (first) * 0", "")
        .replace(" + (first + 1) * 0", "")
        .replace("(first)", "first"),
        wordings=(
            f"A financial year begins on {start} of each year and ends on the day before the next {start}. For the "
            f"date with this year, month and day, return {what}"
            + (f", plus {w * 1000} times the calendar year in which its financial year {name}." if w else "."),
            f"Financial years start on {start}. Given a date as year, month and day, find {what}"
            + (
                f"; add {w * 1000} times the year in which that financial year {name}. Return the result."
                if w
                else ", and return it."
            ),
        ),
        notes=_NOTES,
        supplies=(*_DATE[:1], whole(1, 12, month, 2, 3), whole(1, 31, day, 28)),
        fit=lambda year, month_, day_: _near_date(year, month_, day_, date(2000, month, day)),
    )


@template(
    level=5,
    days=range(5, 91),
    closed=_CLOSED,
    is_later=(True, False),
    is_month_end=(True, False),
)
def _due_date(days: int, closed: str, is_later: bool, is_month_end: bool) -> Exercise:
    names = closed.split(",")
    numbers = [_WEEKDAYS.index(name) for name in names]
    shut = " or ".join(f"weekday(date) == {number}" for number in numbers)
    listed = " or a ".join(names)
    move = "next" if is_later else "previous"
    end = "    while next_day(date) % 100 != 1:\n        date = next_day(date)\n" if is_month_end else ""
    ending = ", then go on to the last day of that month (stay if it is the last day)" if is_month_end else ""
    return Exercise(
        gold=f"""\
{_HELPERS}def next_day(date: int) -> int:
    year = date // 10000
    month = date // 100 % 100
    if date % 100 < days_in(year, month):
        return date + 1
    if month < 12:
        return year * 10000 + (month + 1) * 100 + 1
    return (year + 1) * 10000 + 101


def previous_day(date: int) -> int:
    year = date // 10000
    month = date // 100 % 100
    if date % 100 > 1:
        return date - 1
    if month > 1:
        return year * 10000 + (month - 1) * 100 + days_in(year, month - 1)
    return (year - 1) * 10000 + 1231


def weekday(date: int) -> int:
    before = date // 10000 - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    for month in range(1, date // 100 % 100):
        days += days_in(before + 1, month)
    return (days + date % 100 - 1) % 7


def due(date: int) -> int:
    for i in range({days}):
        date = next_day(date)
{end}    while {shut}:
        date = {move}_day(date)
    return date
""",
        wordings=(
            f"A date is given as the number yyyymmdd, so that 20240131 is 31 January 2024. Go {days} days "
            f"forward{ending}. While the day is a {listed}, take the {'day after' if is_later else 'day before'} it. "
            "Return the day reached, in the same form.",
            f"An invoice of a date yyyymmdd (20240131 is 31 January 2024) is due {days} days "
            f"later{ending.replace('go on to', 'moved to')}. As long as the due day falls on a {listed}, it moves "
            f"one "
            f"day {'later' if is_later else 'earlier'}. Return it as yyyymmdd.",
        ),
        notes=f"{_NOTES} 1 January 2024 was a Monday.",
        supplies=(whole(1890, 2110, 2000, 2024, 1900), whole(1, 12, 2, 12), whole(1, 31, 28, 29)),
        fit=lambda year, month, day: (_joined_date(*_valid_date(year, month, day)),),
    )


def _joined_date(*parts: object) -> int:
    year, month, day = (int(str(part)) for part in parts)
    return year * 10000 + month * 100 + day


@template(
    level=3,
    month=range(1, 13),
    day=range(1, 29),
    early=range(10),
    base=range(2, 40),
    step=range(1, 8),
)
def _days_off(month: int, day: int, early: int, base: int, step: int) -> Exercise:
    start = f"{_MONTHS[month - 1]} {day}"
    return Exercise(
        gold=f"""\
def days_off(year: int, month: int, day: int, joined: int) -> int:
    served = year - joined
    if month < {month} or month == {month} and day < {day}:
        served -= 1
    if served < {early}:
        return {base}
    return {base} + (served - {early}) // {step} + 1
""",
        wordings=(
            f"Everybody's year of service ends on {start}: on a date (year, month, day) before {start}, a person who "
            f"joined in the year joined has served year - joined - 1 years, and year - joined years from {start} on. "
            f"Who has served fewer than {early} years has {base} days off; {early} years give one day more, and each "
            f"further full {step} years give one day more. Return the days off.",
            "Count the years served as the date's year minus the year joined, less one if the date lies before "
            f"{start} of its year. With fewer than {early} years, the result is {base}. Otherwise it is {base} plus "
            f"1, plus one for every complete {step} years above {early}.",
        ),
        notes="The date is not before the year joined.",
        supplies=(
            whole(2000, 2060, 2024),
            whole(1, 12, month),
            whole(1, 28, day),
            whole(0, 50, early + step, early, 0),
        ),
        fit=lambda year, month_, day_, back: (
            (year, month, min(max(day + day_ % 3 - 1, 1), 28), year - back)
            if back % 2
            else (year, month_, day_, year - back)
        ),
    )
