"""Templates of one or two numbers: formulas, cases and conditions, most of them without a loop."""

from __future__ import annotations

from typing import Any

from spiritsafe.tasks.code.templates.inputs import whole
from spiritsafe.tasks.code.templates.template import Exercise, added, grown, plus, scaled, shifted, template

_FACTORS = (*range(-20, 0), *range(2, 21))
_WORDS = ("red", "blue", "tick", "tock", "ping", "pong", "salt", "iron", "left", "north")


@template(level=1, a=_FACTORS, b=range(-99, 100))
def _scaled_and_moved(a: int, b: int) -> Exercise:
    return Exercise(
        gold=f"""\
def convert(x: int) -> int:
    return {scaled("x", a)}{shifted(b)}
""",
        wordings=(
            f"Return the number x multiplied by {a}, then with {b} added.",
            f"Given an integer x, compute {a} times x {plus(b)}.",
        ),
        supplies=(whole(-1000, 1000),),
    )


@template(level=1, a=_FACTORS, b=_FACTORS, c=range(-30, 31))
def _weighted_pair(a: int, b: int, c: int) -> Exercise:
    return Exercise(
        gold=f"""\
def combine(x: int, y: int) -> int:
    return {scaled("x", a)}{added("y", b)}{shifted(c)}
""",
        wordings=(
            f"Return {a} times x {plus(b)} times y {plus(c)}.",
            f"A score counts x with the weight {a} and y with the weight {b}, and starts at {c}. Return the score.",
        ),
        supplies=(whole(-500, 500), whole(-500, 500)),
    )


@template(level=1, a=range(-50, 51), m=range(2, 41))
def _share(a: int, m: int) -> Exercise:
    start = f"(x{shifted(a)})" if a else "x"
    return Exercise(
        gold=f"""\
def share(x: int) -> int:
    return {start} // {m}
""",
        wordings=(
            f"Add {a} to x, divide by {m} and round down.",
            f"Return the quotient of x {plus(a)} and {m}, rounded down.",
        ),
        notes="Rounding down means towards minus infinity, also when the quotient is negative.",
        supplies=(whole(-1000, 1000, -a, m - a, -m - a),),
    )


@template(level=1, b=range(-20, 21), low=range(-50, 21), width=range(5, 61))
def _kept_within(b: int, low: int, width: int) -> Exercise:
    high = low + width
    return Exercise(
        gold=f"""\
def limit(x: int) -> int:
    return min(max(x{shifted(b)}, {low}), {high})
""",
        wordings=(
            f"Add {b} to x. If the result is less than {low}, return {low}; if it is greater than {high}, return "
            f"{high}; otherwise return the result.",
            f"Return x {plus(b)}, but never less than {low} and never more than {high}.",
        ),
        supplies=(whole(-120, 120, low - b, high - b),),
    )


@template(
    level=1,
    settle=lambda s: s if 0 < s["gap"] - s["low"] < s["width"] else None,
    low=range(-60, 61),
    width=range(2, 41),
    gap=range(-60, 100),
    is_inside=(True, False),
)
def _in_band(low: int, width: int, gap: int, is_inside: bool) -> Exercise:
    high = low + width
    inside = f"{low} <= x <= {high} and x != {gap}" if is_inside else f"x < {low} or x > {high} or x == {gap}"
    accepted, refused = ("true", "false") if is_inside else ("false", "true")
    return Exercise(
        gold=f"""\
def is_chosen(x: int) -> bool:
    return {inside}
""",
        wordings=(
            f"Return {accepted} if x lies from {low} to {high}, both included, and is not {gap}; otherwise return "
            f"{refused}.",
            f"The result is {accepted} for all numbers not less than {low} and not greater than {high}, but for "
            f"{gap}; it is {refused} for {gap} and for all other numbers.",
        ),
        supplies=(whole(-120, 120, low, high, gap),),
    )


@template(level=1, c=range(-50, 51), a=(*range(-9, 0), *range(2, 10)), b=range(-20, 21))
def _weighted_gap(c: int, a: int, b: int) -> Exercise:
    distance = f"abs(x{shifted(-c)})"
    return Exercise(
        gold=f"""\
def gap(x: int) -> int:
    return {scaled(distance, a)}{shifted(b)}
""",
        wordings=(
            f"Return the distance between x and {c} (never negative), multiplied by {a}, {plus(b)}.",
            f"Take the absolute value of x minus {c}, multiply it by {a} and add {b}.",
        ),
        supplies=(whole(-200, 200, c),),
    )


def _are_two_lines(s: dict[str, Any]) -> dict[str, Any] | None:
    # lines that meet next to the border would make a neighbouring border the same function
    meets = any(s["a"] * x + s["b"] == s["c"] * x + s["d"] for x in (s["t"] - 1, s["t"]))
    return None if meets else s


@template(
    level=2,
    settle=_are_two_lines,
    t=range(-20, 41),
    a=(*range(-9, 0), *range(1, 10)),
    b=range(-20, 21),
    c=(*range(-9, 0), *range(1, 10)),
    d=range(-20, 21),
)
def _two_rates(t: int, a: int, b: int, c: int, d: int) -> Exercise:
    return Exercise(
        gold=f"""\
def rate(x: int) -> int:
    if x < {t}:
        return {scaled("x", a)}{shifted(b)}
    return {scaled("x", c)}{shifted(d)}
""",
        wordings=(
            f"If x is less than {t}, return {a} times x {plus(b)}; otherwise return {c} times x {plus(d)}.",
            f"From {t} upwards (that number included) the result is {c} times x {plus(d)}; below {t} it is {a} times "
            f"x {plus(b)}.",
        ),
        supplies=(whole(-200, 200, t),),
    )


@template(
    level=2,
    settle=lambda s: s if s["a"] < s["b"] and s["b"] % s["a"] and s["word"] != s["other"] else None,
    a=range(2, 10),
    b=range(3, 14),
    word=_WORDS,
    other=_WORDS,
)
def _words_for_multiples(a: int, b: int, word: str, other: str) -> Exercise:
    return Exercise(
        gold=f"""\
def say(n: int) -> str:
    words = ""
    if n % {a} == 0:
        words = words + "{word}"
    if n % {b} == 0:
        words = words + "{other}"
    if words == "":
        return str(n)
    return words
""",
        wordings=(
            f'Return "{word}" if n is a multiple of {a}, "{other}" if it is a multiple of {b}, "{word}{other}" if it '
            f"is "
            "both, and n in decimal digits as a text if it is neither.",
            f'Players of a game count, but say "{word}" instead of multiples of {a} and "{other}" instead of '
            f"multiples "
            f'of {b}; for multiples of both they say "{word}{other}". Return what is said for n: the words, or the '
            "number's decimal digits.",
        ),
        notes="n is at least 1.",
        supplies=(whole(1, 500, a, b, a * b, 2 * a, 3 * b),),
    )


def _with_own_border(s: dict[str, Any]) -> dict[str, Any] | None:
    """The border that stands for all that make the same choice: the last number that it excludes, or else includes."""
    m, r, k = s["m"], s["r"], s["k"]
    if r >= m:
        return None
    if s["is_both"]:
        return s | {"k": k - (k - r) % m if s["is_above"] else k + (r - k) % m}
    step = -1 if s["is_above"] else 1
    return s | {"k": k + step} if k % m == r else s


@template(
    level=2,
    settle=_with_own_border,
    m=range(2, 13),
    r=range(12),
    k=range(-50, 51),
    is_above=(True, False),
    is_both=(True, False),
)
def _chosen_number(m: int, r: int, k: int, is_above: bool, is_both: bool) -> Exercise:
    sign, words = (">", "greater") if is_above else ("<", "less")
    joint = "and" if is_both else "or"
    return Exercise(
        gold=f"""\
def is_chosen(x: int) -> bool:
    return x % {m} == {r} {joint} x {sign} {k}
""",
        wordings=(
            f"Return true if x leaves remainder {r} when divided by {m} {joint} x is {words} than {k}; otherwise "
            "false.",
            f"A number x is chosen if {'both' if is_both else 'at least one'} of these hold{'' if is_both else 's'}: "
            f"it is {words} than {k}; its remainder on division by {m} is {r}. Say whether x is chosen.",
        ),
        notes=f"Remainders are from 0 to {m - 1}, also for negative numbers (so -1 leaves remainder {m - 1}).",
        supplies=(whole(-200, 200, k, k - k % m + r, k - k % m + r - m, k + m, k - m, r),),
    )


@template(
    level=2,
    a=(*range(-9, 0), *range(2, 10)),
    k=range(-20, 21),
    bonus=(*range(-30, 0), *range(1, 31)),
    larger=("larger", "smaller"),
)
def _pair_with_bonus(a: int, k: int, bonus: int, larger: str) -> Exercise:
    pick = "max" if larger == "larger" else "min"
    return Exercise(
        gold=f"""\
def score(x: int, y: int) -> int:
    points = {scaled(f"{pick}(x, y)", a)}
    if x - y > {k}:
        points {grown(bonus)}
    return points
""",
        wordings=(
            f"Multiply the {larger} of x and y by {a}. If x minus y is greater than {k}, add {bonus}. Return the "
            "result.",
            f"Two players have x and y points. The score is {a} times the {larger} of both numbers, with {bonus} "
            f"added if x exceeds y by more than {k}. (The difference x - y may be negative.) Return the score.",
        ),
        supplies=(whole(-60, 60, 0, k, -k), whole(-60, 60, 0, k, -k)),
        fit=lambda x, y: (y + k + (x % 3) - 1, y) if x % 4 == 0 else (x, y),
    )
