"""Templates of texts that are read by rules: fields, brackets, calculations, check digits."""

from __future__ import annotations

from re import sub
from typing import Any

from spiritsafe.tasks.code.templates.inputs import text
from spiritsafe.tasks.code.templates.template import Exercise, added, scaled, shifted, template


def _what_matters_to_numbers(s: dict[str, Any]) -> dict[str, Any]:
    if s["asked"] == "greatest":
        return s | {"w": 1, "sign": "-"}  # a negative number is not looked at, nor what is no number
    return s | {"w": 1} if s["asked"] == "number" else s


@template(
    level=4,
    settle=_what_matters_to_numbers,
    separator=tuple(",;|/: "),
    sign=("-", "~"),
    w=range(1, 10),
    cap=(*range(20, 100, 5), *range(100, 1000, 50)),
    asked=("sum", "greatest", "number"),
)
def _numbers_in_text(separator: str, sign: str, w: int, cap: int, asked: str) -> Exercise:
    name = "a space" if separator == " " else f'"{separator}"'
    minus = "minus" if w == 1 else f"minus {w} times"
    step = {"sum": "total += value", "greatest": "total = max(total, value)", "number": "total += 1"}[asked]
    what = {
        "sum": "the sum of all values that count",
        "greatest": "the greatest value that counts, or 0 if there is none above 0",
        "number": "how many values count",
    }[asked]
    return Exercise(
        gold=f"""\
def read_numbers(text: str) -> int:
    total = 0
    value = 0
    digits = 0
    is_good = True
    is_negative = False
    for c in text + "{separator}":
        if c == "{separator}":
            if is_negative:
                value = -value{"" if w == 1 else f" * {w}"}
            if is_good and digits > 0 and value <= {cap}:
                {step}
            value = 0
            digits = 0
            is_good = True
            is_negative = False
        elif c.isdigit():
            value = value * 10 + ord(c) - ord("0")
            digits += 1
        elif c == "{sign}" and digits == 0 and not is_negative:
            is_negative = True
        else:
            is_good = False
    return total
""",
        wordings=(
            f"The text holds fields with {name} between them. A field is a number if it consists of decimal digits, "
            f"at "
            f'least one, with at most one "{sign}" before them; its value is then {minus} that number. '
            f"Numbers greater than {cap} and fields that are no numbers do not count. Return {what}.",
            f"Split the text at each occurrence of {name}. A part made of one or more decimal digits stands for that "
            f"number; "
            f'"{sign}" followed by one or more digits stands for {minus} the number after it. All other '
            f"parts, and values above {cap}, are ignored. Return {what}.",
        ),
        notes="No more than 9 decimal digits stand in a row.",
        supplies=(
            text(
                "0123456789" + separator * 4 + sign * 2 + "x.",
                most=30,
                pieces=(
                    separator,
                    str(cap),
                    str(cap + 1) + separator,
                    sign,
                    "7" + separator,
                    sign + "12",
                    sign * 2,
                    "4x",
                    separator + sign + "3" + separator,
                    "0",
                    str(cap - 1),
                ),
            ),
        ),
        fit=lambda value: (sub(r"(\d{9})\d+", r"\1", value),),
    )


@template(
    level=4,
    opening=("(", "[", "{", "<"),
    w=range(1, 10),
    v=range(1, 10),
    none=(*range(-9, 0), 999),
    asked=("deepest", "weighted"),
)
def _brackets(opening: str, w: int, v: int, none: int, asked: str) -> Exercise:
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}[opening]
    step = "best = max(best, depth)" if asked == "deepest" else "best += depth"
    what = (
        f"{w} times the greatest depth"
        if asked == "deepest"
        else f"{w} times the sum of the depths right after each opening bracket"
    )
    return Exercise(
        gold=f"""\
def nesting(text: str) -> int:
    depth = 0
    best = 0
    others = 0
    for c in text:
        if c == "{opening}":
            depth += 1
            {step}
        elif c == "{closing}":
            depth -= 1
            if depth < 0:
                return {none}
        elif depth > 0:
            others += 1
    if depth > 0:
        return {none}
    return {scaled("best", w)} + {scaled("others", v)}
""",
        wordings=(
            f'"{opening}" opens a bracket and "{closing}" closes one; the depth is how many are open. If the '
            f"brackets do not "
            f"match (one closes that was never opened, or one stays open), return {none}. Otherwise return {what}, "
            f"plus {v} "
            "times the number of other characters that stand inside at least one bracket.",
            f'Check the brackets "{opening}" and "{closing}" of the text. Return {none} if a closing one comes while '
            f"none is "
            f"open, or if some are still open at the end. If all match: {what} (a depth is the number of open "
            f"brackets), plus "
            f"{v} for every other character that is enclosed in brackets.",
        ),
        notes="Without any bracket there is no depth, and 0 is returned.",
        supplies=(
            text(
                f"{opening}{closing}ab",
                most=20,
                pieces=(
                    f"{opening}a{closing}",
                    f"{opening}{opening}b{closing}c{closing}",
                    f"{opening}{closing}",
                    "x",
                    f"{opening}{opening}{opening}{closing}{closing}{closing}",
                    f"{closing}{opening}",
                ),
            ),
        ),
    )


@template(
    level=5,
    low=("$", "@", "&", "|", ";"),
    high=("#", "!", "^", "~", "?"),
    a=range(1, 6),
    b=(*range(-4, 0), *range(1, 6)),
    c=range(2, 7),
    d=range(6),
    is_tight=(True, False),
    m=(997, 1009, 5003, 9973),
)
def _own_operators(low: str, high: str, a: int, b: int, c: int, d: int, is_tight: bool, m: int) -> Exercise:
    order = (
        f'"{high}" binds tighter than "{low}"; among equals the left one is done first'
        if is_tight
        else "operators are done strictly from left to right, both are equally strong"
    )
    weak = f"({scaled('x', a)}{added('y', b)}) % {m}"
    strong = f"({scaled('x * y', c)}{shifted(d)}) % {m}"
    if is_tight:
        gold = f"""\
def weak(x: int, y: int) -> int:
    return {weak}


def strong(x: int, y: int) -> int:
    return {strong}


def calculate(text: str) -> int:
    total = 0
    has_total = False
    product = 0
    has_product = False
    number = 0
    for c in text + "{low}":
        if c.isdigit():
            number = number * 10 + ord(c) - ord("0")
        elif c == "{low}" or c == "{high}":
            if has_product:
                product = strong(product, number)
            else:
                product = number
                has_product = True
            number = 0
            if c == "{low}":
                if has_total:
                    total = weak(total, product)
                else:
                    total = product
                    has_total = True
                has_product = False
    return total
"""
    else:
        gold = f"""\
def weak(x: int, y: int) -> int:
    return {weak}


def strong(x: int, y: int) -> int:
    return {strong}


def calculate(text: str) -> int:
    total = 0
    number = 0
    operator = ""
    for c in text + "{low}":
        if c.isdigit():
            number = number * 10 + ord(c) - ord("0")
        elif c == "{low}" or c == "{high}":
            if operator == "":
                total = number
            elif operator == "{low}":
                total = weak(total, number)
            else:
                total = strong(total, number)
            operator = c
            number = 0
    return total
"""
    return Exercise(
        gold=gold,
        wordings=(
            f'The text is a calculation: numbers of decimal digits with "{low}" or "{high}" between them. x {low} y '
            f"means "
            f"({a} * x + {b} * y) modulo {m}, and x {high} y means ({c} * x * y + {d}) modulo {m}; {order}. Return "
            f"the result.",
            f"Evaluate a calculation in a made-up arithmetic: {order}. The operators are {low}, where x {low} y is "
            f"the remainder of {a} * x + {b} * y divided by {m}, and {high}, where x {high} y is the remainder of "
            f"{c} "
            f"* x * y + {d} divided by {m}.",
        ),
        notes="The text is such a calculation of at least one number; a single number is its own result, without "
        f"modulo. Remainders are from 0 to {m - 1}.",
        supplies=(
            text(
                "0123456789" + low * 4 + high * 4,
                least=1,
                most=20,
                pieces=("1", "23", low, high, "5" + high, "7" + low, "400"),
            ),
        ),
        fit=lambda value: (_as_calculation(value, low, high),),
    )


def _as_calculation(value: str, low: str, high: str) -> str:
    """A text of digits and operators with numbers of three digits at most between single operators."""
    result = ""
    for c in value:
        number = result.replace(low, " ").replace(high, " ").rsplit(" ", 1)[-1]
        if (c.isdigit() and len(number) < 3) or (not c.isdigit() and number):
            result += c
    return result.rstrip(low + high) or "8"


@template(
    level=4,
    # equal weights are the same from both ends
    settle=lambda s: s if len(set(s["weights"])) > 1 else None,
    weights=tuple(str(n) for n in range(112, 1000) if "0" not in str(n)),
    m=range(11, 38),
    is_from_right=(True, False),
    is_crossed=(True, False),
)
def _check_number(weights: str, m: int, is_from_right: bool, is_crossed: bool) -> Exercise:
    listed = ", ".join(weights)
    side = "right" if is_from_right else "left"
    cross = "        value = value // 10 + value % 10\n" if is_crossed else ""
    crossing = " (if a product has two digits, the sum of its two digits is taken instead)" if is_crossed else ""
    return Exercise(
        gold=f"""\
def check_number(text: str) -> int:
    weights = [{listed}]
    total = 0
    place = 0
    for c in text{"[::-1]" if is_from_right else ""}:
        if not c.isdigit():
            continue
        value = (ord(c) - ord("0")) * weights[place % 3]
{cross}        total += value
        place += 1
    return total % {m}
""",
        wordings=(
            f"From the {side}, multiply the decimal digits of the text by the weights {listed}, then {listed} again "
            f"and so on{crossing}. Characters that are no digits are left out and use up no weight. Return the "
            f"remainder of the sum divided by {m}.",
            "Ignore everything in the text but decimal digits. Going from "
            f"{'last to first' if is_from_right else 'first to last'}, the digits get the weights {listed} in turn, "
            f"over and over. Add up digit times weight{crossing}, and return the sum modulo {m}.",
        ),
        notes="Without digits the result is 0.",
        supplies=(text("0123456789123456789- ", most=22, pieces=("12", "99", "5", "-", "4711", "08 ", "7")),),
    )
