"""Golds of small parsers agree with a second reading of their statements."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from itertools import accumulate, cycle
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import parsers


def _numbers_in_text(s: Any, text: str) -> int:
    fields = [re.fullmatch(rf"({re.escape(s.sign)}?)(\d+)", field) for field in text.split(s.separator)]
    values = [int(field[2]) * (-s.w if field[1] else 1) for field in fields if field]
    values = [value for value in values if value <= s.cap]
    return {"sum": sum(values), "greatest": max([0, *values]), "number": len(values)}[s.asked]


def _brackets(s: Any, text: str) -> int:
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}[s.opening]
    depths = list(accumulate((c == s.opening) - (c == closing) for c in text))
    if any(depth < 0 for depth in depths) or (depths and depths[-1] != 0):
        return int(s.none)
    opened = [depth for c, depth in zip(text, depths, strict=True) if c == s.opening]
    inside = sum(c not in (s.opening, closing) and depth > 0 for c, depth in zip(text, depths, strict=True))
    return s.w * (max(opened, default=0) if s.asked == "deepest" else sum(opened)) + s.v * inside


def _own_operators(s: Any, text: str) -> int:
    def weak(x: int, y: int) -> int:
        return (s.a * x + s.b * y) % s.m

    def strong(x: int, y: int) -> int:
        return (s.c * x * y + s.d) % s.m

    if s.is_tight:
        return reduce(weak, [reduce(strong, map(int, part.split(s.high))) for part in text.split(s.low)])
    first, *rest = re.findall(r"\d+|\D", text)
    total = int(first)
    for operator, number in zip(rest[::2], rest[1::2], strict=True):
        total = (weak if operator == s.low else strong)(total, int(number))
    return total


def _check_number(s: Any, text: str) -> int:
    digits = [int(c) for c in re.findall(r"\d", text)]
    products = [d * int(w) for d, w in zip(digits[::-1] if s.is_from_right else digits, cycle(s.weights), strict=False)]
    return sum(sum(map(int, str(p))) if s.is_crossed else p for p in products) % s.m


REFERENCES: dict[str, Callable[..., Any]] = {
    "numbers_in_text": _numbers_in_text,
    "brackets": _brackets,
    "own_operators": _own_operators,
    "check_number": _check_number,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(parsers, REFERENCES)
