"""Which parts of a program may be changed.

In: a syntax tree. Out: its nodes inside functions, methods and bodies of classes. Left alone: what says and does not do
(docstrings, annotations, messages of errors, logging), what is for other programs (imports, ``__all__``, type checking,
the part that runs as a script), and the insides of f-strings, whose places Python 3.11 does not know.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

_LISTS_OF_NAMES = {"__all__", "__slots__", "__match_args__"}
_TYPE_MAKERS = {"TypeVar", "TypeVarTuple", "ParamSpec", "NewType", "NamedTuple", "TypedDict", "namedtuple"}
_GENERIC = {"list", "dict", "set", "frozenset", "tuple", "type"}
_LOGGERS = {"log", "_log", "logger", "_logger", "logging", "LOG", "LOGGER", "warnings"}
_LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@final
@dataclass(frozen=True, slots=True)
class Spot:
    """A node that may be changed.

    Attributes:
        node: The node.
        parent: What it is a part of.
        unit: The outermost function, or the statement of a class, that holds it: what has to be compiled to see a
            change.
        statement: The innermost statement that holds it.
    """

    node: ast.AST
    parent: ast.AST
    unit: ast.stmt
    statement: ast.stmt


def spots(tree: ast.Module) -> Iterator[Spot]:
    """Every node that may be changed; its own stack, so that deep trees are no trouble."""
    for unit, parent in _units(tree):
        waiting: list[tuple[ast.AST, ast.AST, ast.stmt]] = [(unit, parent, unit)]
        while waiting:
            node, above, statement = waiting.pop()
            statement = node if isinstance(node, ast.stmt) else statement
            yield Spot(node, above, unit, statement)
            waiting += [(child, node, statement) for child in _parts(node)]


def _units(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.AST]]:
    waiting: list[tuple[ast.AST, ast.AST]] = [(tree, tree)]
    while waiting:
        node, parent = waiting.pop()
        if isinstance(node, _FUNCTIONS) or (isinstance(parent, ast.ClassDef) and not isinstance(node, ast.ClassDef)):
            if isinstance(node, ast.stmt) and not _is_docstring(node):
                yield node, parent
        elif not isinstance(node, ast.If) or not _is_for_others(node.test):
            waiting += [
                (child, node)
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
            ]
        else:
            waiting += [(child, node) for child in node.orelse]


def _parts(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that may be changed."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            body: list[ast.AST] = [*node.body] if isinstance(node.body, list) else [node.body]
            defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)]
            return [*defaults, *_reached(body)]
        case ast.ClassDef():
            return [*node.body]
        case ast.AnnAssign():
            return [] if node.value is None else [node.value]
        case ast.Assign(targets=[ast.Name(id=name)]) if name in _LISTS_OF_NAMES:
            return []
        case ast.If() if _is_for_others(node.test):
            return [*node.orelse]
        case ast.Assert():
            return [node.test]
        case ast.Raise(exc=ast.Call() as call):
            said = (ast.JoinedStr, ast.Constant)
            return [argument for argument in call.args if not isinstance(argument, said)]
        case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return []
        case ast.MatchClass():
            return [*node.patterns, *node.kwd_patterns]
        case ast.Subscript(value=ast.Name(id=name)) if name in _GENERIC or name[:1].isupper():
            return []
        case ast.Call(func=ast.Name(id="cast") | ast.Attribute(attr="cast")):
            return [*node.args[1:]]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _TYPE_MAKERS:
            return []
    if (isinstance(node, ast.stmt) and (_is_docstring(node) or is_logging(node))) or _is_type_alias(node):
        return []
    unreached = {id(part) for block in _blocks(node) for part in block[len(_reached(block)) :]}
    return [
        child
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, ast.expr_context | ast.arguments) and id(child) not in unreached
    ]


def _blocks(node: ast.AST) -> list[list[ast.AST]]:
    return [block for field in ("body", "orelse", "finalbody") if isinstance(block := getattr(node, field, None), list)]


def _reached(block: list[ast.AST]) -> list[ast.AST]:
    """The statements of a block up to the one that leaves it."""
    ends = (place for place, part in enumerate(block) if isinstance(part, _LEAVES))
    return block[: next(ends, len(block)) + 1]


def _is_type_alias(node: ast.AST) -> bool:
    return type(node).__name__ == "TypeAlias"  # from Python 3.12


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr)


def is_logging(node: ast.stmt) -> bool:
    """Whether a statement only tells a log or gives a warning."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name)))):
            return name in _LOGGERS
    return False


def _is_for_others(test: ast.expr) -> bool:
    """Whether a condition is true only for type checkers, or for a script."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(left=ast.Name(id="__name__")):
            return True
    return False
