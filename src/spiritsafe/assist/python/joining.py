"""Several texts of tests as one.

In: texts of tests for pytest. Out: one text: what they import stands once at its top, and a name that several of them
define is another one, such as ``test_it_2``, in the later of them. What says the same in two of them stands once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import final

from spiritsafe.assist.python.renaming import mentioned_names, renamed_places
from spiritsafe.assist.python.selection import first_line
from spiritsafe.tasks.code import NodePlaces

_WIDTH = 100
_Meaning = tuple[str, ...]


def joined_tests(suites: Sequence[str]) -> str:
    """All texts as one.

    Raises:
        SyntaxError: One is not Python.
    """
    head: dict[_Imported, None] = {}
    taken: dict[str, _Meaning] = {}
    bodies = [_one(suite, head, taken).strip("\r\n") for suite in suites]
    parts = [part for part in (_head_text(list(head)), *bodies) if part]
    return "\n\n\n".join(parts) + "\n" if parts else ""


@final
@dataclass(frozen=True, slots=True)
class _Imported:
    """One name that a statement imports.

    Attributes:
        module: Where it is from, with dots before; None: it is itself a module.
        there: Its name there.
        own: Its name here, where that is said.
    """

    module: str | None
    there: str
    own: str | None

    @property
    def name(self) -> str:
        """The name that it has here."""
        return self.own or (self.there.partition(".")[0] if self.module is None else self.there)

    @property
    def meaning(self) -> _Meaning:
        """What the name stands for."""
        if self.module is None:
            return ("module", self.there if self.own else self.name)
        return ("from", self.module, self.there)

    @property
    def text(self) -> str:
        """As it stands behind ``import``."""
        return f"{self.there} as {self.own}" if self.own and self.own != self.there else self.there


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[_Imported]:
    module = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else None
    for alias in node.names:
        yield _Imported(module, alias.name, alias.asname)


def _head_text(head: Sequence[_Imported]) -> str:
    """Statements that import all of it."""
    modules = dict.fromkeys(one.module for one in head if one.module is not None)
    first = [name for name in modules if name == "__future__"]
    lines = []
    for module in [*first, None, *(name for name in modules if name not in first)]:
        names = list(dict.fromkeys(one.text for one in head if one.module == module))
        if module is None:
            lines += [f"import {name}" for name in names]
            continue
        lines += [f"from {module} import *"] if "*" in names else []
        names = [name for name in names if name != "*"]
        line = f"from {module} import {', '.join(names)}"
        if len(line) > _WIDTH:
            line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        lines += [line] if names else []
    return "\n".join(lines)


def _one(suite: str, head: dict[_Imported, None], taken: dict[str, _Meaning]) -> str:
    """The body of one text with names that are not taken; its imports go to the head, its names to those taken."""
    tree, places = ast.parse(suite), NodePlaces(suite)
    lifted = _lifted(tree)
    rest = [node for node in tree.body if node not in lifted and not _is_docstring(node, tree)]
    docstrings = [node for node in tree.body if _is_docstring(node, tree)]
    defined = {name: node for node in rest for name in _defined(node)}
    own_names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {*defined}
    renames: dict[str, str] = {}

    def fresh(name: str) -> str:
        return next(new for n in count(2) if (new := f"{name}_{n}") not in taken and new not in own_names)

    for node in lifted:
        for one in _imported(node):
            if one.there != "*" and taken.setdefault(one.name, one.meaning) != one.meaning:
                known = next((name for name, meaning in taken.items() if meaning == one.meaning), None)
                new = renames[one.name] = known or fresh(one.name)
                taken[new] = one.meaning
                one = _Imported(one.module, one.there, new)
            head[one] = None
    meanings = {name: ("definition", ast.dump(node)) for name, node in defined.items()}
    again = _said_again(defined, meanings, taken, renames)
    for name in defined:
        if name in taken and name not in again:
            renames[name] = fresh(name)
            taken[renames[name]] = meanings[name]
    taken.update((name, meaning) for name, meaning in meanings.items() if name not in taken)
    gone = [*lifted, *docstrings, *(node for node in rest if any(defined[name] is node for name in again))]
    return _edited(suite, tree, places, gone, renames)


def _lifted(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """Imports of the module that share their lines with nothing else."""
    others = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    lines = {line for node in others for line in (node.lineno, node.end_lineno)}
    return [
        node
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and not lines & {node.lineno, node.end_lineno}
    ]


def _is_docstring(node: ast.stmt, tree: ast.Module) -> bool:
    return node is tree.body[0] and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _defined(node: ast.AST) -> Iterator[str]:
    """Names that a statement of the module gives a meaning to."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
            return
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
    for child in ast.iter_child_nodes(node):
        yield from _defined(child)


def _said_again(
    defined: Mapping[str, ast.stmt],
    meanings: Mapping[str, _Meaning],
    taken: Mapping[str, _Meaning],
    renames: Mapping[str, str],
) -> set[str]:
    """Names whose definition an earlier text has too, with everything that it leans on."""
    same = {
        name
        for name, node in defined.items()
        if taken.get(name) == meanings[name] and [one for one, its in defined.items() if its is node] == [name]
    }
    while True:
        changed = {name for name in defined if name in taken and name not in same} | {*renames}
        bad = {name for name in same if changed & ({*mentioned_names(defined[name])} - {name})}
        if not bad:
            return same
        same -= bad


def _edited(
    suite: str, tree: ast.Module, places: NodePlaces, gone: Sequence[ast.stmt], renames: Mapping[str, str]
) -> str:
    """The text without some statements, and with other names."""
    edits = [
        (places.line_start(first_line(node)), places.line_start((node.end_lineno or node.lineno) + 1), "")
        for node in gone
    ]
    removed = list(edits)
    for old, new in renames.items():
        for start, end in renamed_places(tree, places, old):
            if not any(first <= start < last for first, last, _ in removed):
                edits.append((start, end, new))
    text = suite
    for start, end, new in sorted(set(edits), reverse=True):
        text = text[:start] + new + text[end:]
    return text
