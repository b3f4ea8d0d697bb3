"""Faults of Fortran programs, free and fixed form, by their words.

In: a program. Out: the edits that put one fault into a statement that is executed. Lines stay within their columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.columns import ProgramWord, Splice, written
from spiritsafe.tasks.code.mutants.fortran_words.actions import StatementPart, actions_of
from spiritsafe.tasks.code.mutants.fortran_words.surroundings import Surroundings, surroundings_of
from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_columns, fortran_statements
from spiritsafe.tasks.code.mutants.mutant import Edit

_COMPARE = {
    "<": ("<=", ">=", "/="),
    "<=": ("<", ">", "=="),
    ">": (">=", "<=", "/="),
    ">=": (">", "<", "=="),
    "==": ("/=", "<=", ">="),
    "/=": ("==", "<", ">"),
}
_DOTTED = {"<": ".lt.", "<=": ".le.", ">": ".gt.", ">=": ".ge.", "==": ".eq.", "/=": ".ne."}
_LOGIC = {".and.": ".or.", ".or.": ".and.", ".eqv.": ".neqv.", ".neqv.": ".eqv."}
_TRUTH = {".true.": ".false.", ".false.": ".true."}
_ARITHMETIC = {"+": ("-",), "-": ("+",), "*": ("/", "+"), "/": ("*",), "**": ("*",)}
_INTRINSICS = (
    "min max, floor ceiling, mod modulo, any all, minval maxval, minloc maxloc, adjustl adjustr, sum product, "
    "iand ior, sin cos, huge tiny, lge lle, lgt llt, len len_trim"
)
_OTHER_INTRINSIC = {
    one: other for pair in (names.split() for names in _INTRINSICS.split(",")) for one, other in (pair, pair[::-1])
}
_SIGNED = re.compile(r"[-+]")
_BINDS_MORE_THAN_PLUS = {".and.", ".or.", ".not.", ".eqv.", ".neqv.", "//"}
_MOST = {"": 2**31 - 1}  # of an integer without a kind

_Change = tuple[str, list[Splice], tuple[str, str] | None]
"""The kind of fault, what stands where, and what a reader is told."""


def edits_of(source: str) -> list[Edit]:
    """Every fault that can be put into a program.

    Raises:
        TaskError: It has no statements.
    """
    columns = fortran_columns(source)
    edits: list[Edit] = []
    found = False
    for statement in fortran_statements(source):
        found = True
        for part in actions_of(statement):
            for operator, splices, shown in _changes(part, source):
                edit = columns.edit(operator, source, splices, shown)
                edits += [edit] if edit is not None else []
    if not found:
        raise TaskError("The program is empty.", hint="Mutate a program that has statements.")
    return edits


def _changes(part: StatementPart, source: str) -> Iterator[_Change]:
    role, words = part
    if not words:
        return
    start, end = words[0].start, words[-1].end
    match role:
        case "action":
            new = _like(words[0], "continue")
            yield "delete", [(start, end, new)], (written(source, words), new)
        case "jump":
            other = "cycle" if words[0].low == "exit" else "exit"
            yield "loop", [(start, end, _like(words[0], other))], None
        case "condition":
            for constant in (".true.", ".false."):
                new = _like(words[0], constant)
                yield "condition", [(start, end, new)], (written(source, words), new)
            if not any(word.low in _COMPARE or word.low in _DOTTED.values() for word in words) or any(
                word.low in _LOGIC for word in words
            ):
                shown = written(source, words)
                yield "not", [(start, start, ".not. ("), (end, end, ")")], (shown, f".not. ({shown})")
        case "bound":
            yield from _bound(words, source)
        case "step":
            yield from _expression(words, zero_allowed=False)
        case "expression":
            yield from _expression(words, zero_allowed=True)


def _like(word: ProgramWord, text: str) -> str:
    """The text in capitals where the word is."""
    return text.upper() if word.text.isupper() else text


def _bound(words: Sequence[ProgramWord], source: str) -> Iterator[_Change]:
    """One more and one less; numbers have faults of their own."""
    if words[-1].kind == "integer" and (len(words) == 1 or _SIGNED.fullmatch(words[-2].text)):
        return
    start, end = words[0].start, words[-1].end
    shown = written(source, words)
    weak = any(word.low in _BINDS_MORE_THAN_PLUS for word in words)
    for change in (" + 1", " - 1"):
        splices = [(start, start, "("), (end, end, f"){change}")] if weak else [(end, end, change)]
        yield "bound", splices, (shown, f"{shown}{change}")


def _expression(words: Sequence[ProgramWord], *, zero_allowed: bool) -> Iterator[_Change]:
    for word, around in zip(words, surroundings_of(words), strict=True):
        if around.is_fixed:
            continue
        match word.kind:
            case "sign":
                yield from _sign(word, around)
            case "integer":
                yield from _integer(word, around, zero_allowed=zero_allowed)
            case "real":
                for new in (f"({word.text} + 1.0)", f"(-{word.text})"):
                    if not around.is_constructed:
                        yield _put("number", word, new)
            case "string":
                yield from _string(word, around)
            case "name":
                if around.is_called and (other := _OTHER_INTRINSIC.get(word.low)):
                    yield _put("call", word, _like(word, other))
                if around.is_called and word.low == "abs":
                    yield _put("call", word, "")


def _put(operator: str, word: ProgramWord, new: str) -> _Change:
    return operator, [(word.start, word.end, new)], None


def _sign(word: ProgramWord, around: Surroundings) -> Iterator[_Change]:
    sign = word.low
    dotted = {dotted: plain for plain, dotted in _DOTTED.items()}
    if sign in _COMPARE:
        for other in _COMPARE[sign]:
            yield _put("compare", word, other)
    elif sign in dotted:
        for other in _COMPARE[dotted[sign]]:
            yield _put("compare", word, _like(word, _DOTTED[other]))
    elif sign in _LOGIC:
        yield _put("logic", word, _like(word, _LOGIC[sign]))
    elif sign in _TRUTH:
        yield _put("truth", word, _like(word, _TRUTH[sign]))
    elif sign == ".not.":
        yield _put("not", word, "")
    elif sign in ("-", "+") and around.begins_operand:
        if sign == "-":
            yield _put("sign", word, "")
    elif sign in _ARITHMETIC and not around.begins_operand:
        for other in _ARITHMETIC[sign]:
            if not (sign in "+-" and around.next_text == "0"):
                yield _put("arithmetic", word, other)


def _integer(word: ProgramWord, around: Surroundings, *, zero_allowed: bool) -> Iterator[_Change]:
    digits, _, kind = word.text.partition("_")
    value = int(digits)
    least = 1 if around.is_place or not zero_allowed or around.is_divisor else None
    tail = f"_{kind}" if kind else ""
    for other in dict.fromkeys((value + 1, value - 1, 0, 1, -value)):
        if other == value or (least is not None and other < least) or other > _MOST.get(kind, 2**63 - 1):
            continue
        if other < 0 and (around.is_power or kind):
            continue
        text = f"{other}{tail}" if other >= 0 else f"({other})"
        yield _put("number", word, text)


def _string(word: ProgramWord, around: Surroundings) -> Iterator[_Change]:
    if word.end - word.start != len(word.text) or len(word.text) < 2 or word.text[-1] != word.text[0]:
        return  # it goes on in the next line
    quote, inside = word.text[0], word.text[1:-1]
    if not around.is_constructed and not around.wants_letter:
        yield _put("string", word, quote * 2)
    if inside and inside[0] not in "'\"":  # of the same length: arrays of strings must agree
        yield _put("string", word, f"{quote}{'Y' if inside[0] == 'X' else 'X'}{inside[1:]}{quote}")
    elif not inside and not around.is_constructed:
        yield _put("string", word, f"{quote}X{quote}")
