"""Which numbers are never below zero: there the plain division of other languages is Python's.

In: a function. Out: the variables of which every assignment shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from spiritsafe.tasks.code.translate.tree import Assign, CountLoop, EachLoop, Expr, Function, statements_in


def natural_names(function: Function) -> frozenset[str]:
    """Variables whose number is never below zero."""
    parameters = dict(function.parameters)
    names = frozenset(name for name, kind in function.locals if kind == "int" and name not in parameters)
    while True:  # from all of them to those that do not lean on one that may be below
        kept = names - set(_doubtful(function, names))
        if kept == names:
            return names
        names = kept


def _doubtful(function: Function, names: frozenset[str]) -> Iterator[str]:
    for one in statements_in(function.body):
        if isinstance(one, EachLoop) or (isinstance(one, Assign) and not is_natural(one.value, names)):
            yield one.name
        elif isinstance(one, CountLoop):
            lowest = one.first if one.step > 0 else one.end
            is_above = one.step < 0 and lowest.op == "const" and int(lowest.value or 0) >= -1
            if not is_above and not is_natural(lowest, names):
                yield one.name


def is_natural(expr: Expr, names: frozenset[str]) -> bool:
    """Whether a number shows that it is never below zero, if those variables are not."""
    if expr.kind != "int":
        return False
    args = [is_natural(arg, names) for arg in expr.args if arg.kind == "int"]
    match expr.op:
        case "const":
            return int(expr.value or 0) >= 0
        case "var":
            return expr.value in names
        case "len" | "ord" | "int" | "abs":
            return True
        case "+" | "*" | "//" | "min" | "if":
            return all(args)
        case "max":
            return any(args)
        case "%":
            return args[1]
        case _:
            return False
