"""Short word problems of one or two steps: ten stories over plain arithmetic.

The canonical text is the arithmetic asked for, not the story: other names, things and wordings of the same calculation
are the same problem, so they share a bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import final

from pydantic import field_validator

from spiritsafe.tasks.families.arith.items import Item
from spiritsafe.tasks.spec import Knobs, Range

_NAMES = (
    "Ada",
    "Ben",
    "Chen",
    "Dina",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "June",
    "Kofi",
    "Lea",
    "Max",
    "Noor",
    "Omar",
)
_THINGS = (
    "apples",
    "books",
    "coins",
    "shells",
    "stamps",
    "pens",
    "cards",
    "eggs",
    "beads",
    "nuts",
    "stones",
    "tickets",
)


class WordsKnobs(Knobs):
    """Short word problems.

    Attributes:
        steps: Calculations needed, 1 or 2.
        digits: Digits of the larger numbers; multipliers and divisors have one digit.
        hint: Tell the model how to mark its answer.
    """

    steps: Range = (1, 2)
    digits: Range = (1, 2)
    hint: bool = True

    @field_validator("steps")
    @classmethod
    def _steps(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] < 1 or value[1] > 2:
            raise ValueError("steps must be 1, 2 or 1-2")
        return value

    @field_validator("digits")
    @classmethod
    def _digits(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] < 1 or value[1] > 6:
            raise ValueError("digits must lie between 1 and 6")
        return value


@final
@dataclass(frozen=True, slots=True)
class _Story:
    """Text and arithmetic of one draw; ``lines`` are the steps, ``canonical`` their normal form."""

    canonical: str
    text: str
    answer: int
    lines: list[str]


@final
@dataclass(frozen=True, slots=True)
class _Cast:
    """What a story is filled with: two people, a thing, three large numbers, two small ones (2-9)."""

    name: str
    other: str
    things: str
    a: int
    b: int
    c: int
    m: int
    n: int


def _sum(*terms: int) -> str:
    return " + ".join(str(term) for term in sorted(terms))


def _product(left: int, right: int) -> str:
    return f"{min(left, right)} * {max(left, right)}"


def _gets(k: _Cast) -> _Story:
    total = k.a + k.b
    text = f"{k.name} has {k.a} {k.things} and gets {k.b} more. How many {k.things} now?"
    return _Story(_sum(k.a, k.b), text, total, [f"{k.a} + {k.b} = {total}"])


def _gives(k: _Cast) -> _Story:
    left = k.a - k.b
    text = f"{k.name} has {k.a} {k.things} and gives away {k.b}. How many are left?"
    return _Story(f"{k.a} - {k.b}", text, left, [f"{k.a} - {k.b} = {left}"])


def _fewer(k: _Cast) -> _Story:
    left = k.a - k.b
    text = f"{k.name} has {k.a} {k.things}. {k.other} has {k.b} fewer. How many does {k.other} have?"
    return _Story(f"{k.a} - {k.b}", text, left, [f"{k.a} - {k.b} = {left}"])


def _boxes(k: _Cast) -> _Story:
    total = k.m * k.a
    text = f"{k.name} buys {k.m} boxes of {k.a} {k.things}. How many {k.things} in all?"
    return _Story(_product(k.m, k.a), text, total, [f"{k.m} * {k.a} = {total}"])


def _shares(k: _Cast) -> _Story:
    total = k.a * k.m
    text = f"{k.name} shares {total} {k.things} equally among {k.m} friends. How many does each get?"
    return _Story(f"{total} / {k.m}", text, k.a, [f"{total} / {k.m} = {k.a}"])


def _gets_gives(k: _Cast) -> _Story:
    middle, left = k.a + k.b, k.a + k.b - k.c
    text = f"{k.name} has {k.a} {k.things}, gets {k.b} more, then gives away {k.c}. How many are left?"
    lines = [f"{k.a} + {k.b} = {middle}", f"{middle} - {k.c} = {left}"]
    return _Story(f"{_sum(k.a, k.b)} - {k.c}", text, left, lines)


def _boxes_more(k: _Cast) -> _Story:
    middle, total = k.m * k.a, k.m * k.a + k.b
    text = f"{k.name} has {k.b} {k.things} and buys {k.m} boxes of {k.a}. How many {k.things} now?"
    lines = [f"{k.m} * {k.a} = {middle}", f"{middle} + {k.b} = {total}"]
    return _Story(f"{_product(k.m, k.a)} + {k.b}", text, total, lines)


def _boxes_gives(k: _Cast) -> _Story:
    middle, left = k.m * k.a, k.m * k.a - k.b
    text = f"{k.name} buys {k.m} boxes of {k.a} {k.things} and gives away {k.b}. How many are left?"
    lines = [f"{k.m} * {k.a} = {middle}", f"{middle} - {k.b} = {left}"]
    return _Story(f"{_product(k.m, k.a)} - {k.b}", text, left, lines)


def _together(k: _Cast) -> _Story:
    theirs, total = k.a + k.b, k.a + k.a + k.b
    text = f"{k.name} has {k.a} {k.things}. {k.other} has {k.b} more than {k.name}. How many do they have together?"
    lines = [f"{k.a} + {k.b} = {theirs}", f"{k.a} + {theirs} = {total}"]
    return _Story(f"{k.a} + ({k.a} + {k.b})", text, total, lines)


def _change(k: _Cast) -> _Story:
    cost, change = k.m * k.n, k.a - k.m * k.n
    text = f"A pen costs {k.m} coins. {k.name} buys {k.n} pens and pays with {k.a} coins. How many coins come back?"
    lines = [f"{k.m} * {k.n} = {cost}", f"{k.a} - {cost} = {change}"]
    return _Story(f"{k.a} - {_product(k.m, k.n)}", text, change, lines)


_STORIES: dict[int, tuple[Callable[[_Cast], _Story], ...]] = {
    1: (_gets, _gives, _fewer, _boxes, _shares),
    2: (_gets_gives, _boxes_more, _boxes_gives, _together, _change),
}


def words(rng: Random, knobs: WordsKnobs) -> Item | None:
    """One story; None when the draw makes no sense (nothing left, or the answer already stands in the text)."""
    name, other = rng.sample(_NAMES, 2)
    a, b, c = (max(2, rng.randint(10 ** (d - 1), 10**d - 1)) for d in (rng.randint(*knobs.digits) for _ in range(3)))
    cast = _Cast(name, other, rng.choice(_THINGS), a, b, c, rng.randint(2, 9), rng.randint(2, 9))
    story = rng.choice(_STORIES[rng.randint(*knobs.steps)])(cast)
    given = {int(word) for word in story.text.replace(",", " ").replace(".", " ").split() if word.isdigit()}
    if story.answer < 2 or story.answer in given:
        return None
    return Item(story.canonical, story.text, str(story.answer), lambda: story.lines)
