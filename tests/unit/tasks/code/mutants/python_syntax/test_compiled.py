from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.compiled import that_differ
from spiritsafe.tasks.code.mutants.python_syntax.places import Places


def kept(source: str, *changes: tuple[str, str]) -> list[str]:
    """The new texts that are kept, each put in the place of the first text like the old one."""
    unit = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.Assign))
    edits = [
        (Edit(operator="x", start=source.index(old), end=source.index(old) + len(old), new=new), unit)
        for old, new in changes
    ]
    return [edit.new for edit in that_differ(edits, Places(source))]


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
    assert kept("def f():\n    return 1\n    x = 2\n", ("2", "3")) == []
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
