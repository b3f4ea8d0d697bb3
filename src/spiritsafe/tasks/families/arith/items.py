"""Generators of the ``arith`` family: one function a kind, from a random stream and knobs to an :class:`Item`.

Each item knows its canonical text (order, spacing and story taken away), its question in few tokens, its answer, and a
worked solution short enough for a small model to learn: one step a line, the answer behind ``####``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import final

from pydantic import JsonValue, field_validator

from spiritsafe.tasks.spec import Knobs, Range


@final
@dataclass(frozen=True, slots=True)
class Item:
    """One problem of ``arith``; ``steps`` makes the worked solution's lines, without the answer line."""

    canonical_text: str
    question: str
    answer: str
    steps: Callable[[], list[str]]
    facts: Mapping[str, JsonValue] = field(default_factory=dict)

    def solution(self) -> str:
        """The worked solution, ending with the marker that the verifier looks for first."""
        return "\n".join([*self.steps(), f"#### {self.answer}"])


def _within(name: str, value: tuple[int, int], low: int, high: int) -> tuple[int, int]:
    if value[0] < low or value[1] > high:
        raise ValueError(f"{name} must lie between {low} and {high}")
    return value


def _number(rng: Random, digits: tuple[int, int]) -> int:
    """A number of a random length in ``digits``; never 0, and 1 is as likely as any other digit."""
    length = rng.randint(*digits)
    return rng.randint(10 ** (length - 1), 10**length - 1)


class SumsKnobs(Knobs):
    """Sums and differences.

    Attributes:
        terms: How many terms.
        digits: Digits of each term.
        negative: Let running totals and results fall below zero.
        hint: Tell the model how to mark its answer.
    """

    terms: Range = (2, 3)
    digits: Range = (1, 2)
    negative: bool = False
    hint: bool = True

    @field_validator("terms")
    @classmethod
    def _terms(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("terms", value, 2, 20)

    @field_validator("digits")
    @classmethod
    def _digits(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("digits", value, 1, 12)


def sums(rng: Random, knobs: SumsKnobs) -> Item:
    """``12 + 5 - 9 = ?``; canonical text: the multiset of signed terms; steps: running totals."""
    terms = [_number(rng, knobs.digits)]
    total = terms[0]
    for _ in range(rng.randint(*knobs.terms) - 1):
        term = _number(rng, knobs.digits)
        if rng.random() < 0.5 and (knobs.negative or total >= term):
            term = -term
        terms.append(term)
        total += term

    def steps() -> list[str]:
        lines, running = [], terms[0]
        for term in terms[1:]:
            # without spaces: most tokenizers spend a token on each, and small models pay for every token
            lines.append(f"{running}{'-' if term < 0 else '+'}{abs(term)}={running + term}")
            running += term
        return lines

    question = str(terms[0]) + "".join(f" {'-' if term < 0 else '+'} {abs(term)}" for term in terms[1:])
    return Item(" ".join(f"{term:+d}" for term in sorted(terms)), f"{question} = ?", str(total), steps)


class ProductsKnobs(Knobs):
    """Products.

    Attributes:
        factors: How many factors.
        digits: Digits of each factor.
        hint: Tell the model how to mark its answer.
    """

    factors: Range = (2, 2)
    digits: Range = (1, 2)
    hint: bool = True

    @field_validator("factors")
    @classmethod
    def _factors(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("factors", value, 2, 6)

    @field_validator("digits")
    @classmethod
    def _digits(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("digits", value, 1, 6)


def _long_multiplication(left: int, right: int) -> list[str]:
    """Steps of ``left * right``: one line a digit of the shorter factor, then running totals."""
    left, right = max(left, right), min(left, right)
    if left < 10:
        return [f"{left} * {right} = {left * right}"]
    split, other = (left, right) if right < 10 else (right, left)
    digits = str(split)
    places = [int(d) * 10 ** (len(digits) - 1 - i) for i, d in enumerate(digits) if d != "0"]
    lines = [f"{other} * {place} = {other * place}" for place in places]
    running = other * places[0]
    for place in places[1:]:
        lines.append(f"{running} + {other * place} = {running + other * place}")
        running += other * place
    return lines


def products(rng: Random, knobs: ProductsKnobs) -> Item:
    """``23 * 47 = ?``; canonical text: the sorted factors; steps: partial products."""
    factors = [max(2, _number(rng, knobs.digits)) for _ in range(rng.randint(*knobs.factors))]
    result = 1
    for factor in factors:
        result *= factor

    def steps() -> list[str]:
        lines, running = [], factors[0]
        for factor in factors[1:]:
            lines += _long_multiplication(running, factor)
            running *= factor
        return lines

    canonical = " * ".join(str(factor) for factor in sorted(factors))
    return Item(canonical, " * ".join(map(str, factors)) + " = ?", str(result), steps)


class LinearKnobs(Knobs):
    """Linear equations ax + b = c.

    Attributes:
        coefficient: a.
        constant: Size of b; its sign is random.
        root: Size of the solution.
        negative: Let the solution and c be negative.
        hint: Tell the model how to mark its answer.
    """

    coefficient: Range = (2, 9)
    constant: Range = (1, 50)
    root: Range = (1, 20)
    negative: bool = False
    hint: bool = True

    @field_validator("coefficient", "constant", "root")
    @classmethod
    def _sizes(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("it", value, 1, 10**6)


def linear(rng: Random, knobs: LinearKnobs) -> Item | None:
    """``3x + 4 = 19``, in any of three orders; canonical text: ``3x+4=19``; steps: undo b, undo a.

    None when the solution already stands in the equation, so that echoing the question earns nothing.
    """
    a, x = rng.randint(*knobs.coefficient), rng.randint(*knobs.root)
    if knobs.negative and rng.random() < 0.5:
        x = -x
    b = rng.randint(*knobs.constant)
    if rng.random() < 0.5 and (knobs.negative or a * x >= b):
        b = -b
    c = a * x + b
    if x in (b, -b, c):
        return None
    left = f"{'' if a == 1 else a}x"
    sign, size = ("-", -b) if b < 0 else ("+", b)
    forms = [f"{left} {sign} {size} = {c}", f"{b} + {left} = {c}", f"{c} = {left} {sign} {size}"]

    def steps() -> list[str]:
        undo = f"{c} {'+' if b < 0 else '-'} {size}"
        lines = [f"{left} = {undo} = {c - b}"]
        return lines if a == 1 else [*lines, f"x = {c - b} / {a} = {x}"]

    return Item(f"{a}x{b:+d}={c}", f"{rng.choice(forms)}, x = ?", str(x), steps)


class CountdownKnobs(Knobs):
    """Countdown: reach a target.

    Attributes:
        numbers: How many numbers are given.
        value: Their sizes.
        target: Size of the target.
        hint: Tell the model how to mark its answer.
    """

    numbers: Range = (3, 4)
    value: Range = (1, 25)
    target: Range = (10, 100)
    hint: bool = True

    @field_validator("numbers")
    @classmethod
    def _numbers(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("numbers", value, 2, 8)

    @field_validator("value", "target")
    @classmethod
    def _sizes(cls, value: tuple[int, int]) -> tuple[int, int]:
        return _within("it", value, 1, 10**5)


@final
@dataclass(frozen=True, slots=True)
class _Part:
    value: int
    text: str
    rank: int  # 2 a number, 1 a product or quotient, 0 a sum or difference


def _wrap(part: _Part, rank: int) -> str:
    return part.text if part.rank >= rank else f"({part.text})"


def _combine(rng: Random, left: _Part, right: _Part) -> _Part | None:
    """Join two parts by a random operator that keeps values whole, positive and worth the step."""
    left, right = (left, right) if left.value >= right.value else (right, left)
    a, b = left.value, right.value
    operator = rng.choice("+-*/")
    if operator == "+":
        return _Part(a + b, f"{left.text} + {right.text}", 0)
    if operator == "-" and a > b:
        return _Part(a - b, f"{left.text} - {_wrap(right, 1)}", 0)
    if operator == "*" and b > 1:
        return _Part(a * b, f"{_wrap(left, 1)} * {_wrap(right, 1)}", 1)
    if operator == "/" and b > 1 and a % b == 0:
        return _Part(a // b, f"{_wrap(left, 1)} / {_wrap(right, 2)}", 1)
    return None


def countdown(rng: Random, knobs: CountdownKnobs) -> Item | None:
    """``Make 40 from 2, 5, 25.``; canonical text: target and sorted numbers; None when the draw fits no target."""
    numbers = [rng.randint(*knobs.value) for _ in range(rng.randint(*knobs.numbers))]
    parts = [_Part(number, str(number), 2) for number in rng.sample(numbers, rng.randint(2, len(numbers)))]
    lines: list[str] = []
    while len(parts) > 1:
        left, right = parts.pop(rng.randrange(len(parts))), parts.pop(rng.randrange(len(parts)))
        joined = _combine(rng, left, right)
        if joined is None:
            return None
        # the step shows values, the last line the whole expression
        values = _combine_text(joined, left, right)
        lines.append(f"{values} = {joined.value}")
        parts.append(joined)
    result = parts[0]
    if not knobs.target[0] <= result.value <= knobs.target[1] or result.value in numbers:
        return None
    given = ", ".join(map(str, numbers))
    return Item(
        f"{result.value} from {' '.join(map(str, sorted(numbers)))}",
        f"Make {result.value} from {given}: each at most once, with + - * /.",
        result.text,
        lambda: lines,
        {"target": result.value, "numbers": list(numbers)},
    )


def _combine_text(joined: _Part, left: _Part, right: _Part) -> str:
    a, b = max(left.value, right.value), min(left.value, right.value)
    if joined.rank == 0:
        return f"{a} + {b}" if joined.value == a + b else f"{a} - {b}"
    return f"{a} * {b}" if joined.value == a * b else f"{a} / {b}"
