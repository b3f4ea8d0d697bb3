"""Golds of several stages agree with a second reading of their statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

from code_templates import changed, check_theme, follows

from spiritsafe.tasks.code.templates.themes import pipelines


def _folded(fold: str, numbers: list[int], empty: int) -> int:
    if not numbers:
        return empty
    ordered = sorted(numbers)
    return {
        "sum": sum(numbers),
        "greatest": ordered[-1],
        "smallest": ordered[0],
        "spread": ordered[-1] - ordered[0],
        "ends": 2 * numbers[0] + numbers[-1],
    }[fold]


def _list_pipeline(s: Any, values: list[int]) -> int:
    return _folded(s.fold, [changed(s.change, x) for x in values if follows(s.condition, x)], s.empty)


def _three_stages(s: Any, values: list[int]) -> int:
    triples = zip(values, values[1:], values[2:], strict=False)
    derived = {
        "differences": [y - x for x, y in pairwise(values)],
        "pairs": [x + y for x, y in pairwise(values)],
        "peaks": [max(triple) for triple in triples],
        "gaps": [z - 2 * x for x, z in zip(values, values[2:], strict=False)],
    }[s.source]
    return _folded(s.fold, [changed(s.change, x) for x in derived if follows(s.condition, x)], s.empty)


def _letter_pipeline(s: Any, text: str) -> int:
    letters = [c for c in (text if s.is_upper_skipped else text.lower()) if c.islower()]
    numbers = [x for c in letters if follows(s.condition, x := " abcdefghijklmnopqrstuvwxyz".index(c))]
    return reduce(lambda total, x: (3 * total + changed(s.change, x)) % s.m, numbers, 1)


def _two_lists(s: Any, left: list[int], right: list[int]) -> int:
    made = [s.a * x + s.b * y for x, y in zip(left, right, strict=False)]
    kept = [x for x in made if follows(s.condition, x)]
    return {"sum": sum, "number": len, "greatest": max}[s.fold](kept) if kept else s.empty


def _groups(s: Any, values: list[int]) -> int:
    members = defaultdict(list)
    for x in values:
        members[x % s.m].append(x)
    totals = [sum(changed(s.change, x) for x in members[key][: s.cap]) for key in range(s.m)]
    weighted = sum(key * total for key, total in enumerate(totals))
    return {"total": max(totals), "weighted": weighted, "difference": sum(totals[::2]) - sum(totals[1::2])}[s.asked]


REFERENCES: dict[str, Callable[..., Any]] = {
    "list_pipeline": _list_pipeline,
    "three_stages": _three_stages,
    "letter_pipeline": _letter_pipeline,
    "two_lists": _two_lists,
    "groups": _groups,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(pipelines, REFERENCES)
