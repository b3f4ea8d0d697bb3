"""Which changes of a Python program are changes at all.

In: a program and edits of it. Out: those that compile to something else than the program and than each other. Only the
function around an edit is compiled, or the statement if the function is long, so that a thousand mutants take a second.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
from spiritsafe.tasks.code.mutants.python_syntax.scope import Spot

_HAS_CONSTANT = frozenset(dis.hasconst)
_LONG = 50  # lines: compiling more of them for each edit takes longer than the edits of all others
_NO_PROGRAM = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)


def that_differ(
    edits: Iterable[tuple[Edit, Spot]], places: NodePlaces, same: list[Edit] | None = None
) -> Iterator[Edit]:
    """The edits that compile, and to code that neither the program nor an earlier edit has.

    Args:
        edits: In order of place.
        places: Of the program.
        same: Where the edits are added that compile to what the program does.
    """
    parts: dict[ast.stmt, _Part] = {}
    shared: dict[tuple[int, int, Callable[[str], Any]], _Part] = {}
    for edit, spot in edits:
        part = parts.get(spot.statement)
        if part is None:
            part = _part(spot, places)
            part = parts[spot.statement] = shared.setdefault((part.start, part.end, part.compiles), part)
        text = places.source[part.start : edit.start] + edit.new + places.source[edit.end : part.end]
        meaning = part.compiles(text)
        if meaning is not None and meaning not in part.known:
            part.known.add(meaning)
            yield edit
        elif meaning is not None and meaning == part.original and same is not None:
            same.append(edit)


@dataclass(slots=True)
class _Part:
    """A part of a program that is compiled for each edit in it.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        compiles: What a text in its place compiles to; None: it does not.
        original: What the program compiles to.
        known: Likewise the edits so far, and the program.
    """

    start: int
    end: int
    compiles: Callable[[str], Any]
    original: Any
    known: set[Any]


def _part(spot: Spot, places: NodePlaces) -> _Part:
    """The unit; the innermost statement of a long one; the whole program where neither says anything alone."""
    start, end = _lines(spot.unit, places)
    choices = [(start, end, _meaning)]
    if places.source.count("\n", start, end) > _LONG and "nonlocal" not in places.source[start:end]:
        choices = [(*_lines(spot.statement, places), inside) for inside in (_meaning_inside, _meaning_inside_async)]
        choices.append((start, end, _meaning))
    for start, end, compiles in choices:
        original = compiles(places.source[start:end])
        if original is not None:
            return _Part(start, end, compiles, original, {original})
    original = _meaning(places.source)
    return _Part(0, len(places.source), _meaning, original, {original})


def _lines(unit: ast.stmt, places: NodePlaces) -> tuple[int, int]:
    """The lines of a statement, if it begins one; else the whole program's."""
    first = min([unit.lineno, *(decorator.lineno for decorator in getattr(unit, "decorator_list", []))])
    assert unit.end_lineno is not None
    start, end = places.line_start(first), places.line_start(unit.end_lineno + 1)
    is_alone = first < unit.lineno or not places.source[start : places.start(unit)].strip(" \t\f")
    return (start, end) if is_alone else (0, len(places.source))


def _meaning(text: str) -> Any:
    """What the text compiles to, without its places; None: it does not compile."""
    try:
        return _essence(compile(_indented(text), "", "exec", dont_inherit=True))
    except _NO_PROGRAM:
        return None


def _meaning_inside(text: str, kind: type[ast.FunctionDef | ast.AsyncFunctionDef] = ast.FunctionDef) -> Any:
    """What a statement compiles to inside a loop of a function, where it may stand whatever it is."""
    frame = ast.parse("async def f():\n while 1: pass" if kind is ast.AsyncFunctionDef else "def f():\n while 1: pass")
    try:
        function = frame.body[0]
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        loop = function.body[0]
        assert isinstance(loop, ast.While)
        loop.body = ast.parse(_indented(text)).body
        return _essence(compile(frame, "", "exec", dont_inherit=True))
    except _NO_PROGRAM:
        return None


def _meaning_inside_async(text: str) -> Any:
    return _meaning_inside(text, ast.AsyncFunctionDef)


def _indented(text: str) -> str:
    """The text where it may begin as deep as it does."""
    head = "if 1:\n" if text[:1] in (" ", "\t", "\f") else ""
    is_branch = text.lstrip(" \t\f").startswith("elif")
    return f"{head}{text[: len(text) - len(text.lstrip())]}if _: pass\n{text}" if is_branch else head + text


def _essence(code: CodeType) -> Any:
    """Instructions with the values of their constants: a table of constants may hold what is never used."""
    constants = code.co_consts
    steps: list[Any] = []
    extended = 0
    instructions = code.co_code
    for place in range(0, len(instructions), 2):
        operation, argument = instructions[place], instructions[place + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation in _HAS_CONSTANT:
            value = constants[argument]
            steps.append(_essence(value) if isinstance(value, CodeType) else (type(value), repr(value)))
        elif operation != dis.EXTENDED_ARG:
            steps.append(operation << 32 | argument)
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (tuple(steps), arguments, names, code.co_exceptiontable)
