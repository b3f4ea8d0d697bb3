"""Programs of the subset, with a type for each expression and nothing left that only Python has.

In: nothing. Out: records that the reader makes and the writers of languages go through. Expressions have no effects, so
that a writer may work one out before the statement that it stands in, wherever that is always worked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

CodeKind = Literal["int", "bool", "char", "str", "ints"]
"""Those of signatures, and of texts those that have one character whatever happens."""


@final
@dataclass(frozen=True, slots=True)
class Expr:
    """An expression.

    Attributes:
        op: ``const`` and ``var``, whose ``value`` says which; ``call`` of the function that ``value`` names; or one of

            - whole numbers: ``+ - * // % neg abs min max``, ``len``, ``ord``, ``int`` of truth, ``sum min_of max_of``
            - truth: ``< <= > >= == !=`` of two of a kind, ``and or not``, ``in`` a constant text, ``isdigit isalpha``
            - texts: ``item``, ``slice``, ``concat``, ``repeat``, ``reverse``, ``chr``, ``text`` of a number, ``upper``,
              ``lower``
            - lists: ``list`` of its items, ``item``, ``slice``, ``concat``, ``repeat`` of one item, ``reverse``,
              ``sorted``
            - ``if``: its condition, then one value, else another.
        args: What it is made of; of a slice the whole, the first index, and the index after the last, if not the end.
        kind: Of its value.
        value: See above.
    """

    op: str
    args: tuple[Expr, ...]
    kind: CodeKind
    value: int | bool | str | None = None


@final
@dataclass(frozen=True, slots=True)
class Assign:
    """A variable gets a value."""

    name: str
    value: Expr


@final
@dataclass(frozen=True, slots=True)
class SetItem:
    """An item of a list gets a value."""

    name: str
    index: Expr
    value: Expr


@final
@dataclass(frozen=True, slots=True)
class Append:
    """A list gets one more item."""

    name: str
    value: Expr


@final
@dataclass(frozen=True, slots=True)
class If:
    """One body or another."""

    condition: Expr
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@final
@dataclass(frozen=True, slots=True)
class While:
    """A body as long as a condition holds."""

    condition: Expr
    body: tuple[Statement, ...]


@final
@dataclass(frozen=True, slots=True)
class CountLoop:
    """A body for each number from a first one, before an end, in steps.

    Attributes:
        name: The variable that has the number.
        is_own: The body leaves the variable alone, and nobody asks for it afterwards.
    """

    name: str
    first: Expr
    end: Expr
    step: int
    body: tuple[Statement, ...]
    is_own: bool


@final
@dataclass(frozen=True, slots=True)
class EachLoop:
    """A body for each item of a list or character of a text, which the body leaves alone if it is a variable."""

    name: str
    whole: Expr
    body: tuple[Statement, ...]


@final
@dataclass(frozen=True, slots=True)
class Return:
    """The end of a call."""

    value: Expr


@final
@dataclass(frozen=True, slots=True)
class Jump:
    """To the end of the innermost loop, or to its next turn."""

    is_end: bool


Statement = Assign | SetItem | Append | If | While | CountLoop | EachLoop | Return | Jump


@final
@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes:
        kinds: Of all variables, parameters first.
        num_parameters: How many of them are parameters.
        result: The kind of what it returns.
        changed: Parameters that get other values.
    """

    name: str
    kinds: dict[str, CodeKind]
    num_parameters: int
    result: CodeKind
    body: tuple[Statement, ...]
    changed: frozenset[str]

    @property
    def parameters(self) -> list[tuple[str, CodeKind]]:
        """Name and kind of each."""
        return list(self.kinds.items())[: self.num_parameters]

    @property
    def locals(self) -> list[tuple[str, CodeKind]]:
        """Likewise of the other variables."""
        return list(self.kinds.items())[self.num_parameters :]


def number(value: int) -> Expr:
    """A whole number."""
    return Expr("const", (), "int", value)


def shifted(expr: Expr, by: int) -> Expr:
    """A whole number plus a constant, in the shortest form."""
    if by == 0:
        return expr
    if expr.op == "const":
        return number(int(expr.value or 0) + by)
    if expr.op in ("+", "-") and expr.args[1].op == "const":
        own = int(expr.args[1].value or 0)
        rest = (own if expr.op == "+" else -own) + by
        return shifted(expr.args[0], rest)
    return Expr("+" if by > 0 else "-", (expr, number(abs(by))), "int")


_OPPOSITES = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


def negated(expr: Expr) -> Expr:
    """What is true where this is false."""
    if expr.op in _OPPOSITES:
        return Expr(_OPPOSITES[expr.op], expr.args, "bool")
    if expr.op == "not":
        return expr.args[0]
    if expr.op in ("and", "or"):
        return Expr("or" if expr.op == "and" else "and", tuple(map(negated, expr.args)), "bool")
    if expr.op == "const":
        return Expr("const", (), "bool", not expr.value)
    return Expr("not", (expr,), "bool")


def conjuncts(expr: Expr) -> list[Expr]:
    """Conditions that all hold where this one does, in their order."""
    return [part for arg in expr.args for part in conjuncts(arg)] if expr.op == "and" else [expr]


def mentions(expr: Expr, name: str) -> bool:
    """Whether a variable is part of it."""
    return (expr.op == "var" and expr.value == name) or any(mentions(arg, name) for arg in expr.args)


def variables_in(expr: Expr) -> set[str]:
    """Variables that are part of it."""
    own = {str(expr.value)} if expr.op == "var" else set()
    return own.union(*map(variables_in, expr.args))


def is_total(expr: Expr) -> bool:
    """Whether it can be worked out at any time, even where the program would not: no index is too big, and so on."""
    if expr.op in ("item", "call", "min_of", "max_of", "chr", "ord"):
        return False
    if expr.op in ("//", "%") and (expr.args[1].op != "const" or not expr.args[1].value):
        return False
    return all(is_total(arg) for arg in expr.args)


def statements_in(body: Iterable[Statement]) -> Iterable[Statement]:
    """All of a body, those in loops and branches too."""
    for statement in body:
        yield statement
        if isinstance(statement, If):
            yield from statements_in(statement.body + statement.otherwise)
        elif isinstance(statement, While | CountLoop | EachLoop):
            yield from statements_in(statement.body)


def mutated_in(body: Iterable[Statement]) -> set[str]:
    """Lists that change in place."""
    return {one.name for one in statements_in(body) if isinstance(one, SetItem | Append)}


def changed_in(body: Iterable[Statement]) -> set[str]:
    """Variables that get values, items too."""
    named = (Assign, SetItem, Append, CountLoop, EachLoop)
    return {one.name for one in statements_in(body) if isinstance(one, named)}
