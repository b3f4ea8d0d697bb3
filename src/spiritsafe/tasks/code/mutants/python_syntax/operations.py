"""Faults in operators: comparisons, arithmetic, ``and``, ``or``, ``not``.

In: a node. Out: the edits that put another operator in its place, or take it away.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces

# Of the five other comparisons these three, with the condition made constant, are noticed by no fewer tests than all:
# Kaminski, Ammann and Offutt, "Improving logic-based testing", 2013, table 1; the opposite stands for the constants.
_ORDER: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">=", "!="),
    ast.LtE: ("<", ">", "=="),
    ast.Gt: (">=", "<=", "!="),
    ast.GtE: (">", "<", "=="),
}
_OTHER: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_WITH_ORDER: dict[type[ast.cmpop], tuple[str, ...]] = {ast.Eq: ("<=", ">="), ast.NotEq: ("<", ">")}
_ARITHMETIC: dict[type[ast.operator], tuple[str, ...]] = {
    ast.Add: ("-",),
    ast.Sub: ("+",),
    ast.Mult: ("/", "+"),
    ast.Div: ("*", "//"),
    ast.FloorDiv: ("/", "*"),
    ast.Mod: ("//", "*"),
    ast.Pow: ("*",),
    ast.LShift: (">>",),
    ast.RShift: ("<<",),
    ast.BitAnd: ("|",),
    ast.BitOr: ("&",),
    ast.BitXor: ("|",),
}
_ANOTHER_RANK = (ast.Pow, ast.BitAnd, ast.BitOr, ast.BitXor)  # what is put there binds more or less than it
# Of lengths, which are never negative, these pairs say the same when they are compared with 0.
_SAME_FOR_LENGTHS = {frozenset(("==", "<=")), frozenset(("!=", ">"))}
_SIGN: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.Eq: "==", ast.NotEq: "!=", ast.LtE: "<="}


def operation_edits(node: ast.AST, parent: ast.AST, places: NodePlaces) -> Iterator[Edit]:
    """The faults of one node's operators."""
    match node:
        case ast.Compare():
            yield from _compare(node, places)
        case ast.BinOp():
            yield from _arithmetic(node, parent, places)
        case ast.AugAssign():
            start, end = places.between(places.end(node.target), places.start(node.value))
            signs = () if is_text(node.value) else _ARITHMETIC.get(type(node.op), ())
            for sign in (*(f"{sign}=" for sign in signs), "="):
                if not (is_number(node.value, 0) and isinstance(node.op, ast.Add | ast.Sub) and sign != "="):
                    yield Edit(operator="augmented", start=start, end=end, new=sign)
        case ast.BoolOp():
            other = "or" if isinstance(node.op, ast.And) else "and"
            for left, right in pairwise(node.values):
                start, end = places.between(places.end(left), places.start(right))
                yield Edit(operator="logic", start=start, end=end, new=other)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()) if not isinstance(node.operand, ast.Constant):
            word = {ast.Not: "not", ast.USub: "-", ast.Invert: "~"}[type(node.op)]
            start = places.start(node)
            rest = places.source[start + len(word) : places.end(node)].lstrip(" \t")
            gap = " " if places.source[start - 1 : start].isalnum() and rest[:1].isidentifier() else ""
            operator = "not" if word == "not" else "sign"
            yield Edit(operator=operator, start=start, end=places.end(node), new=gap + rest)


def _compare(node: ast.Compare, places: NodePlaces) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for (left, right), operation in zip(pairwise(operands), node.ops, strict=True):
        kind = type(operation)
        others = _ORDER.get(kind) or (_OTHER[kind],)
        if kind in _WITH_ORDER and (_is_numeric(left) or _is_numeric(right)):
            others = (*others, *_WITH_ORDER[kind])
        start, end = places.between(places.end(left), places.start(right))
        length_and_zero = _is_length(left) and is_number(right, 0)
        for other in others:
            if not (length_and_zero and frozenset((_SIGN.get(kind), other)) in _SAME_FOR_LENGTHS):
                yield Edit(operator="compare", start=start, end=end, new=other)


def _arithmetic(node: ast.BinOp, parent: ast.AST, places: NodePlaces) -> Iterator[Edit]:
    if is_text(node.left) or is_text(node.right):
        return  # what is put there would fail whenever it runs
    adds_nothing = is_number(node.right, 0) and isinstance(node.op, ast.Add | ast.Sub)
    first, last = places.start(node), places.end(node)
    start, end = places.between(places.end(node.left), places.start(node.right))
    for sign in () if adds_nothing else _ARITHMETIC.get(type(node.op), ()):
        if isinstance(parent, ast.expr) and (
            isinstance(node.op, _ANOTHER_RANK) or (isinstance(node.op, ast.Mult) and sign == "+")
        ):
            text = f"({places.source[first:start]}{sign}{places.source[end:last]})"
            shown = (places.source[start:end], sign)
            yield Edit(operator="arithmetic", start=first, end=last, new=text, shown=shown)
        else:
            yield Edit(operator="arithmetic", start=start, end=end, new=sign)


def is_number(node: ast.expr, value: int) -> bool:
    """Whether it is this number, written out."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == value


def is_text(node: ast.expr) -> bool:
    """Whether it is a string or a list, written out."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    return isinstance(node, ast.JoinedStr | ast.List | ast.ListComp)


def _is_length(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"


def _is_numeric(node: ast.expr) -> bool:
    """Whether it looks like a number, so that it can be ordered."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_numeric(node.operand)
    if isinstance(node, ast.BinOp):
        return not is_text(node.left) and not is_text(node.right)
    return _is_length(node) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))
