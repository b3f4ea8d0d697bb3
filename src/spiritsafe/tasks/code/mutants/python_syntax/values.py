"""Faults in values: numbers, strings, truth, indices, ranges, calls.

In: a node. Out: the edits that put another value in its place.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from itertools import pairwise

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.operations import is_text
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces

_METHODS = (
    "lower upper, startswith endswith, lstrip rstrip, ljust rjust, find rfind, index rindex, partition rpartition, "
    "removeprefix removesuffix, isdigit isalpha, islower isupper, union intersection, update difference_update, "
    "issubset issuperset, append appendleft, pop popleft, keys values, floor ceil, sin cos, "
    "heappush heappop, bisect_left bisect_right, insort_left insort_right, match fullmatch, add discard"
)
_FUNCTIONS = "min max, any all, floor ceil, sin cos, bisect_left bisect_right, insort_left insort_right"
_SYMMETRIC = {"min", "max", "gcd", "lcm", "hypot", "isclose"}
_NOT_SWAPPED = _SYMMETRIC | {"isinstance", "issubclass", "getattr", "setattr", "hasattr", "print", "range", "super"}
_BINDS_LESS_THAN_PLUS = (
    ast.IfExp,
    ast.Lambda,
    ast.BoolOp,
    ast.Compare,
    ast.NamedExpr,
    ast.Yield,
    ast.YieldFrom,
    ast.Tuple,
)
_SHIFTS = (ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)


def _pairs(text: str) -> dict[str, str]:
    both = [pair.split() for pair in text.split(",")]
    return {one: other for pair in both for one, other in (pair, pair[::-1])}


_OTHER_METHOD, _OTHER_FUNCTION = _pairs(_METHODS), _pairs(_FUNCTIONS)


def value_edits(node: ast.AST, parent: ast.AST, places: NodePlaces) -> Iterator[Edit]:
    """The faults of one node's value."""
    match node:
        case ast.Constant():
            if not (isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.USub)):
                yield from _constant(node, node.value, parent, places)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            yield from _constant(node, -value, parent, places)
        case ast.JoinedStr():
            yield _put("string", node, '""', places)
        case ast.Subscript():
            yield from _index(node, places)
        case ast.Call():
            yield from _call(node, places)
        case ast.comprehension():
            for test in node.ifs:
                yield _put("filter", test, "True", places)


def _put(operator: str, node: ast.expr, new: str, places: NodePlaces, shown: tuple[str, str] | None = None) -> Edit:
    return Edit(operator=operator, start=places.start(node), end=places.end(node), new=new, shown=shown)


def _constant(node: ast.expr, value: object, parent: ast.AST, places: NodePlaces) -> Iterator[Edit]:
    """Another constant for this one."""
    match value:
        case bool():
            yield _put("truth", node, str(not value), places)
        case int() | float():
            if not math.isfinite(value):
                return
            one, others = type(value)(1), dict[str, None]()
            for other in (value + one, value - one, one - one, one, -value):
                text = repr(other)
                if isinstance(parent, ast.BinOp | ast.Attribute) and text.startswith("-"):
                    text = f"({text})"  # `(-2) ** x`: a power binds more than a sign
                if other != value and "n" not in text:  # neither inf nor nan
                    others[text] = None
            for text in others:
                yield _put("number", node, text, places)
        case str() | bytes():
            changed = repr(f"XX{value}XX") if isinstance(value, str) else repr(b"XX" + value + b"XX")
            yield _put("string", node, '""' if isinstance(value, str) else 'b""', places)
            yield _put("string", node, changed, places)


def _index(node: ast.Subscript, places: NodePlaces) -> Iterator[Edit]:
    """One more or one less; without a bound."""
    if not isinstance(node.slice, ast.Slice):
        if not isinstance(node.slice, ast.Tuple) and not is_text(node.slice):
            yield from _one_off("index", node.slice, places)
        return
    for bound in (node.slice.lower, node.slice.upper, node.slice.step):
        if bound is not None:
            first, last = _with_brackets(bound, places)
            yield Edit(operator="slice", start=first, end=last, new="")
            if bound is not node.slice.step:
                yield from _one_off("slice", bound, places)


def _one_off(operator: str, node: ast.expr, places: NodePlaces) -> Iterator[Edit]:
    """One more and one less than an expression; constants have faults of their own."""
    alone = node.operand if isinstance(node, ast.UnaryOp) else node
    if isinstance(alone, ast.Constant | ast.Starred):
        return
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and isinstance(node.op, ast.Add | ast.Sub):
        return
    text = places.text(node)
    weak = isinstance(node, _BINDS_LESS_THAN_PLUS) or (isinstance(node, ast.BinOp) and isinstance(node.op, _SHIFTS))
    text = f"({text})" if weak else text
    for change in (" + 1", " - 1"):
        yield _put(operator, node, text + change, places)


def _with_brackets(node: ast.expr, places: NodePlaces, first: int = 0) -> tuple[int, int]:
    """An expression with the round brackets around it that begin at a place or later and hold nothing else."""
    start, end, source = places.start(node), places.end(node), places.source
    while start > first and source[start - 1] == "(" and source[end : end + 1] == ")":
        start, end = start - 1, end + 1
    return start, end


def _call(node: ast.Call, places: NodePlaces) -> Iterator[Edit]:
    """Another function, other bounds of a range, arguments in another order."""
    arguments = node.args
    name = ""
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if other := _OTHER_METHOD.get(name):
            end = places.end(node.func)
            yield Edit(operator="call", start=end - len(name), end=end, new=other)
    elif isinstance(node.func, ast.Name):
        name = node.func.id
        yield from _function(node, name, places)
    yield from _without_keyword(node, places)
    if name not in _NOT_SWAPPED:
        for left, right in pairwise(arguments):
            if not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                one, other = places.text(left), places.text(right)
                between = places.source[places.end(left) : places.start(right)]
                yield Edit(
                    operator="arguments", start=places.start(left), end=places.end(right), new=other + between + one
                )


def _without_keyword(node: ast.Call, places: NodePlaces) -> Iterator[Edit]:
    """Without one of the arguments that have names."""
    given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    given.sort(key=lambda part: (part.lineno, part.col_offset))
    for place, keyword in enumerate(given):
        if isinstance(keyword, ast.keyword) and keyword.arg is not None:
            start, end = places.start(keyword), places.end(keyword)
            shown = (places.source[start:end], "")
            if place > 0:
                start = places.between(places.end(given[place - 1]), start)[0]
            elif len(given) > 1:
                end = places.start(given[1])
            yield Edit(operator="arguments", start=start, end=end, new="", shown=shown)


def _function(node: ast.Call, name: str, places: NodePlaces) -> Iterator[Edit]:
    """The faults of a call of a function by its name."""
    inside = places.source.index("(", places.end(node.func)) + 1
    if other := _OTHER_FUNCTION.get(name):
        yield _put("call", node.func, other, places)
    if name == "range" and not any(isinstance(bound, ast.Starred) for bound in node.args):
        for bound in node.args[:2]:
            yield from _one_off("range", bound, places)
        if len(node.args) == 1:
            first, last = _with_brackets(node.args[0], places, inside)
            yield Edit(operator="range", start=first, end=last, new=f"1, {places.source[first:last]}")
    if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
        end = _with_brackets(node.args[0], places, inside)[1]
        if name == "sorted" and not any(keyword.arg == "reverse" for keyword in node.keywords):
            yield Edit(operator="call", start=end, end=end, new=", reverse=True", shown=("sorted", "sorted in reverse"))
        if name == "enumerate" and not node.keywords:
            yield Edit(operator="call", start=end, end=end, new=", 1", shown=("enumerate", "enumerate from 1"))
        if name == "abs":
            yield _put("call", node, f"({places.text(node.args[0])})", places)
        if name in ("reversed", "sorted") and not node.keywords:
            yield _put("call", node.func, "list", places, shown=(name, "list"))
