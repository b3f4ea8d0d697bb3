from __future__ import annotations

import ast

from spiritsafe.assist.routines.languages.python import replacement_in, routines_in

PROGRAM = '''"""É."""\r
import functools\r

é = 1


@functools.cache
def first(a: int, /, b="é", *rest, c=(1, 2), **more) -> int:
    """About it.

    More."""
    return "é" if a else b; x = 1
class Stack:
    """A stack."""

    def push(self, one):
        self.items = [*self.items, one]

    @property
    async def size(self): return len(self.items)


def last(): return 2'''


def test_each_function_and_method_is_found_with_its_place() -> None:
    found = {one.name: one for one in routines_in(PROGRAM)}
    assert list(found) == ["first", "Stack.push", "Stack.size", "last"]
    texts = {name: PROGRAM[one.start : one.end] for name, one in found.items()}
    assert texts["first"].startswith("@functools.cache\ndef first(")
    assert texts["first"].endswith('return "é" if a else b; x = 1')
    assert texts["Stack.push"] == "def push(self, one):\n        self.items = [*self.items, one]"
    assert texts["Stack.size"] == "@property\n    async def size(self): return len(self.items)"
    assert texts["last"] == "def last(): return 2"
    assert [one.is_whole for one in found.values()] == [True, False, False, True]
    assert found["first"].about == "About it.\n\nMore."


def test_a_heading_has_the_signature_and_nothing_of_the_body() -> None:
    (first, *_) = routines_in(PROGRAM)
    assert first.heading == "@functools.cache\ndef first(a: int, /, b='é', *rest, c=(1, 2), **more) -> int:\n    ..."


def test_without_a_routine_the_program_is_one_that_raises_there() -> None:
    for one in routines_in(PROGRAM):
        program = one.exchanged(PROGRAM, one.gone)
        names = [other.name for other in routines_in(program)]
        assert names == ["first", "Stack.push", "Stack.size", "last"]
        assert program.count("raise NotImplementedError") == 1
        assert ast.dump(ast.parse(program)) != ast.dump(ast.parse(PROGRAM))


def test_what_is_no_python_has_none() -> None:
    assert routines_in("def f(:") == routines_in("\0") == routines_in("") == []


def test_a_function_comes_with_all_that_was_written_beside_it() -> None:
    code = "import math\n\ndef help(): ...\n\ndef f(): ...\n"
    assert replacement_in("", code, "f") == code.strip()
    assert replacement_in("", code, "g") is None
    assert replacement_in("", "def f(", "f") is None
