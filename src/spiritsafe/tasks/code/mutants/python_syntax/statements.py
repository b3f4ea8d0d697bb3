"""Faults in statements: conditions, results, loops, errors, and statements that are missing.

In: a node. Out: the edits that change its way, or take it away.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
from spiritsafe.tasks.code.mutants.python_syntax.scope import is_logging

_OTHER_ERROR = {
    "ValueError": "TypeError",
    "TypeError": "ValueError",
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "AttributeError": "TypeError",
    "ZeroDivisionError": "ValueError",
    "OverflowError": "ValueError",
    "RuntimeError": "ValueError",
    "NotImplementedError": "TypeError",
    "StopIteration": "RuntimeError",
    "AssertionError": "ValueError",
    "OSError": "ValueError",
    "FileNotFoundError": "PermissionError",
    "UnicodeDecodeError": "KeyError",
    "UnicodeEncodeError": "KeyError",
}
_RESULTS = {"int": ("0", "1"), "float": ("0.0",), "str": ('""',), "bytes": ('b""',), "list": ("[]",), "dict": ("{}",)}
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)


def statement_edits(node: ast.AST, parent: ast.AST, places: NodePlaces) -> Iterator[Edit]:
    """The faults of one statement, or of a condition inside an expression."""
    match node:
        case ast.If() | ast.IfExp():
            yield from _condition(node.test, ("True", "False"), places)
        case ast.While():
            yield from _condition(node.test, ("False",), places)  # an endless loop is noticed by its time alone
        case ast.Break() | ast.Continue():
            yield _put("loop", node, "continue" if isinstance(node, ast.Break) else "break", places)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _results(node, places)
        case ast.Yield(value=ast.expr() as value) if not _is_none(value):
            yield _put("return", value, "None", places)
        case ast.ExceptHandler():
            first, last = node.body[0], node.body[-1]
            yield Edit(operator="handler", start=places.start(first), end=places.end(last), new="pass")
            for kind in node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]:
                yield from _other_error(kind, places)
        case ast.Raise():
            yield _put("delete", node, "pass", places)
            yield from _other_error(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, places)
        case ast.Assign() | ast.AugAssign() if not isinstance(parent, ast.ClassDef):
            yield _put("delete", node, "pass", places)
        case ast.AnnAssign(value=ast.expr()) if not isinstance(parent, ast.ClassDef):
            yield _put("delete", node, "pass", places)
        case ast.Expr(value=ast.Call() | ast.Await()) if not is_logging(node):
            yield _put("delete", node, "pass", places)
        case ast.Delete():
            yield _put("delete", node, "pass", places)


def _put(operator: str, node: ast.expr | ast.stmt, new: str, places: NodePlaces) -> Edit:
    return Edit(operator=operator, start=places.start(node), end=places.end(node), new=new)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _condition(test: ast.expr, constants: tuple[str, ...], places: NodePlaces) -> Iterator[Edit]:
    """Always so, never so, the other way round."""
    if isinstance(test, ast.Constant):
        return  # its truth is a fault of its own
    for constant in constants:
        yield _put("condition", test, constant, places)
    is_negation_known = isinstance(test, ast.Compare) and len(test.ops) == 1  # the opposite comparison says the same
    if not is_negation_known and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        yield _put("not", test, f"not ({places.text(test)})", places)


def _results(function: ast.FunctionDef | ast.AsyncFunctionDef, places: NodePlaces) -> Iterator[Edit]:
    """Nothing, the opposite, or a constant of the type instead of each result of this function."""
    promised = function.returns
    base = promised.value if isinstance(promised, ast.Subscript) else promised
    kind = base.id if isinstance(base, ast.Name) else ""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            value = node.value
            yield _put("return", value, "None", places)
            if not isinstance(value, ast.Constant):
                yield from _other_result(value, kind, places)
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ):
            waiting += ast.iter_child_nodes(node)


def _other_result(value: ast.expr, kind: str, places: NodePlaces) -> Iterator[Edit]:
    is_negation = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    is_truth = kind == "bool" or is_negation or isinstance(value, ast.Compare)
    if is_truth:
        yield _put("return", value, "True", places)
        yield _put("return", value, "False", places)
        if not is_negation and not (isinstance(value, ast.Compare) and len(value.ops) == 1):
            yield _put("return", value, f"not ({places.text(value)})", places)
    elif kind in ("int", "float") or (isinstance(value, ast.BinOp) and _is_arithmetic(value)):
        yield _put("return", value, f"-({places.text(value)})", places)
    for constant in _RESULTS.get(kind, ()):
        yield _put("return", value, constant, places)


def _is_arithmetic(node: ast.BinOp) -> bool:
    """Whether it is of numbers, as far as can be seen: a sum may be one of strings or lists."""
    return isinstance(node.op, _ARITHMETIC) and not isinstance(node.op, ast.Add | ast.Mult | ast.Mod)


def _other_error(kind: ast.expr | None, places: NodePlaces) -> Iterator[Edit]:
    if isinstance(kind, ast.Name) and kind.id in _OTHER_ERROR:
        yield _put("error", kind, _OTHER_ERROR[kind.id], places)
