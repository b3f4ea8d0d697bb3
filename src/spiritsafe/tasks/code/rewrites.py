"""Programs that say the same in other words: what a grader must accept as it accepts the original.

In: a program and the name of its language. Out: the same program with other names for its variables, other case,
comments. That it still does the same is by construction; nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

_LITERAL = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")


def rewritten(source: str, language: str) -> str:
    """The same program in other words; itself, where the language has none here."""
    rewrite = _REWRITES.get(language)
    return source if rewrite is None else rewrite(source)


class _Renamer(ast.NodeTransformer):
    """Gives the variables of functions other names."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self.generic_visit(node)
        node.arg = self._names.get(node.arg, node.arg)
        return node


def _names_beside_nodes(node: ast.AST) -> list[str]:
    """Variables that are named here by texts, which the renamer leaves alone."""
    match node:
        case ast.Global() | ast.Nonlocal():
            return node.names
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return [node.name] if node.name else []
        case ast.MatchMapping():
            return [node.rest] if node.rest else []
        case ast.Import() | ast.ImportFrom():
            return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    return []


def _python(source: str) -> str:
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    held = {
        name.id
        for function in functions
        for name in ast.walk(function)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
    held |= {argument.arg for function in functions for argument in function.args.args}
    told = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    outside = {
        name.id
        for node in tree.body
        if not isinstance(node, ast.FunctionDef)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    outside |= {name for node in ast.walk(tree) for name in _names_beside_nodes(node)}
    names = {name: f"the_{name}" for name in held - told - outside}
    for function in functions:
        _Renamer(names).visit(function)
        function.body.insert(0, ast.Expr(ast.Constant("In other words.")))
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _other_case(change: Callable[[str], str], comment: str) -> Callable[[str], str]:
    """Other case outside texts, and a comment on top."""

    def rewrite(source: str) -> str:
        pieces, last = [], 0
        for literal in _LITERAL.finditer(source):
            pieces += [change(source[last : literal.start()]), literal.group()]
            last = literal.end()
        return comment + "".join([*pieces, change(source[last:])])

    return rewrite


_REWRITES: dict[str, Callable[[str], str]] = {
    "python": _python,
    "fortran": _other_case(str.upper, "! in other words\n"),
    "cobol": _other_case(str.lower, ""),
}
