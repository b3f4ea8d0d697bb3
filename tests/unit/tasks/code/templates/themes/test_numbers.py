"""Golds of formulas and cases agree with a second reading of their statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import numbers


def _two_rates(s: Any, x: int) -> int:
    return s.c * x + s.d if x >= s.t else s.a * x + s.b


def _words(s: Any, n: int) -> str:
    return (s.word * (n % s.a == 0) + s.other * (n % s.b == 0)) or f"{n}"


def _chosen(s: Any, x: int) -> bool:
    holds = [(x - s.r) % s.m == 0, x > s.k if s.is_above else x < s.k]
    return all(holds) if s.is_both else any(holds)


def _bonus(s: Any, x: int, y: int) -> int:
    best = sorted([x, y])[-1 if s.larger == "larger" else 0]
    return s.a * best + (s.bonus if x > y + s.k else 0)


REFERENCES: dict[str, Callable[..., Any]] = {
    "scaled_and_moved": lambda s, x: s.b + s.a * x,
    "weighted_pair": lambda s, x, y: sum(w * v for w, v in ((s.a, x), (s.b, y), (s.c, 1))),
    "share": lambda s, x: divmod(x + s.a, s.m)[0],
    "kept_within": lambda s, x: sorted([s.low, x + s.b, s.low + s.width])[1],
    "in_band": lambda s, x: (x in {*range(s.low, s.low + s.width + 1)} - {s.gap}) == s.is_inside,
    "weighted_gap": lambda s, x: s.a * max(x - s.c, s.c - x) + s.b,
    "two_rates": _two_rates,
    "words_for_multiples": _words,
    "chosen_number": _chosen,
    "pair_with_bonus": _bonus,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(numbers, REFERENCES)
