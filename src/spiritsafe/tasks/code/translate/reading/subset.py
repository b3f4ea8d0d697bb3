"""The subset's limits: an error that names the line, and what of Python's tree stands for what.

In: a place in a source and what is wrong there. Out: a :class:`SubsetError`.
"""

from __future__ import annotations

import ast
from typing import NoReturn, final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.signature import PYTHON_TYPES, ValueType
from spiritsafe.tasks.code.translate.tree import CodeKind


@final
class SubsetError(TaskError):
    """A source that is not in the subset, or does not fit its types."""


def refuse_line(place: ast.AST | int, what: str, hint: str = "Write it with what the subset has.") -> NoReturn:
    """Name the line.

    Raises:
        SubsetError: Always.
    """
    line = place if isinstance(place, int) else getattr(place, "lineno", 0)
    raise SubsetError(f"Line {line}: {what}.", hint=hint)


ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def common_kind(one: CodeKind, other: CodeKind) -> CodeKind | None:
    """The kind of what may be either; None: there is none."""
    if one == other:
        return one
    return "str" if {one, other} == {"char", "str"} else None


def annotated(node: ast.expr | None) -> ValueType:
    """The kind that an annotation says.

    Raises:
        SubsetError: It is none of the subset's.
    """
    text = ast.unparse(node) if node is not None else ""
    kinds = {text: kind for kind, text in PYTHON_TYPES.items()}
    if text not in kinds:
        refuse_line(node or 0, f"{text or 'nothing'!r} is no type of the subset", f"Write one of {', '.join(kinds)}.")
    return kinds[text]
