"""Reads expressions: Python's tree in, a typed tree out.

In: an expression, the kinds of variables, and what functions there are. Out: an
:class:`~spiritsafe.tasks.code.translate.tree.Expr`, or an error that names the line.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.languages.signature import MOST_INT
from spiritsafe.tasks.code.translate.reading.subset import ARITHMETIC, COMPARISONS, common_kind, refuse_line
from spiritsafe.tasks.code.translate.tree import CodeKind, Expr, negated, number, shifted

_TEXTS = ("char", "str")
_METHODS: dict[str, CodeKind] = {"upper": "str", "lower": "str", "isdigit": "bool", "isalpha": "bool"}


@final
@dataclass(frozen=True)
class ExpressionReader:
    """Reads what stands in one function.

    Attributes:
        kinds: Of the variables that are known until now.
        functions: Kinds of parameters and result of each function that may be called.
    """

    kinds: Mapping[str, CodeKind]
    functions: Mapping[str, tuple[tuple[CodeKind, ...], CodeKind]]

    def read(self, node: ast.expr) -> Expr:
        """One expression.

        Raises:
            SubsetError: It is not in the subset.
        """
        readers: dict[type[ast.expr], Callable[..., Expr]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.BinOp: self._operation,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._logical,
            ast.Compare: self._comparison,
            ast.IfExp: self._conditional,
            ast.List: self._list,
            ast.Subscript: self._subscript,
            ast.Call: self._call,
        }
        reader = readers.get(type(node))
        if reader is None:
            refuse_line(node, f"{ast.unparse(node)} is not in the subset")
        return reader(node)

    def of_kind(self, node: ast.expr, *kinds: CodeKind) -> Expr:
        """One that is of one of some kinds.

        Raises:
            SubsetError: It is not.
        """
        found = self.read(node)
        if found.kind not in kinds:
            refuse_line(node, f"{ast.unparse(node)} is of type {found.kind}, not {' or '.join(kinds)}")
        return found

    def condition(self, node: ast.expr) -> Expr:
        """What decides: truth, or what is true if it is not empty or not 0.

        Raises:
            SubsetError: It is not in the subset.
        """
        if isinstance(node, ast.BoolOp):
            return Expr(_logical(node), tuple(map(self.condition, node.values)), "bool")
        found = self.read(node)
        if found.kind == "bool":
            return found
        size = found if found.kind == "int" else Expr("len", (found,), "int")
        return Expr("!=" if found.kind == "int" else ">", (size, number(0)), "bool")

    def _constant(self, node: ast.Constant) -> Expr:
        value = node.value
        if isinstance(value, bool):
            return Expr("const", (), "bool", value)
        if isinstance(value, int) and value <= MOST_INT:
            return number(value)
        if isinstance(value, str) and value.isascii() and value.isprintable() | (value == ""):
            return Expr("const", (), "char" if len(value) == 1 else "str", value)
        return refuse_line(node, f"{value!r} is no constant of the subset")

    def _name(self, node: ast.Name) -> Expr:
        if node.id not in self.kinds:
            refuse_line(node, f"{node.id} has no value yet", "Assign it before, further up.")
        return Expr("var", (), self.kinds[node.id], node.id)

    def _operation(self, node: ast.BinOp) -> Expr:
        op = ARITHMETIC.get(type(node.op))
        if op is None:
            refuse_line(node, f"{ast.unparse(node)}: this operator is not in the subset")
        left, right = self.read(node.left), self.read(node.right)
        if op == "+" and left.kind in _TEXTS and right.kind in _TEXTS:
            return Expr("concat", (*_parts(left), *_parts(right)), "str")
        if op == "+" and left.kind == right.kind == "ints":
            return Expr("concat", (*_parts(left), *_parts(right)), "ints")
        if op == "*" and right.kind == "int" and left.op == "list" and len(left.args) == 1:
            return Expr("repeat", (left.args[0], right), "ints")
        if op == "*" and right.kind == "int" and left.kind == "char":
            return Expr("repeat", (left, right), "str")
        if left.kind == right.kind == "int":
            if op in ("//", "%") and right.op == "const" and not right.value:
                refuse_line(node, "division by zero")
            return Expr(op, (left, right), "int")
        return refuse_line(node, f"{ast.unparse(node)}: {left.kind} {op} {right.kind} is not in the subset")

    def _unary(self, node: ast.UnaryOp) -> Expr:
        if isinstance(node.op, ast.Not):
            return negated(self.condition(node.operand))
        if not isinstance(node.op, ast.USub):
            refuse_line(node, f"{ast.unparse(node)}: this operator is not in the subset")
        operand = self.of_kind(node.operand, "int")
        if operand.op == "const":
            return number(-int(operand.value or 0))
        return Expr("neg", (operand,), "int")

    def _logical(self, node: ast.BoolOp) -> Expr:
        return Expr(_logical(node), tuple(self.of_kind(value, "bool") for value in node.values), "bool")

    def _comparison(self, node: ast.Compare) -> Expr:
        operands = [node.left, *node.comparators]
        parts = [
            self._compared(left, op, right) for left, op, right in zip(operands, node.ops, operands[1:], strict=False)
        ]
        return parts[0] if len(parts) == 1 else Expr("and", tuple(parts), "bool")

    def _compared(self, left_node: ast.expr, op: ast.cmpop, right_node: ast.expr) -> Expr:
        left, right = self.read(left_node), self.read(right_node)
        if isinstance(op, ast.In | ast.NotIn):
            if left.kind != "char" or right.op != "const" or right.kind not in _TEXTS:
                refuse_line(left_node, "`in` needs one character and a constant text", "Compare in a loop instead.")
            found = Expr("in", (left, right), "bool")
            return found if isinstance(op, ast.In) else negated(found)
        name = COMPARISONS.get(type(op))
        common = common_kind(left.kind, right.kind)
        is_ordered = name not in ("==", "!=")
        if name is None or common is None or common == "ints" or (is_ordered and common == "bool"):
            refuse_line(left_node, f"{left.kind} and {right.kind} are not compared so in the subset")
        return Expr(name, (left, right), "bool")

    def _conditional(self, node: ast.IfExp) -> Expr:
        condition = self.condition(node.test)
        one, other = self.read(node.body), self.read(node.orelse)
        kind = common_kind(one.kind, other.kind)
        if kind is None:
            refuse_line(node, f"{ast.unparse(node)} is either {one.kind} or {other.kind}")
        return Expr("if", (condition, one, other), kind)

    def _list(self, node: ast.List) -> Expr:
        return Expr("list", tuple(self.of_kind(item, "int") for item in node.elts), "ints")

    def _subscript(self, node: ast.Subscript) -> Expr:
        whole = self.of_kind(node.value, "char", "str", "ints")
        part = node.slice
        if isinstance(part, ast.Slice):
            if part.step is not None:
                return self._reversed(node, part, whole)
            return self._slice(part, whole)
        index = self._place(node.slice, whole)
        return Expr("item", (whole, index), "int" if whole.kind == "ints" else "char")

    def _place(self, node: ast.expr, whole: Expr) -> Expr:
        """An index; a literal one below zero counts from the end."""
        index = self.of_kind(node, "int")
        is_below = index.op == "const" and int(index.value or 0) < 0
        return shifted(Expr("len", (whole,), "int"), int(index.value or 0)) if is_below else index

    def _slice(self, part: ast.Slice, whole: Expr) -> Expr:
        lower = self._place(part.lower, whole) if part.lower is not None else number(0)
        if part.lower is not None and self.read(part.lower).op == "const" and lower.op != "const":
            lower = Expr("max", (number(0), lower), "int")  # of what is shorter, the whole
        bounds = (lower,) if part.upper is None else (lower, self._place(part.upper, whole))
        return Expr("slice", (whole, *bounds), "ints" if whole.kind == "ints" else "str")

    def _reversed(self, node: ast.Subscript, part: ast.Slice, whole: Expr) -> Expr:
        if ast.unparse(part) != "::-1":
            refuse_line(node, f"{ast.unparse(node)}: of steps there is only [::-1]")
        return Expr("reverse", (whole,), "ints" if whole.kind == "ints" else "str")

    def _call(self, node: ast.Call) -> Expr:
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in self.functions:
            return self._own(node, name)
        if name == "sorted":
            return self._sorted(node)
        if node.keywords:
            refuse_line(node, f"{ast.unparse(node)}: arguments have no names in the subset")
        if name in ("min", "max") and len(node.args) in (2, 3):
            return Expr(name, tuple(self.of_kind(arg, "int") for arg in node.args), "int")
        takes: dict[str, tuple[tuple[CodeKind, ...], str, CodeKind]] = {
            "len": (("ints", "str", "char"), "len", "int"),
            "abs": (("int",), "abs", "int"),
            "min": (("ints",), "min_of", "int"),
            "max": (("ints",), "max_of", "int"),
            "sum": (("ints",), "sum", "int"),
            "ord": (("char",), "ord", "int"),
            "chr": (("int",), "chr", "char"),
            "str": (("int",), "text", "str"),
            "int": (("bool",), "int", "int"),
        }
        if name not in takes or len(node.args) != 1:
            refuse_line(node, f"{ast.unparse(node)}: this call is not in the subset")
        kinds, op, kind = takes[name]
        if name == "ord" and self.read(node.args[0]).kind == "str":  # it has one character
            first = Expr("item", (self.read(node.args[0]), number(0)), "char")
            return Expr("ord", (first,), "int")
        return Expr(op, (self.of_kind(node.args[0], *kinds),), kind)

    def _sorted(self, node: ast.Call) -> Expr:
        found = Expr("sorted", (self.of_kind(node.args[0], "ints"),), "ints")
        options = [(option.arg, ast.unparse(option.value)) for option in node.keywords]
        if len(node.args) != 1 or options not in ([], [("reverse", "True")]):
            refuse_line(node, f"{ast.unparse(node)}: sorted takes a list, and reverse=True")
        return Expr("reverse", (found,), "ints") if options else found

    def _method(self, node: ast.Call, method: ast.Attribute) -> Expr:
        whole = self.read(method.value)
        if method.attr not in _METHODS or whole.kind not in _TEXTS or node.args or node.keywords:
            refuse_line(node, f"{ast.unparse(node)}: this method is not in the subset")
        kind = _METHODS[method.attr]
        return Expr(method.attr, (whole,), whole.kind if kind == "str" else kind)

    def _own(self, node: ast.Call, name: str) -> Expr:
        kinds, result = self.functions[name]
        if len(node.args) != len(kinds) or node.keywords:
            refuse_line(node, f"{name} takes {len(kinds)} arguments, without names")
        args = []
        for arg, kind in zip(node.args, kinds, strict=True):
            args.append(self.of_kind(arg, *(_TEXTS if kind == "str" else (kind,))))
        return Expr("call", tuple(args), result, name)


def _parts(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if expr.op == "concat" else (expr,)


def _logical(node: ast.BoolOp) -> str:
    return "and" if isinstance(node.op, ast.And) else "or"
