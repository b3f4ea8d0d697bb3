"""Some tests of many.

In: a text of tests for pytest, and names. Out: the text without the other tests, and without functions that only those
used; whatever stays stands as it was written.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Collection, Iterator, Sequence
from typing import final

_HOOKS = ("setup_", "teardown_", "setUp", "tearDown", "pytest_")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def only_tests(tests: str, names: Collection[str]) -> str:
    """The same tests without all others than those named, as ``test_it`` or ``TestIt.test_it``.

    A text that is not Python stays as it is.
    """
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return tests
    choice = _Choice(tree, names)
    gone = [node for body in _bodies(tree) for node in body if choice.is_unwanted(node)]
    gone += _unused(tree, gone, choice)
    return _without(tests, tree, gone)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Blocks of statements outside of functions, from outside in."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            yield block
            for statement in block:
                if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _bodies(statement)
    for handler in getattr(node, "handlers", []):
        yield from _bodies(handler)


@final
class _Choice:
    """Which tests are wanted."""

    def __init__(self, tree: ast.Module, names: Collection[str]) -> None:
        self._classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self._methods = {
            id(member): node.name
            for node in self._classes.values()
            for member in node.body
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        self._functions = {name for name in names if "." not in name}
        self._wanted: dict[str, set[str]] = {}
        for name in names:
            holder, _, method = name.rpartition(".")
            if holder:
                for base in self._with_bases(holder.rpartition(".")[2]):
                    self._wanted.setdefault(base, set()).add(method)

    def _with_bases(self, name: str) -> Iterator[str]:
        """A class, and those of its bases that are in the text."""
        yield name
        for base in self._classes[name].bases if name in self._classes else []:
            if isinstance(base, ast.Name) and base.id in self._classes and base.id != name:
                yield from self._with_bases(base.id)

    def is_unwanted(self, node: ast.stmt) -> bool:
        """Whether it is a test, or a class of tests, none of which is wanted."""
        if isinstance(node, ast.ClassDef):
            return self.has_tests(node) and not self._is_needed(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test"):
            return False
        holder = self._methods.get(id(node))
        if holder is None:
            return node.name not in self._functions
        return self.has_tests(self._classes[holder]) and node.name not in self._wanted.get(holder, set())

    def has_tests(self, node: ast.ClassDef) -> bool:
        """Whether pytest looks for tests in it."""
        lineage = [self._classes[name] for name in self._with_bases(node.name)]
        is_case = any("TestCase" in ast.unparse(base) for one in lineage for base in one.bases)
        return is_case or node.name.startswith("Test") or node.name in self._wanted

    def _is_needed(self, node: ast.ClassDef) -> bool:
        inner = [member for member in node.body if isinstance(member, ast.ClassDef)]
        return node.name in self._wanted or any(self._is_needed(member) for member in inner)


def _unused(tree: ast.Module, gone: Sequence[ast.stmt], choice: _Choice) -> list[ast.stmt]:
    """Functions and classes of the module that nothing names, once others are gone."""
    found: list[ast.stmt] = []
    while True:
        left_out = {id(node) for node in (*gone, *found)}
        used = {name for node in tree.body for name in _mentioned(node, left_out)}
        more = [
            node
            for node in tree.body
            if isinstance(node, Definition)
            and id(node) not in left_out
            and not node.name.startswith(("test", *_HOOKS))
            and "autouse" not in "".join(ast.unparse(one) for one in node.decorator_list)
            and not (isinstance(node, ast.ClassDef) and choice.has_tests(node))
            and node.name not in used
        ]
        if not more:
            return found
        found += more


def _mentioned(node: ast.AST, left_out: Collection[int], inside: str = "") -> Iterator[str]:
    """Names that a part uses, as variables, arguments or strings, but not those of functions inside themselves."""
    if id(node) in left_out:
        return
    own = inside
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            own = node.name
        case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            if name != inside:
                yield from name.replace(",", " ").split() if len(name) < 200 else []
    for child in ast.iter_child_nodes(node):
        yield from _mentioned(child, left_out, own)


def first_line(node: ast.stmt) -> int:
    """Where a statement begins, with its decorators."""
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


def _without(tests: str, tree: ast.Module, gone: Sequence[ast.stmt]) -> str:
    """The text without some statements, and without the comments right above them."""
    lines = list(io.StringIO(tests, newline=""))  # as Python counts them
    left_out = {id(node) for node in gone}
    removed: set[int] = set()
    instead: dict[int, str] = {}
    for node in gone:
        first = first_line(node)
        indent = lines[first - 1][: len(lines[first - 1]) - len(lines[first - 1].lstrip())]
        while first > 1 and lines[first - 2].startswith(f"{indent}#"):
            first -= 1
        removed.update(range(first, (node.end_lineno or node.lineno) + 1))
    for block in _bodies(tree):
        if block is not tree.body and block and all(id(node) in left_out for node in block):
            line = lines[first_line(block[0]) - 1]
            instead[first_line(block[0])] = f"{line[: len(line) - len(line.lstrip())]}pass\n"
    kept: list[str] = []
    has_gap = False
    for number, line in enumerate(lines, 1):
        if number in instead and not _is_within(number, tree, left_out, removed):
            kept.append(instead[number])
        elif number in removed:
            has_gap = True
        elif has_gap and not line.strip() and not (kept and kept[-1].strip()):
            continue  # of the blank lines around what is gone, those before it stay
        else:
            has_gap = has_gap and not line.strip()
            kept.append(line)
    text = "".join(kept).rstrip()
    return f"{text}\n" if text else ""


def _is_within(number: int, tree: ast.Module, left_out: Collection[int], removed: Collection[int]) -> bool:
    """Whether a line is in a statement that is gone as a whole, with more than the block that begins there."""
    holders = [
        node
        for body in _bodies(tree)
        for node in body
        if node.lineno < number <= (node.end_lineno or 0) and id(node) in left_out
    ]
    return bool(holders) and number in removed
