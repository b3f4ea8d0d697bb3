"""Faults in the literals, the signs and the functions of a COBOL statement.

In: a statement. Out: the changes that put another value, operation or function there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self, final

from spiritsafe.tasks.code.mutants.cobol_words.conditions import conditions_of
from spiritsafe.tasks.code.mutants.cobol_words.sentences import CobolStatement
from spiritsafe.tasks.code.mutants.columns import ProgramWord, Splice

_NUMBERED = frozenset(
    {
        "ADD",
        "SUBTRACT",
        "COMPUTE",
        "MULTIPLY",
        "DIVIDE",
        "MOVE",
        "IF",
        "EVALUATE",
        "WHEN",
        "PERFORM",
        "SET",
        "INITIALIZE",
        "DISPLAY",
        "STRING",
    }
)
_LETTERED = frozenset({"MOVE", "DISPLAY", "IF", "WHEN", "PERFORM", "STRING", "INSPECT", "EVALUATE"})
_ARITHMETIC = {"+": ("-",), "-": ("+",), "*": ("/",), "/": ("*",), "**": ("*",)}
_FUNCTIONS = {
    "MIN": "MAX",
    "MAX": "MIN",
    "UPPER-CASE": "LOWER-CASE",
    "LOWER-CASE": "UPPER-CASE",
    "MOD": "REM",
    "REM": "MOD",
    "INTEGER": "INTEGER-PART",
    "INTEGER-PART": "INTEGER",
}
_ZEROS = {"ZERO", "ZEROS", "ZEROES"}
_VALUES = {
    "HIGH-VALUE": "LOW-VALUE",
    "HIGH-VALUES": "LOW-VALUES",
    "LOW-VALUE": "HIGH-VALUE",
    "LOW-VALUES": "HIGH-VALUES",
}
_RELATIONS = {"=", "<", ">", "<=", ">=", "<>", "TO", "EQUAL", "EQUALS", "THAN"}


@final
@dataclass(frozen=True, slots=True)
class CobolFault:
    """A fault before it is fitted into its lines.

    Attributes:
        operator: Its kind.
        splices: What stands where, in order of place.
        shown: What a reader is told; None: the one splice.
        shorter: What may stand there instead if there is no room.
    """

    operator: str
    splices: tuple[Splice, ...]
    shown: tuple[str, str] | None = None
    shorter: str | None = None

    @classmethod
    def put(
        cls,
        operator: str,
        start: int,
        end: int,
        new: str,
        *,
        shown: tuple[str, str] | None = None,
        shorter: str | None = None,
    ) -> Self:
        """A fault of one splice."""
        return cls(operator, ((start, end, new),), shown, shorter)


def literal_changes(statement: CobolStatement) -> Iterator[CobolFault]:
    """Another value, operation or function for each word of a statement."""
    words, verb = statement.words, statement.verb
    in_condition = {id(word) for _, part in conditions_of(words) for word in part}
    brackets: list[bool] = []  # of those that are open: whether they hold indices
    for place, word in enumerate(words):
        before = words[place - 1] if place else None
        after = words[place + 1] if place + 1 < len(words) else None
        if word.text == "(" and word.kind == "sign":
            brackets.append(_holds_indices(words, place))
        elif word.text == ")" and word.kind == "sign" and brackets:
            brackets.pop()
        elif word.kind == "sign" and word.text in _ARITHMETIC and _is_binary(before, word, after):
            adds_nothing = word.text in "+-" and after is not None and after.text == "0"
            for other in () if adds_nothing else _ARITHMETIC[word.text]:
                yield _put("arithmetic", word, other)
        elif word.kind == "number" and verb in _NUMBERED:
            yield from _number(word, before, after, is_index=bool(brackets) and brackets[-1])
        elif word.kind == "string" and verb in _LETTERED:
            blank = "spaces" if words[0].text.islower() else "SPACES"
            yield from _string(word, blank if verb == "MOVE" or id(word) in in_condition else "")
        elif before is not None and before.up == "FUNCTION" and word.up in _FUNCTIONS:
            yield _put("call", word, _FUNCTIONS[word.up])
        elif word.up in _VALUES and verb in ("MOVE", "IF", "WHEN", "PERFORM"):
            yield _put("value", word, _VALUES[word.up])
        elif word.up in _ZEROS and (
            verb == "MOVE" or (id(word) in in_condition and before and before.up in _RELATIONS)
        ):
            yield _put("value", word, "1")


def _put(operator: str, word: ProgramWord, new: str) -> CobolFault:
    return CobolFault.put(operator, word.start, word.end, new.lower() if word.text.islower() else new)


def _holds_indices(words: Sequence[ProgramWord], place: int) -> bool:
    """Whether a bracket holds subscripts, or bounds of letters, and not a function's arguments or a term."""
    if place == 0 or words[place - 1].kind != "word":
        return words[place - 1].text == ")" if place else False
    is_function = place > 1 and words[place - 2].up == "FUNCTION"
    return not is_function and words[place - 1].up not in _RESERVED_BEFORE_TERMS


_RESERVED_BEFORE_TERMS = frozenset(
    {
        "IF",
        "AND",
        "OR",
        "NOT",
        "UNTIL",
        "WHEN",
        "THAN",
        "TO",
        "EQUAL",
        "EQUALS",
        "IS",
        "THRU",
        "THROUGH",
        "GREATER",
        "LESS",
    }
)


def _is_binary(before: ProgramWord | None, word: ProgramWord, after: ProgramWord | None) -> bool:
    """Whether a sign stands between two operands; a sign of a number touches it."""
    if before is None or after is None or (before.kind == "sign" and before.text != ")"):
        return False
    return word.text not in "+-" or (after.start > word.end and before.up not in _RESERVED_BEFORE_TERMS)


def _number(
    word: ProgramWord, before: ProgramWord | None, after: ProgramWord | None, *, is_index: bool
) -> Iterator[CobolFault]:
    """One more and one less; where something is counted or divided by it, it stays positive."""
    value = Decimal(word.text)
    left, right = before.up if before else "", after.up if after else ""
    is_alone = is_index and left in ("(", ",", ":") and right in (")", ",", ":")
    is_positive = is_alone or left in ("BY", "/", "UP", "DOWN", "**") or right == "TIMES"
    is_unsigned = left in ("-", "+", "*")  # two operators must not meet
    for other in (value + 1, value - 1):
        too_small = other < 1 if is_positive else other < 0 if is_unsigned or is_index else False
        beyond = is_alone and other > value and ":" not in (left, right)  # it may be the table's last
        if not too_small and not beyond:
            yield CobolFault.put("number", word.start, word.end, str(other))


def _string(word: ProgramWord, blank: str) -> Iterator[CobolFault]:
    quote, inside = word.text[0], word.text[1:-1]
    if inside and inside[0] != quote:
        yield CobolFault.put(
            "string", word.start, word.end, f"{quote}{'Y' if inside[0] == 'X' else 'X'}{inside[1:]}{quote}"
        )
    if blank and inside.strip():
        yield CobolFault.put("string", word.start, word.end, blank)
