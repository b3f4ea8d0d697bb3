"""Templates of loops over numbers: digits, divisors, rules that are applied again and again, circles."""

from __future__ import annotations

from math import gcd
from typing import Any

from spiritsafe.tasks.code.templates.inputs import whole
from spiritsafe.tasks.code.templates.template import Exercise, asking, plus, scaled, shifted, template

_DIGIT_TESTS = {
    **{f"at least {k}": f"d >= {k}" for k in range(2, 10)},
    **{f"at most {k}": f"d <= {k}" for k in range(1, 9)},
    "odd": "d % 2 == 1",
    "even": "d % 2 == 0",
}


def _is_no_other_count(s: dict[str, Any]) -> dict[str, Any] | None:
    # a sum of ones or of nines is a weighted count
    return None if s["fold"] == "sum" and s["test"] in ("at least 9", "at most 1") else s


@template(
    level=2,
    settle=_is_no_other_count,
    test=tuple(_DIGIT_TESTS),
    fold=("sum", "count", "greatest"),
    w=range(1, 10),
    b=range(-20, 21),
)
def _digit_total(test: str, fold: str, w: int, b: int) -> Exercise:
    step = {"sum": "total += d", "count": "total += 1", "greatest": "total = max(total, d)"}[fold]
    what = {
        "sum": f"the sum of those decimal digits that are {test}",
        "count": f"the number of decimal digits that are {test}",
        "greatest": f"the greatest of those decimal digits that are {test} (0 if there is none)",
    }[fold]
    return Exercise(
        gold=f"""\
def digit_score(n: int) -> int:
    rest = abs(n)
    total = 0
    while True:
        d = rest % 10
        if {_DIGIT_TESTS[test]}:
            {step}
        rest = rest // 10
        if rest == 0:
            break
    return {scaled("total", w)}{shifted(b)}
""",
        wordings=(
            f"Find {what} in n. Return it multiplied by {w}, {plus(b)}.",
            f"The result is {w} times a number, {plus(b)}. That number is {what} of n.",
        ),
        notes="The sign of n does not matter; 0 has the one digit 0.",
        supplies=(whole(-(10**9), 10**9, 9, 10, 19, 90, 99, 100, 123456789, 9876543210 // 10),),
    )


@template(
    level=3,
    settle=lambda s: None if (s["a"], s["b"], s["skip"], s["is_reversed"]) == (1, 0, -1, False) else s,
    a=range(1, 10),
    b=range(10),
    skip=range(-1, 10),
    is_reversed=(True, False),
)
def _rewritten_digits(a: int, b: int, skip: int, is_reversed: bool) -> Exercise:
    guard = f"        if d == {skip}:\n            continue\n" if skip >= 0 else ""
    grow = "result * 10 + changed" if not is_reversed else "result + changed * place\n        place *= 10"
    place = "    place = 1\n" if is_reversed else ""
    order = "the opposite order, so that the new digit of the last one comes first" if is_reversed else "the same order"
    left_out = f"Digits {skip} are left out. " if skip >= 0 else ""
    return Exercise(
        gold=f"""\
def rewrite(n: int) -> int:
    result = 0
{place}    for c in str(n):
        d = ord(c) - ord("0")
{guard}        changed = ({scaled("d", a)}{shifted(b)}) % 10
        result = {grow}
    return result
""",
        wordings=(
            f"Replace each decimal digit d of n by the last digit of {a} * d + {b}. {left_out}Write the new digits "
            f"in "
            f"{order}, and return the number that they make.",
            f"A code turns the digit d into the remainder of {a} * d + {b} divided by 10. {left_out}Encode the "
            f"decimal digits of n, put them in {order}, and return them as a number.",
        ),
        notes="n is at least 0. Leading zeros of the result vanish; without any digit the result is 0.",
        supplies=(whole(0, 10**10, 9, 10, 11, 1234567890, 99),),
    )


@template(level=4, power=(1, 2, 3), w=range(1, 6), v=range(1, 6), c=range(21), rounds=range(2, 6))
def _digit_rounds(power: int, w: int, v: int, c: int, rounds: int) -> Exercise:
    term = " * ".join(["d"] * power)
    words = {1: "itself", 2: "its square", 3: "its cube"}[power]
    return Exercise(
        gold=f"""\
def play(n: int) -> int:
    for turn in range({rounds}):
        total = {c}
        while n > 0:
            d = n % 10
            n = n // 10
            if d % 2 == 0:
                total += {scaled(term, w)}
            else:
                total += {scaled(term, v)}
        n = total
    return n
""",
        wordings=(
            f"Do this {rounds} times: replace n by {c} plus the sum over its decimal digits, where an even digit "
            f"counts {w} times {words} and an odd digit {v} times {words}. Return the last n.",
            f"In a digit game of {rounds} rounds, the next number is {c} plus the points of all decimal digits of "
            f"the "
            f"present number; a digit's points are {words}, times {w} if the digit is even and times {v} if it is "
            "odd. The game begins with n; return the number after the last round.",
        ),
        notes="n is at least 0.",
        supplies=(whole(0, 10**9, 9, 10, 19, 100),),
    )


def _has_a_fit(s: dict[str, Any]) -> dict[str, Any] | None:
    a, r, b, t = s["a"], s["r"], s["b"], s["t"]
    common = gcd(a, b)
    # else the second condition never holds together with the first, or always
    return s if r < a and t < b and b != common and r % common == t % common else None


@template(level=3, settle=_has_a_fit, a=range(3, 25), r=range(24), b=range(3, 13), t=range(12))
def _next_fit(a: int, r: int, b: int, t: int) -> Exercise:
    clash = next(x for x in range(a * b) if x % a == r and x % b == t)
    return Exercise(
        gold=f"""\
def next_fit(x: int) -> int:
    while x % {a} != {r} or x % {b} == {t}:
        x += 1
    return x
""",
        wordings=(
            f"Return the smallest number that is at least x, leaves remainder {r} when divided by {a}, and does not "
            f"leave remainder {t} when divided by {b}.",
            f"Seats are good if their number has remainder {r} on division by {a}, unless it has remainder {t} on "
            f"division by {b}. Return the number of the first good seat from x on (x itself may be one).",
        ),
        notes="Remainders are never negative, also for negative numbers (-1 divided by 5 leaves 4).",
        supplies=(whole(-300, 300, clash, clash - a * b, r, r - a, r + a),),
    )


@template(level=3, base=range(2, 10), width=range(1, 9), first=range(48, 66), is_reversed=(True, False))
def _in_base(base: int, width: int, first: int, is_reversed: bool) -> Exercise:
    joined = f"text + chr({first} + rest % {base})" if is_reversed else f"chr({first} + rest % {base}) + text"
    marks = "".join(chr(first + digit) for digit in range(base))
    order = "lowest digit first" if is_reversed else "highest digit first"
    filler = "end" if is_reversed else "beginning"
    return Exercise(
        gold=f"""\
def encode(n: int) -> str:
    text = ""
    rest = n
    while rest > 0 or len(text) < {width}:
        text = {joined}
        rest = rest // {base}
    return text
""",
        wordings=(
            f'Write n in base {base}, {order}, with the characters of "{marks}" for the digits from 0 to {base - 1}. '
            f"If "
            f"there are fewer than {width} digits, put zero digits at the {filler} until there are {width}.",
            f"Return the base {base} form of n as a text of at least {width} characters, {order}: zero digits are "
            f"added "
            f'at the {filler} if needed. The digits 0 to {base - 1} are written as "{marks}".',
        ),
        notes=f"n is at least 0; 0 gives {width} zero digit{'s' if width > 1 else ''}.",
        supplies=(whole(0, 10**6, base, base**2, base**width, base ** (width - 1)),),
    )


@template(
    level=2,
    settle=lambda s: s if s["r"] < s["m"] else None,
    m=range(2, 10),
    r=range(9),
    a=(*range(-5, 0), *range(1, 10)),
    b=range(-9, 10),
)
def _range_total(m: int, r: int, a: int, b: int) -> Exercise:
    return Exercise(
        gold=f"""\
def total(n: int) -> int:
    result = 0
    for i in range(1, n + 1):
        if i % {m} == {r}:
            result += {scaled("i", a)}{shifted(b)}
    return result
""",
        wordings=(
            f"For every number i from 1 to n that leaves remainder {r} when divided by {m}, add {a} * i{shifted(b)} "
            "to a sum that starts at 0. Return the sum.",
            f"On day i of a job you earn {a} * i{shifted(b)} coins (that may be negative), but only if the remainder "
            f"of i divided by {m} is {r}. Return the total after days 1 to n.",
        ),
        notes="The result is 0 if n is less than 1.",
        supplies=(whole(-3, 120, m, r, m + r, 2 * m),),
    )


@template(
    level=3,
    # another bound below the next divisor that fits would be the same function
    settle=lambda s: s if s["r"] < s["m"] and (s["k"] % s["m"] == s["r"]) else None,
    k=range(1, 60),
    m=range(2, 8),
    r=range(7),
    w=range(1, 10),
    fold=("sum", "number"),
)
def _divisors(k: int, m: int, r: int, w: int, fold: str) -> Exercise:
    return Exercise(
        gold=f"""\
def divisors(n: int) -> int:
    result = 0
    for d in range({k}, n + 1):
        if n % d == 0 and d % {m} == {r}:
            result += {"d" if fold == "sum" else "1"}
    return {scaled("result", w)}
""",
        wordings=(
            f"Return {w} times the {fold} of those positive divisors of n that are at least {k} and leave remainder "
            f"{r} when divided by {m}.",
            f"Among the divisors of n (1 and n included), keep those not less than {k} whose remainder on division "
            f"by "
            f"{m} is {r}. Return {w} times their {fold}.",
        ),
        notes="n is at least 1; the result is 0 if there is no such divisor.",
        supplies=(whole(1, 900, k, k * m, 2 * k, 12 * k, 360, 720, k * (m + 1), 210, 6 * k),),
    )


@template(
    level=3,
    first=range(10),
    second=range(1, 11),
    a=range(1, 7),
    b=range(1, 7),
    c=range(10),
    m=range(11, 98),
)
def _recurrence(first: int, second: int, a: int, b: int, c: int, m: int) -> Exercise:
    return Exercise(
        gold=f"""\
def term(n: int) -> int:
    before = {first}
    last = {second}
    for i in range(n):
        following = ({scaled("last", a)} + {scaled("before", b)}{shifted(c)}) % {m}
        before = last
        last = following
    return before
""",
        wordings=(
            f"A sequence starts with {first} and {second}. Each later term is the remainder on division by {m} of "
            f"{a} "
            f"times the term before it plus {b} times the term before that {plus(c)}. Return term number n; number 0 "
            f"is {first}.",
            f"Let f(0) = {first}, f(1) = {second}, and f(n) = ({a} * f(n - 1) + {b} * f(n - 2) + {c}) modulo {m} for "
            "larger n. Return f(n).",
        ),
        notes="n is at least 0.",
        supplies=(whole(0, 150, 3, 5, 10),),
    )


@template(
    level=3,
    # where no step but a division ends the loop, or every other step leads to a division, steps are too regular
    settle=lambda s: s if gcd(s["a"], s["m"]) == 1 and s["b"] % s["m"] else None,
    m=range(2, 6),
    a=range(2, 6),
    b=range(1, 10),
    stop=range(1, 11),
    cap=range(8, 21),
    asked=("steps", "number"),
)
def _steps_down(m: int, a: int, b: int, stop: int, cap: int, asked: str) -> Exercise:
    result = "the number of steps" if asked == "steps" else "the last number"
    return Exercise(
        gold=f"""\
def walk(n: int) -> int:
    steps = 0
    while n > {stop} and steps < {cap}:
        if n % {m} == 0:
            n = n // {m}
        else:
            n = n * {a} + {b}
        steps += 1
    return {"steps" if asked == "steps" else "n"}
""",
        wordings=(
            f"In one step, n becomes n / {m} if n is a multiple of {m}, and {a} * n + {b} otherwise. Make steps "
            f"until "
            f"n is at most {stop}, but not more than {cap} steps. Return {result}.",
            f"Repeat while n is greater than {stop} and fewer than {cap} steps were made: divide n by {m} if that "
            f"leaves no remainder, else multiply it by {a} and add {b}. Return {result}.",
        ),
        notes="n is at least 1; it may be that no step is made.",
        supplies=(whole(1, 500, stop, m, m * m, 27, 64),),
    )


@template(level=4, a=range(1, 13), c=range(1, 21), m=range(23, 98), asked=("different", "repeated"))
def _orbit(a: int, c: int, m: int, asked: str) -> Exercise:
    result = {"different": "how many different numbers there are", "repeated": "the first number that comes again"}[
        asked
    ]
    return Exercise(
        gold=f"""\
def orbit(x: int) -> int:
    seen = [0] * {m}
    x = x % {m}
    count = 0
    while seen[x] == 0:
        seen[x] = 1
        count += 1
        x = ({scaled("x * x", a)} + {c}) % {m}
    return {"count" if asked == "different" else "x"}
""",
        wordings=(
            f"Start with the remainder of x divided by {m}; from a number y the next one is the remainder of {a} * y "
            f"* y + {c} divided by {m}. Go on until a number comes for the second time. Return {result}.",
            f"A generator of numbers holds a state from 0 to {m - 1}, at first x modulo {m}. It replaces a state y "
            f"by "
            f"({a} * y * y + {c}) modulo {m}. Look at its states from the first one until one is repeated, and "
            f"return "
            f"{result}.",
        ),
        notes="x is at least 0.",
        supplies=(whole(0, 10_000, m, 2 * m, c),),
    )


@template(level=4, k=range(2, 41), start=range(12), left=(1, 2, 3), asked=("sum", "removed"))
def _circle(k: int, start: int, left: int, asked: str) -> Exercise:
    result = (
        "the sum of the numbers of those who are left"
        if asked == "sum"
        else "the number of the one who left last (0 if nobody left)"
    )
    people = "one is" if left == 1 else f"{left} are"
    return Exercise(
        gold=asking(
            f"""\
def circle(n: int) -> int:
    people = []
    for i in range(1, n + 1):
        people.append(i)
    place = {start}
    removed = 0  # removed
    while len(people) > {left}:
        place = (place + {k - 1}) % len(people)
        removed = people[place]  # removed
        people = people[:place] + people[place + 1:]
    return {"sum(people)" if asked == "sum" else "removed"}
""",
            asked,
        ),
        wordings=(
            f"The numbers 1 to n stand in a circle in this order. Beginning with the one that stands {start} places "
            f"after number 1 (around the circle as often as needed), count to {k} around the circle: the one counted "
            f"as number {k} leaves, and counting from 1 goes on with the next one that is still there. Stop as soon "
            f"as at most {people} left. Return {result}.",
            f"n children, numbered from 1, stand in a circle; counting starts at the child {start} places after "
            f"child "
            f"1, going around if n is small. The child counted as number {k} goes home, and the count begins again "
            f"with 1 at the child after it, and so on. It ends when not more than {people} left. Return {result}.",
        ),
        notes="n is at least 1.",
        supplies=(whole(1, 50, left, left + 1, k, start),),
    )
