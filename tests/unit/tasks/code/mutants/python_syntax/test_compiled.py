from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.compiled import that_differ
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
from spiritsafe.tasks.code.mutants.python_syntax.scope import Spot, spots


def kept(source: str, *changes: tuple[str, str]) -> list[str]:
    """The new texts that are kept, each put in the place of the last text like the old one."""
    places = NodePlaces(source)
    edits = [
        (Edit(operator="x", start=source.rindex(old), end=source.rindex(old) + len(old), new=new), spot_at(source, old))
        for old, new in changes
    ]
    return [edit.new for edit in that_differ(edits, places)]


def spot_at(source: str, text: str) -> Spot:
    """The smallest node that holds a text; the first unit where none does."""
    places, start = NodePlaces(source), source.rindex(text)
    end = start + len(text)
    found = [spot for spot in spots(ast.parse(source)) if hasattr(spot.node, "lineno")]
    holds = [spot for spot in found if places.start(spot.node) <= start <= end <= places.end(spot.node)]  # type: ignore[arg-type]
    return min(holds or found, key=lambda spot: places.end(spot.node) - places.start(spot.node))  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["", "import a\nprint(1)\n", "class A:\n"])
@pytest.mark.parametrize("tab", ["    ", "\t"])
def test_only_what_compiles_to_something_new_is_kept(head: str, tab: str) -> None:
    indent = tab if head.startswith("class") else ""
    source = f"{head}{indent}def f(a):\n{indent}{tab}return g(a, 2)  # why\n"
    assert kept(
        source,
        ("2", "1 + 1"),  # the compiler knows
        ("2", "3"),
        ("2", "2 + 1"),  # as above
        ("2", "2.0"),
        ("2", "(2)"),
        ("2", "]"),
        ("2", "4"),
        ("why", "whatever"),
    ) == ["3", "2.0", "4"]


def test_what_is_never_reached_is_no_change() -> None:
    assert kept("def f():\n    if 0:\n        x = 2\n", ("2", "3")) == []
    assert kept("def f():\n    x = 2\n    return 1\n", ("2", "3")) == ["3"]


def test_values_that_look_alike_are_told_apart() -> None:
    assert kept("def f():\n    return 0.0\n", ("0.0", "-0.0"), ("0.0", "0"), ("0.0", "False")) == ["-0.0", "0", "False"]
    assert kept("def f():\n    return (1, 2)\n", ("1", "True"), ("1", "1.0")) == ["True", "1.0"]
    assert kept("def f():\n    return lambda: 1\n", ("1", "2"), ("1", "1")) == ["2"]
    assert kept("def f(a):\n    try:\n        a()\n    except B: pass\n", ("B", "C")) == ["C"]


def test_more_than_256_constants() -> None:
    """Their places need a longer instruction."""
    source = "def f():\n    return g(" + ", ".join(f"{number}.5" for number in range(300)) + ")\n"
    assert kept(source, ("299.5", "299.25"), ("299.5", "299.50")) == ["299.25"]


def test_units_that_share_their_lines_with_others() -> None:
    assert kept("class A: x = 1; y = 2\n", ("1", "3"), ("1", "0x1")) == ["3"]
    assert kept("class A:\n  x = 1; y = 2\n", ("1", "3"), ("1", "0x1")) == ["3"]


def test_decorated_functions_are_compiled_with_their_decorators() -> None:
    source = "class A:\n    @b\n    @c(\n        1\n    )\n    def f(self):\n        return 7\n"
    assert kept(source, ("7", "8"), ("7", "0b111")) == ["8"]


LONG = "    z()\n" * 60


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        ("return g(2)", (("2", "3"), ("2", "1 + 1"), ("2", "]")), ["3"]),
        ("if b: pass\n    elif c(2): pass\n    else: d()", (("2", "3"), ("2", "0b10"), ("d", "e")), ["3", "e"]),
        ("while b:\n        if c: break", (("break", "continue"), ("c", "True"), ("c", "(c)")), ["continue", "True"]),
        ("try: b()\n    except C: d()", (("C", "D"), ("d()", "pass"), ("d()", "(d())")), ["D", "pass"]),
        ("x = 2; y = 4", (("2", "3"), ("4", "5"), ("4", "(4)")), ["3", "5"]),
        ("def h(b=2): return b", (("2", "3"), ("2", "(2)")), ["3"]),
        ("x = 2\n    def h():\n        nonlocal x", (("x = 2", "pass"), ("2", "3")), ["3"]),
    ],
)
@pytest.mark.parametrize("head", ["def f():\n", "class A:\n   def f(self):\n"])
def test_long_functions_are_compiled_by_their_statements(
    head: str, body: str, changes: tuple[tuple[str, str], ...], expected: list[str]
) -> None:
    assert kept(f"{head}{LONG}    {body}\n", *changes) == expected


def test_statements_of_long_coroutines() -> None:
    source = f"async def f():\n{LONG}    return await g(7)\n"
    assert kept(source, ("7", "8"), ("7", "(7)")) == ["8"]


def test_what_compiles_to_the_program_itself_is_told_apart_from_what_an_edit_did() -> None:
    source = "def f(a):\n    return g(a, 2)\n"
    changes = [("2", "1 + 1"), ("2", "3"), ("2", "1 + 2"), ("2", "4 - 2"), ("2", ")")]
    places = NodePlaces(source)
    edits = [
        (Edit(operator="x", start=source.index(old), end=source.index(old) + 1, new=new), spot_at(source, old))
        for old, new in changes
    ]
    same: list[Edit] = []
    assert [edit.new for edit in that_differ(edits, places, same)] == ["3"]
    assert [edit.new for edit in same] == ["1 + 1", "4 - 2"]
