"""What stands around each word of a Fortran expression, and what may be put there for that reason.

In: the words of an expression. Out: of each word what it is an argument of, and what stands
beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.mutants.columns import ProgramWord

_KIND_LATER = {"int", "real", "nint", "floor", "ceiling", "cmplx", "logical", "char", "achar", "aint", "anint"}
_DIMENSION_LATER = {
    "sum", "product", "maxval", "minval", "maxloc", "minloc", "size", "ubound", "lbound", "count", "any", "all",
    "cshift", "eoshift", "spread",
}  # fmt: skip
_SHAPES = {"reshape", "selected_int_kind", "selected_real_kind", "kind", "ishft", "ibset", "btest", "ibclr", "repeat"}
_FIXED_KEYWORDS = {"kind", "dim", "shape", "order"}
_DIVISIONS = {"mod", "modulo"}
_LETTERS = {"iachar", "ichar"}
_OPENS, _CLOSES = {"(", "[", "(/"}, {")", "]", "/)"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What stands around a word.

    Attributes:
        next_text: The next word.
        is_called: An argument list, or indices, follow.
        begins_operand: An operand is expected here: a sign is no operation between two.
        is_fixed: The compiler wants this very value: a kind, a dimension, a shape, a keyword.
        is_place: It is a bound of a slice, or an index by itself.
        is_divisor: Something is divided by it.
        is_power: It is an exponent.
        is_constructed: It is an element of an array's list.
        wants_letter: It is an argument that must be one letter.
    """

    next_text: str
    is_called: bool
    begins_operand: bool
    is_fixed: bool
    is_place: bool
    is_divisor: bool
    is_power: bool
    is_constructed: bool
    wants_letter: bool


@dataclass(slots=True)
class _Level:
    """A bracket that is open: what stands before it, which argument is read, and under which keyword."""

    callee: str
    sign: str
    argument: int = 0
    keyword: str = ""


def surroundings_of(words: Sequence[ProgramWord]) -> list[Surroundings]:
    """Of each word, in order."""
    levels = [_Level("", "")]
    found: list[Surroundings] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else None
        after = words[place + 1] if place + 1 < len(words) else None
        if word.text in _CLOSES and len(levels) > 1:
            levels.pop()
        level = levels[-1]
        if word.text == "," and word.kind == "sign":
            level.argument += 1
            level.keyword = ""
        is_keyword = len(levels) > 1 and word.kind == "name" and after is not None and after.text == "="
        if is_keyword:
            level.keyword = word.low
        found.append(_around(word, before, after, levels, is_keyword=is_keyword))
        if word.text in _OPENS and word.kind == "sign":
            callee = before.low if before is not None and before.kind == "name" and word.text == "(" else ""
            levels.append(_Level(callee, word.text))
    return found


def _around(
    word: ProgramWord,
    before: ProgramWord | None,
    after: ProgramWord | None,
    levels: Sequence[_Level],
    *,
    is_keyword: bool,
) -> Surroundings:
    level = levels[-1]
    left, right = before.text if before else "", after.text if after else ""
    later = level.argument > 0 and level.callee in _KIND_LATER | _DIMENSION_LATER
    alone = level.sign == "(" and bool(level.callee) and left in ("(", ",") and right in (")", ",")
    ends_operand = before is not None and (before.kind != "sign" or before.text in _CLOSES or before.low in _TRUTHS)
    return Surroundings(
        next_text=right,
        is_called=right == "(",
        begins_operand=not ends_operand,
        is_fixed=is_keyword
        or later
        or (word.text == "=" and word.kind == "sign")
        or any(one.callee in _SHAPES or one.keyword in _FIXED_KEYWORDS for one in levels),
        is_place=left == ":" or right == ":" or (alone and level.callee not in _DIVISIONS),
        is_divisor=left == "/" or (level.callee in _DIVISIONS and level.argument == 1),
        is_power=left == "**",
        is_constructed=any(one.sign in ("[", "(/") for one in levels),
        wants_letter=level.callee in _LETTERS,
    )


_TRUTHS = {".true.", ".false."}
