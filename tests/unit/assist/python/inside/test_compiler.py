from __future__ import annotations

import marshal
import types
from collections.abc import Iterator

import pytest
from shop_project import PRICES

from spiritsafe.assist.python.inside.compiler import compiled_like
from spiritsafe.tasks.code.mutants.registry import mutants_of


def parts(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from parts(part)


def first_lines(code: types.CodeType) -> list[tuple[str, int]]:
    return [
        (part.co_qualname if hasattr(part, "co_qualname") else part.co_name, part.co_firstlineno)
        for part in parts(code)
    ]


LONG = """def before(a):
    return a

def changed(a):
    b = [
        1,
        2,
    ]
    return b

def after(a):
    if a:
        return 1 / (a - 1)
    return (
        2
    )
"""


def test_the_original_is_what_python_compiles() -> None:
    assert marshal.loads(compiled_like(PRICES, PRICES, "x.py")) == compile(PRICES, "x.py", "exec", dont_inherit=True)


@pytest.mark.parametrize("source", [PRICES, LONG, LONG.replace("\n", "\r\n")])
def test_no_mutant_is_known_by_its_lines(source: str) -> None:
    wanted = first_lines(compile(source, "x.py", "exec", dont_inherit=True))
    mutants = mutants_of(source, "python")
    assert any(one.source.count("\n") != source.count("\n") for one in mutants)
    for mutant in mutants:
        found = first_lines(marshal.loads(compiled_like(mutant.source, source, "x.py")))
        assert [place for place in found if "<" not in place[0]] == [
            place for place in wanted if "<" not in place[0]
        ], mutant.name


def test_lines_behind_a_change_keep_their_numbers_in_errors() -> None:
    shorter = LONG.replace("[\n        1,\n        2,\n    ]", "None")
    space: dict[str, types.FunctionType] = {}
    exec(marshal.loads(compiled_like(shorter, LONG, "x.py")), space)
    with pytest.raises(ZeroDivisionError) as caught:
        space["after"](1)
    assert caught.traceback[-1].lineno + 1 == LONG.splitlines().index("        return 1 / (a - 1)") + 1


@pytest.mark.parametrize("source", ["def (", "return 1", "a = '\0'", "(" * 500 + ")" * 500])
def test_what_does_not_compile_raises_what_the_compiler_does(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError, RecursionError, MemoryError)):
        compiled_like(source, "", "x.py")
