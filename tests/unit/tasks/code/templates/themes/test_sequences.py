"""Golds of loops over numbers agree with a second reading of their statements."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import sequences


def _digit_total(s: Any, n: int) -> int:
    kind, *limit = s.test.replace("at ", "").split()
    tests = {
        "least": lambda d: d >= int(limit[0]),
        "most": lambda d: d <= int(limit[0]),
        "odd": lambda d: d in (1, 3, 5, 7, 9),
        "even": lambda d: d in (0, 2, 4, 6, 8),
    }
    found = [d for d in map(int, str(n).lstrip("-")) if tests[kind](d)]
    return s.w * {"sum": sum(found), "count": len(found), "greatest": max(found, default=0)}[s.fold] + s.b


def _rewritten_digits(s: Any, n: int) -> int:
    new = [str(s.a * d + s.b)[-1] for d in map(int, str(n)) if d != s.skip]
    return int("".join(new[::-1] if s.is_reversed else new) or "0")


def _digit_rounds(s: Any, n: int) -> int:
    for _ in range(s.rounds):
        # "n is 0" has the one digit 0, which adds nothing
        n = s.c + sum((s.v if int(d) % 2 else s.w) * int(d) ** s.power for d in str(n))
    return n


def _next_fit(s: Any, x: int) -> int:
    return next(y for y in count(x) if (y - s.r) % s.a == 0 and (y - s.t) % s.b != 0)


def _in_base(s: Any, n: int) -> str:
    digits = []
    while n:
        n, digit = divmod(n, s.base)
        digits.append(chr(s.first + digit))
    digits += [chr(s.first)] * (s.width - len(digits))
    return "".join(digits if s.is_reversed else reversed(digits))


def _divisors(s: Any, n: int) -> int:
    found = [d for d in range(1, n + 1) if n / d == n // d and d >= s.k and d % s.m == s.r]
    return s.w * (sum(found) if s.fold == "sum" else len(found))


def _recurrence(s: Any, n: int) -> int:
    f = [s.first, s.second]
    while len(f) <= n:
        f.append((s.a * f[-1] + s.b * f[-2] + s.c) % s.m)
    return f[n]


def _steps_down(s: Any, n: int) -> int:
    path = [n]
    while path[-1] > s.stop and len(path) <= s.cap:
        quotient, rest = divmod(path[-1], s.m)
        path.append(s.a * path[-1] + s.b if rest else quotient)
    return len(path) - 1 if s.asked == "steps" else path[-1]


def _orbit(s: Any, x: int) -> int:
    states = [x % s.m]
    while (following := (s.a * states[-1] ** 2 + s.c) % s.m) not in states:
        states.append(following)
    return len(states) if s.asked == "different" else following


def _circle(s: Any, n: int) -> int:
    circle = deque(range(1, n + 1))
    circle.rotate(-s.start)
    removed = 0
    while len(circle) > s.left:
        circle.rotate(1 - s.k)
        removed = circle.popleft()
    return sum(circle) if s.asked == "sum" else removed


REFERENCES: dict[str, Callable[..., Any]] = {
    "digit_total": _digit_total,
    "rewritten_digits": _rewritten_digits,
    "digit_rounds": _digit_rounds,
    "next_fit": _next_fit,
    "in_base": _in_base,
    "range_total": lambda s, n: sum(s.a * i + s.b for i in range(s.r or s.m, n + 1, s.m)),
    "divisors": _divisors,
    "recurrence": _recurrence,
    "steps_down": _steps_down,
    "orbit": _orbit,
    "circle": _circle,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(sequences, REFERENCES)
