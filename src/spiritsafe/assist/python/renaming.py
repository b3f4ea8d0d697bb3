"""Where a name of a module stands in its text.

In: the module's tree and a name that it defines. Out: the places where another name would have to stand. Where a
function has a variable of this name, that is another one, unless it is an argument by which pytest gives it a fixture.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import final

from spiritsafe.tasks.code import NodePlaces

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_BY_NAME = ("usefixtures", "getfixturevalue")


def mentioned_names(node: ast.AST) -> Iterator[str]:
    """Names that a part uses: variables, arguments, and strings, by which fixtures can be asked for."""
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Constant(value=str(name)):
                yield name


def renamed_places(tree: ast.Module, places: NodePlaces, name: str) -> list[tuple[int, int]]:
    """Beginnings and ends of all of them."""
    fixture = any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name and _is_fixture(node)
        for node in tree.body
    )
    finder = _Finder(places, name, is_fixture=fixture)
    finder.visit_all(tree.body)
    return sorted(set(finder.found))


def _is_fixture(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(one) for one in node.decorator_list)


@final
class _Finder(ast.NodeVisitor):
    """Goes through the scopes where the name is the module's."""

    def __init__(self, places: NodePlaces, name: str, *, is_fixture: bool) -> None:
        self.found: list[tuple[int, int]] = []
        self._places, self._name, self._is_fixture = places, name, is_fixture
        self._depth = 0

    def visit_all(self, nodes: list[ast.stmt]) -> None:
        """Statements, one after the other."""
        for node in nodes:
            self.visit(node)

    def _add(self, node: ast.expr | ast.arg) -> None:
        start = self._places.at(node.lineno, node.col_offset)
        self.found.append((start, start + len(self._name)))

    def _search(self, start: int, end: int, pattern: str) -> None:
        for found in re.compile(pattern).finditer(self._places.source, start, end):
            self.found.append(found.span())

    def visit_Name(self, node: ast.Name) -> None:
        """A variable."""
        if node.id == self._name:
            self._add(node)

    def visit_Global(self, node: ast.Global) -> None:
        """``global x``."""
        self._search(self._places.start(node), self._places.end(node), rf"\b{self._name}\b")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """An f-string, of whose insides Python 3.11 does not know where they stand."""
        if not any(isinstance(part, ast.Name) and part.id == self._name for part in ast.walk(node)):
            return
        start, end, depth = self._places.start(node), self._places.end(node), 0
        for part in re.compile(rf"\{{\{{|[{{}}]|(?<![\w.'\"]){self._name}(?!\w)").finditer(
            self._places.source, start, end
        ):
            if part[0] == self._name:
                self.found += [part.span()] if depth else []
            elif part[0] != "{{" or depth:
                depth = max(0, depth + part[0].count("{") - part[0].count("}"))

    def visit_Call(self, node: ast.Call) -> None:
        """A call that asks for a fixture by a string."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        for argument in node.args if self._is_fixture and called in _BY_NAME else []:
            if isinstance(argument, ast.Constant) and argument.value == self._name:
                self._search(self._places.start(argument), self._places.end(argument), rf"\b{self._name}\b")
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class: a variable of its body is none of its methods'."""
        if not self._depth:
            self._own_name(node)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self._depth += 1
        has_own = any(self._name in _stored(part) for part in node.body)
        for part in node.body:
            if not has_own or isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.visit(part)
        self._depth -= 1

    def _own_name(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if node.name == self._name:
            start = self._places.start(node)
            found = re.compile(rf"(?<=\s){self._name}\b").search(self._places.source, start)
            assert found is not None
            self.found.append(found.span())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Likewise."""
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if not self._depth:
            self._own_name(node)
        for part in (*node.decorator_list, *_outer_parts(node.args), *([node.returns] if node.returns else [])):
            self.visit(part)
        arguments = [one for one in _arguments(node.args) if one.arg == self._name]
        is_given = bool(arguments) and self._is_fixture and (node.name.startswith("test") or _is_fixture(node))
        is_other = bool(arguments) or any(self._name in _stored(part) for part in node.body)
        says_global = any(isinstance(part, ast.Global) and self._name in part.names for part in ast.walk(node))
        if is_given:
            self._add(arguments[0])
        if is_given or says_global or not is_other:
            self._depth += 1
            self.visit_all(node.body)
            self._depth -= 1

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """A function without a name."""
        for part in _outer_parts(node.args):
            self.visit(part)
        if not any(one.arg == self._name for one in _arguments(node.args)):
            self.visit(node.body)

    def generic_visit(self, node: ast.AST) -> None:
        """Anything else; a comprehension's variables are its own."""
        if isinstance(node, _Comprehension) and any(self._name in _stored(one.target) for one in node.generators):
            self.visit(node.generators[0].iter)
            return
        super().generic_visit(node)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    some = [arguments.vararg, arguments.kwarg]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *(one for one in some if one is not None)]


def _outer_parts(arguments: ast.arguments) -> list[ast.expr]:
    """What is worked out where the function is defined."""
    defaults = [one for one in (*arguments.defaults, *arguments.kw_defaults) if one is not None]
    return [*defaults, *(one.annotation for one in _arguments(arguments) if one.annotation is not None)]


def _stored(node: ast.AST) -> set[str]:
    """Names that a part gives a meaning to in its own scope."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.alias(name=name, asname=own):
            return {own or name.partition(".")[0]}
        case ast.Lambda():
            return set()
    found = {node.name} if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name else set()
    if isinstance(node, _Comprehension):
        return set()
    for child in ast.iter_child_nodes(node):
        found |= _stored(child)
    return found
