"""The functions of a Python module, and the methods of its classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from spiritsafe.assist.routines.routine import Routine

_LINE_END = re.compile(r"\r\n|\r|\n")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def routines_in(program: str) -> list[Routine]:
    """All of them; none where it is no Python."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError):
        return []
    starts = [0, *(found.end() for found in _LINE_END.finditer(program)), len(program)]
    found = []
    for prefix, node in _functions(tree):
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        start = starts[first - 1] + node.col_offset  # spaces before it: as many bytes as characters
        end = _place(program, starts, node.end_lineno or first, node.end_col_offset or 0)
        heading = _written(node, ast.Constant(...))
        indent = " " * node.col_offset
        raising = ast.parse("raise NotImplementedError").body[0]
        found.append(
            Routine(
                name=f"{prefix}{node.name}",
                start=start,
                end=end,
                heading=heading,
                about=ast.get_docstring(node) or "",
                gone=f"\n{indent}".join(_written(node, raising).splitlines()),
                is_whole=not prefix,
            )
        )
    return found


def replacement_in(program: str, code: str, name: str) -> str | None:
    """What stands for a function: all of some code, if the function is in it."""
    return code.strip() if any(one.name == name for one in routines_in(code)) else None


def _functions(tree: ast.Module) -> Iterator[tuple[str, _Function]]:
    for node in tree.body:
        if isinstance(node, _Function):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.", one) for one in node.body if isinstance(one, _Function))


def _place(program: str, starts: list[int], line: int, column: int) -> int:
    """Where a node's end is, which the parser counts in bytes of its line."""
    text = program[starts[line - 1] : starts[line]]
    return starts[line - 1] + len(text.encode("utf-8")[:column].decode("utf-8", "ignore"))


def _written(node: _Function, body: ast.expr | ast.stmt) -> str:
    """Its heading with another body."""
    statement = ast.Expr(body) if isinstance(body, ast.expr) else body
    kind = type(node)
    other = kind(
        name=node.name,
        args=node.args,
        body=[statement],
        decorator_list=node.decorator_list,
        returns=node.returns,
        type_comment=node.type_comment,
    )
    vars(other).update({name: value for name, value in vars(node).items() if name == "type_params"})
    return ast.unparse(ast.fix_missing_locations(other))
