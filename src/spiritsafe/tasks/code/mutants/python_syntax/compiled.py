"""Which changes of a Python program are changes at all.

In: a program and edits of it. Out: those that compile to something else than the program and than each other. Only the
function or statement around an edit is compiled, which makes hundreds of mutants a matter of milliseconds each ten.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.places import Places

_HAS_CONSTANT = frozenset(dis.hasconst)


def that_differ(edits: Iterable[tuple[Edit, ast.stmt]], places: Places) -> Iterator[Edit]:
    """The edits that compile, and to code that neither the program nor an earlier edit has."""
    seen: dict[tuple[int, int], set[Any]] = {}
    for edit, unit in edits:
        start, end = _span(unit, places)
        known = seen.get((start, end))
        if known is None:
            known = seen[start, end] = {_meaning(places.source[start:end])}
        meaning = _meaning(places.source[start : edit.start] + edit.new + places.source[edit.end : end])
        if meaning is not None and meaning not in known:
            known.add(meaning)
            yield edit


def _span(unit: ast.stmt, places: Places) -> tuple[int, int]:
    """The lines of a unit; the whole program where they hold something else too, or say nothing alone."""
    first = min([unit.lineno, *(decorator.lineno for decorator in getattr(unit, "decorator_list", []))])
    assert unit.end_lineno is not None
    start, end = places.line_start(first), places.line_start(unit.end_lineno + 1)
    if places.source[start : places.start(unit)].strip(" \t\f") and first == unit.lineno:
        return 0, len(places.source)
    return (start, end) if _meaning(places.source[start:end]) is not None else (0, len(places.source))


def _meaning(text: str) -> Any:
    """What the text compiles to, without its places; None: it does not compile."""
    try:
        return _essence(compile(f"if 1:\n{text}" if text[:1] in " \t\f" else text, "", "exec", dont_inherit=True))
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return None


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
