from __future__ import annotations

import ast
import textwrap

import pytest

from spiritsafe.assist.python.renaming import mentioned_names, renamed_places
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces


def renamed(text: str, old: str, new: str) -> str:
    for start, end in reversed(renamed_places(ast.parse(text), NodePlaces(text), old)):
        assert text[start:end] == old
        text = text[:start] + new + text[end:]
    return text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\nprint(x, y.x, 'x')", "z = 1\nprint(z, y.x, 'x')"),
        ("def x(): return x()", "def z(): return z()"),
        ("async def x(): await x()", "async def z(): await z()"),
        ("@d\n@x\ndef x(): pass", "@d\n@z\ndef z(): pass"),
        ("class  x(y): pass", "class  z(y): pass"),
        (
            "class A:\n    x = 1\n    y = x\n    def f(self): return x",
            "class A:\n    x = 1\n    y = x\n    def f(self): return z",
        ),
        ("class A:\n    def x(self): return x", "class A:\n    def x(self): return z"),
        ("def f(x): return x", "def f(x): return x"),
        ("def f(a=x, *, b: x = x) -> x: return x", "def f(a=z, *, b: z = z) -> z: return z"),
        ("def f():\n    x = 1\n    return x", "def f():\n    x = 1\n    return x"),
        ("def f():\n    global x\n    x = 1", "def f():\n    global z\n    z = 1"),
        ("def f():\n    for x in x: pass", "def f():\n    for x in x: pass"),
        ("def f():\n    import x.y\n    return x", "def f():\n    import x.y\n    return x"),
        (
            "def f():\n    try: pass\n    except E as x: return x",
            "def f():\n    try: pass\n    except E as x: return x",
        ),
        ("def f():\n    return [x for x in x]", "def f():\n    return [x for x in z]"),
        ("def f():\n    return [x for y in x]", "def f():\n    return [z for y in z]"),
        ("f = lambda x, y=x: x", "f = lambda x, y=z: x"),
        ("f = lambda y: x", "f = lambda y: z"),
        ("f(x=x)", "f(x=z)"),
        ("a = f'x {x} {x!r:>{x}} {y.x}'", "a = f'x {z} {z!r:>{z}} {y.x}'"),
        ("a = f'{{x}} x{x}' f'x{y[\"x\"](x)}'", "a = f'{{x}} x{z}' f'x{y[\"x\"](z)}'"),
        ("a = 'ä'; b = x", "a = 'ä'; b = z"),
        ("if a:\n    def x(): pass", "if a:\n    def z(): pass"),
        ("def outer():\n    def x(): pass\n    return x", "def outer():\n    def x(): pass\n    return x"),
    ],
)
def test_names_of_the_module_are_found_and_no_others(before: str, after: str) -> None:
    assert renamed(before, "x", "z") == after


def test_fixtures_are_asked_for_by_arguments_and_strings() -> None:
    text = textwrap.dedent(
        """
        import pytest

        @pytest.fixture
        def x(): return 1

        @pytest.fixture()
        def y(x): return x

        @pytest.mark.usefixtures("x", "y")
        class TestIt:
            def test_a(self, x): assert x == 1

        def test_b(request): assert request.getfixturevalue("x") == "x"

        def helper(x): return x
        """
    )
    wanted = text
    for old, new in (
        ("def x()", "def z()"),
        ("y(x): return x", "y(z): return z"),
        ('usefixtures("x"', 'usefixtures("z"'),
        ("self, x): assert x", "self, z): assert z"),
        ('getfixturevalue("x")', 'getfixturevalue("z")'),
    ):
        assert old in wanted
        wanted = wanted.replace(old, new)
    assert renamed(text, "x", "z") == wanted


def test_mentions_are_variables_arguments_and_strings() -> None:
    assert {*mentioned_names(ast.parse("def f(a, *b): return c.d('e', g=h)"))} == {"a", "b", "c", "e", "h"}
