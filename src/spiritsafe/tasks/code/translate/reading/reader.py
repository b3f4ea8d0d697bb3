"""Reads programs: Python's source in, typed functions out.

In: the source of one function and those that it calls. Out: a
:class:`~spiritsafe.tasks.code.translate.tree.Function` for each, or an error that names the line. The types of
variables are found by reading a body again and again until they stay what they are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType
from spiritsafe.tasks.code.translate.reading.aliases import Aliases
from spiritsafe.tasks.code.translate.reading.expressions import ExpressionReader
from spiritsafe.tasks.code.translate.reading.flow import always_returns, told_loops
from spiritsafe.tasks.code.translate.reading.subset import ARITHMETIC, annotated, common_kind, refuse_line
from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    CodeKind,
    CountLoop,
    EachLoop,
    Expr,
    Function,
    If,
    Jump,
    Return,
    SetItem,
    Statement,
    While,
    changed_in,
    mutated_in,
    number,
    variables_in,
)

_Signatures = Mapping[str, tuple[tuple[CodeKind, ...], CodeKind]]


def read_program(source: str, entry: str) -> list[Function]:
    """All functions of a source, as they stand there.

    Args:
        source: Functions with annotations, and nothing else.
        entry: The one that is called from outside.

    Raises:
        SubsetError: It is not in the subset.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        refuse_line(error.lineno or 0, f"this is no Python: {error.msg}")
    nodes = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            refuse_line(node, "only functions stand at the top of a source of the subset")
        nodes.append(node)
    signatures = {node.name: _signature(node) for node in nodes}
    if entry not in signatures or len(signatures) < len(nodes):
        refuse_line(0, f"the source needs one function {entry}, and no two functions of one name")
    _refuse_recursion(nodes, signatures)
    functions = [_FunctionReader(node, signatures, is_entry=node.name == entry).read() for node in nodes]
    _refuse_aliases(functions, nodes)
    return functions


def _refuse_aliases(functions: Sequence[Function], nodes: Sequence[ast.FunctionDef]) -> None:
    givers = dict.fromkeys((one.name for one in functions), False)
    while True:
        found = {one.name: Aliases(one, givers) for one in functions}
        if givers == {name: one.gives for name, one in found.items()}:
            break
        givers = {name: one.gives for name, one in found.items()}
    for node in nodes:
        if pairs := found[node.name].changed:
            names = " and ".join(min(sorted(pair) for pair in pairs))
            refuse_line(node, f"{names} may be one list when it changes", "Assign a copy, xs[:].")


def _signature(node: ast.FunctionDef) -> tuple[tuple[ValueType, ...], ValueType]:
    given = node.args
    if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs or given.defaults or node.decorator_list:
        refuse_line(node, "parameters are plain, without defaults, and functions without decorators")
    kinds, result = tuple(annotated(arg.annotation) for arg in given.args), annotated(node.returns)
    names = [arg.arg for arg in given.args]
    CodeSignature(node.name, tuple(zip(names, kinds, strict=True)), result)  # which refuses names
    return kinds, result


def _refuse_recursion(nodes: list[ast.FunctionDef], signatures: _Signatures) -> None:
    calls = {
        node.name: {
            one.func.id
            for one in ast.walk(node)
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in signatures
        }
        for node in nodes
    }
    left = dict(calls)
    while ended := [name for name, called in left.items() if not called & set(left)]:
        for name in ended:
            del left[name]
    for node in nodes:
        if node.name in left:
            refuse_line(node, f"{node.name} calls itself, be it through others")


@final
@dataclass
class _FunctionReader:
    node: ast.FunctionDef
    signatures: _Signatures
    is_entry: bool
    kinds: dict[str, CodeKind] = field(default_factory=dict)

    def read(self) -> Function:
        parameters = [arg.arg for arg in self.node.args.args]
        kinds, result = self.signatures[self.node.name]
        self.kinds = dict(zip(parameters, kinds, strict=True))
        known: dict[str, CodeKind] | None = None
        body: tuple[Statement, ...] = ()
        while known != self.kinds:
            known = dict(self.kinds)
            body = self._body(self.node.body)
        if not always_returns(body):
            refuse_line(self.node, f"{self.node.name} may end without a return")
        body = tuple(told_loops(body, body))
        changed = frozenset(changed_in(body)) & set(parameters)
        mutated = mutated_in(body) & set(parameters)
        if mutated and not self.is_entry:
            refuse_line(self.node, f"{min(mutated)} is the caller's list, and changes", "Change a copy, xs[:].")
        return Function(self.node.name, self.kinds, len(parameters), result, body, changed)

    @cached_property
    def _own_names(self) -> set[str]:
        named = {one.id for one in ast.walk(self.node) if isinstance(one, ast.Name)}
        return named | {arg.arg for arg in self.node.args.args}

    @property
    def _expressions(self) -> ExpressionReader:
        return ExpressionReader(self.kinds, self.signatures)

    def _body(self, nodes: Iterable[ast.stmt]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for node in nodes:
            if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                continue  # a docstring, say
            reader = self._readers().get(type(node))
            if reader is None:
                refuse_line(node, f"{ast.unparse(node).splitlines()[0]!r} is not in the subset")
            found += reader(node)
        return tuple(found)

    def _readers(self) -> dict[type[ast.stmt], Callable[..., list[Statement]]]:
        return {
            ast.Assign: self._assign,
            ast.AnnAssign: self._declare,
            ast.AugAssign: self._augment,
            ast.If: self._if,
            ast.While: self._while,
            ast.For: self._for,
            ast.Return: self._return,
            ast.Break: lambda node: [Jump(is_end=True)],
            ast.Continue: lambda node: [Jump(is_end=False)],
            ast.Expr: self._append,
        }

    def _set(self, node: ast.AST, name: str, kind: CodeKind) -> None:
        """A variable gets a value of a kind."""
        known = self.kinds.get(name, kind)
        common = common_kind(known, kind)
        if name in self.signatures:
            refuse_line(node, f"{name} is a function, and no variable")
        if common is None:
            refuse_line(node, f"{name} is {known} and would become {kind}")
        self.kinds[name] = common

    def _assign(self, node: ast.Assign) -> list[Statement]:
        if len(node.targets) != 1:
            refuse_line(node, "one assignment has one target")
        target = node.targets[0]
        if isinstance(target, ast.Tuple):
            return self._assign_many(node, target)
        if isinstance(target, ast.Subscript):
            return [self._set_item(target, self._expressions.of_kind(node.value, "int"))]
        return self._assign_one(node, target, self._expressions.read(node.value))

    def _assign_one(self, node: ast.stmt, target: ast.expr, value: Expr) -> list[Statement]:
        if not isinstance(target, ast.Name):
            refuse_line(node, f"{ast.unparse(target)} is no target of the subset")
        self._set(node, target.id, value.kind)
        return [Assign(target.id, value)]

    def _assign_many(self, node: ast.Assign, target: ast.Tuple) -> list[Statement]:
        """All values are worked out before the first target changes."""
        if not isinstance(node.value, ast.Tuple) or len(node.value.elts) != len(target.elts):
            refuse_line(node, "as many values as targets, written out")
        before: list[Assign] = []
        after: list[Statement] = []
        changed: set[str] = set()
        for one, value_node in zip(target.elts, node.value.elts, strict=True):
            value = self._expressions.read(value_node)
            if variables_in(value) & changed:  # what it needs would have changed by then
                value = self._kept(node, one, value, before)
            after += (
                [self._set_item(one, value)] if isinstance(one, ast.Subscript) else self._assign_one(node, one, value)
            )
            changed |= {name.id for name in ast.walk(one) if isinstance(name, ast.Name)}
        return [*before, *after]

    def _kept(self, node: ast.stmt, target: ast.expr, value: Expr, before: list[Assign]) -> Expr:
        """A new variable that has a value."""
        name = f"new_{target.id if isinstance(target, ast.Name) else 'item'}"
        while name in self._own_names or name in {statement.name for statement in before}:
            name += "_value"
        self._set(node, name, value.kind)
        before.append(Assign(name, value))
        return Expr("var", (), self.kinds[name], name)

    def _set_item(self, target: ast.Subscript, value: Expr) -> Statement:
        item = self._expressions.read(target)
        if item.op != "item" or item.args[0].op != "var" or item.args[0].kind != "ints" or value.kind != "int":
            refuse_line(target, f"{ast.unparse(target)}: only items of lists in variables are set, to whole numbers")
        return SetItem(str(item.args[0].value), item.args[1], value)

    def _declare(self, node: ast.AnnAssign) -> list[Statement]:
        if node.value is None:
            refuse_line(node, "a variable needs a value")
        value, kind = self._expressions.read(node.value), annotated(node.annotation)
        if common_kind(kind, value.kind) != kind:
            refuse_line(node, f"{ast.unparse(node.value)} is {value.kind}, not {kind}")
        found = self._assign_one(node, node.target, value)
        self._set(node, str(getattr(node.target, "id", "")), kind)
        return found

    def _augment(self, node: ast.AugAssign) -> list[Statement]:
        if type(node.op) not in ARITHMETIC:
            refuse_line(node, f"{ast.unparse(node)!r}: this operator is not in the subset")
        load = ast.parse(ast.unparse(node.target), mode="eval").body
        value = self._expressions.read(
            ast.fix_missing_locations(ast.copy_location(ast.BinOp(load, node.op, node.value), node))
        )
        if isinstance(node.target, ast.Subscript):
            return [self._set_item(node.target, value)]
        return self._assign_one(node, node.target, value)

    def _if(self, node: ast.If) -> list[Statement]:
        condition = self._expressions.condition(node.test)
        return [If(condition, self._body(node.body), self._body(node.orelse))]

    def _while(self, node: ast.While) -> list[Statement]:
        if node.orelse:
            refuse_line(node.orelse[0], "loops have no else in the subset")
        return [While(self._expressions.condition(node.test), self._body(node.body))]

    def _for(self, node: ast.For) -> list[Statement]:
        if node.orelse or not isinstance(node.target, ast.Name):
            refuse_line(node, "a loop has one variable and no else in the subset")
        name, over = node.target.id, node.iter
        if isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.func.id == "range":
            if not 1 <= len(over.args) <= 3 or over.keywords:
                refuse_line(node, "range takes one to three numbers")
            values = [self._expressions.of_kind(arg, "int") for arg in over.args]
            first, end = (number(0), values[0]) if len(values) == 1 else (values[0], values[1])
            step = values[2] if len(values) == 3 else number(1)
            if step.op != "const" or not step.value:
                refuse_line(node, "the step of range is a literal, and not 0")
            self._set(node, name, "int")
            return [CountLoop(name, first, end, int(step.value), self._body(node.body), is_own=True)]
        whole = self._expressions.of_kind(over, "char", "str", "ints")
        self._set(node, name, "int" if whole.kind == "ints" else "char")
        body = self._body(node.body)
        if whole.op == "var" and whole.value in mutated_in(body):
            refuse_line(node, f"{whole.value} changes while the loop goes over it")
        return [EachLoop(name, whole, body)]

    def _return(self, node: ast.Return) -> list[Statement]:
        if node.value is None:
            refuse_line(node, "a return needs a value")
        kind = self.signatures[self.node.name][1]
        value = self._expressions.read(node.value)
        if common_kind(kind, value.kind) != kind:
            refuse_line(node, f"{ast.unparse(node.value)} is {value.kind}, and the result {kind}")
        return [Return(value)]

    def _append(self, node: ast.Expr) -> list[Statement]:
        call = node.value
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Attribute)
            or call.func.attr != "append"
            or not isinstance(call.func.value, ast.Name)
            or len(call.args) != 1
            or self._expressions.read(call.func.value).kind != "ints"
        ):
            refuse_line(node, f"{ast.unparse(node)!r} is not in the subset")
        return [Append(call.func.value.id, self._expressions.of_kind(call.args[0], "int"))]
