"""Golds of lists agree with a second reading of their statements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from code_templates import changed, check_theme, follows

from spiritsafe.tasks.code.templates.themes import lists


def _chosen_total(s: Any, values: list[int]) -> int:
    chosen = [x for x in values if follows(s.condition, x)]
    return s.w * (sum(chosen) if s.fold == "sum" else len(chosen)) + s.b


def _neighbours(s: Any, values: list[int]) -> int:
    found = []
    for first, second in zip(values, values[s.gap :], strict=False):
        difference = abs(second - first) if s.is_absolute else second - first
        if (difference > s.k) if s.is_more else (difference < s.k):
            found.append(first)
    return len(found) if s.asked == "number" else sum(found)


def _turned_blocks(s: Any, values: list[int]) -> list[int]:
    turned = list(values)
    for _ in range(s.k):
        turned = turned[1:] + turned[:1] if s.is_left else turned[-1:] + turned[:-1]
    blocks = [turned[i : i + s.size] for i in range(0, len(turned), s.size)]
    return [x for i, block in enumerate(blocks) for x in (reversed(block) if i % 2 == s.is_odd else block)]


def _best_few(s: Any, values: list[int]) -> int:
    chosen = sorted(values, reverse=s.is_greatest)[: s.k]
    return s.b + sum(x * s.w if (x - s.r) % s.m == 0 else x for x in chosen)


def _own_order(s: Any, values: list[int]) -> list[int]:
    def key(x: int) -> tuple[int, int]:
        rank = abs(x - s.pivot) % s.m
        return -rank if s.is_down else rank, x if s.ties == "ascending" else -x

    return sorted(values, key=key)


def _longest_run(s: Any, values: list[int]) -> int:
    runs = []
    for fits, group in groupby(enumerate(values), key=lambda pair: follows(s.condition, pair[1])):
        if fits:
            pairs = list(group)
            runs.append((pairs[0][0], [x for _, x in pairs]))
    longest = max((len(run) for _, run in runs), default=0)
    if longest < s.least:
        return -1 if s.asked == "start" else 0
    start, run = [item for item in runs if len(item[1]) == longest][-1 if s.is_last else 0]
    return {"length": longest, "start": start, "sum": sum(run)}[s.asked]


def _one_of_each_kind(s: Any, values: list[int]) -> list[int]:
    kept: dict[int, int] = {}
    for x in values if s.keeps == "first" else reversed(values):
        kept.setdefault(abs(x - s.c) % s.m, x)
    return list(kept.values()) if s.keeps == "first" else list(kept.values())[::-1]


REFERENCES: dict[str, Callable[..., Any]] = {
    "both_ends": lambda s, values: s.a * values[0] + s.b * values[len(values) - 1] + s.c,
    "whole_list": lambda s, values: s.b + s.a * {"sum": sum, "len": len, "max": max, "min": min}[s.fold](values),
    "chosen_total": _chosen_total,
    "chosen_and_changed": lambda s, values: [changed(s.change, x) for x in values if follows(s.condition, x)],
    "neighbours": _neighbours,
    "weighted_places": lambda s, values: sum(
        x * (s.a * i + s.b if i in range(s.r, 99, s.m) else 1) for i, x in enumerate(values)
    ),
    "turned_blocks": _turned_blocks,
    "best_few": _best_few,
    "own_order": _own_order,
    "longest_run": _longest_run,
    "one_of_each_kind": _one_of_each_kind,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(lists, REFERENCES)
