from __future__ import annotations

import pytest
from mutation import changed_lines, in_function


@pytest.mark.parametrize(
    ("line", "operator", "expected"),
    [
        ("c = 5", "number", {"c = 6", "c = 4", "c = 0", "c = 1", "c = -5"}),
        ("c = 0", "number", {"c = 1", "c = -1"}),
        ("c = 1", "number", {"c = 2", "c = 0", "c = -1"}),
        ("c = -1", "number", {"c = 0", "c = -2", "c = 1"}),
        ("c = 0.5", "number", {"c = 1.5", "c = -0.5", "c = 0.0", "c = 1.0"}),
        ("c = 2 ** a", "number", {"c = 3 ** a", "c = 1 ** a", "c = 0 ** a", "c = (-2) ** a"}),
        ("c = 0x10", "number", {"c = 17", "c = 15", "c = 0", "c = 1", "c = -16"}),
        ("c = 1e999", "number", set()),
        ("c = 2j", "number", set()),
        ("c = True", "truth", {"c = False"}),
        ("c = False", "truth", {"c = True"}),
        ("c = None", None, {"pass"}),
        ("c = 'a'", "string", {'c = ""', "c = 'XXaXX'"}),
        ("c = ''", "string", {"c = 'XXXX'"}),
        ("c = b'a'", "string", {'c = b""', "c = b'XXaXX'"}),
        ("c = 'a' \"b\"", "string", {'c = ""', "c = 'XXabXX'"}),
        ("c = f'{a + 1} b'", "string", {'c = ""'}),
        ("c = f'{a + 1} b'", "arithmetic", set()),
        ("c = xs[a]", "index", {"c = xs[a + 1]", "c = xs[a - 1]"}),
        ("c = xs[a if b else c]", "index", {"c = xs[(a if b else c) + 1]", "c = xs[(a if b else c) - 1]"}),
        ("c = xs[a << b]", "index", {"c = xs[(a << b) + 1]", "c = xs[(a << b) - 1]"}),
        ("c = xs[a - 1]", "index", set()),  # the number says it already
        ("c = xs['a']", "index", set()),
        ("c = xs[a, b]", "index", set()),
        ("c = xs[a:b]", "slice", {"c = xs[a + 1:b]", "c = xs[a - 1:b]", "c = xs[a:b + 1]", "c = xs[a:b - 1]",
                                  "c = xs[:b]", "c = xs[a:]"}),
        ("c = xs[1:]", "slice", {"c = xs[:]"}),
        ("c = xs[::(a)]", "slice", {"c = xs[::]"}),
        ("c = range(a)", "range", {"c = range(a + 1)", "c = range(a - 1)", "c = range(1, a)"}),
        ("c = range((a))", "range", {"c = range((a + 1))", "c = range((a - 1))", "c = range(1, (a))"}),
        ("c = range(a, b)", "range", {"c = range(a + 1, b)", "c = range(a - 1, b)", "c = range(a, b + 1)",
                                      "c = range(a, b - 1)"}),
        ("c = range(*xs)", "range", set()),
        ("c = s.lower()", "call", {"c = s.upper()"}),
        ("c = s.startswith(a)", "call", {"c = s.endswith(a)"}),
        ("c = s.lstrip()", "call", {"c = s.rstrip()"}),
        ("c = s.rfind(a)", "call", {"c = s.find(a)"}),
        ("c = s.lower", "call", set()),
        ("c = min(a, b)", "call", {"c = max(a, b)"}),
        ("c = any(xs)", "call", {"c = all(xs)"}),
        ("c = sorted(xs)", "call", {"c = sorted(xs, reverse=True)", "c = list(xs)"}),
        ("c = sorted((xs), key=s)", "call", {"c = sorted((xs), reverse=True, key=s)"}),
        ("c = sorted(xs, reverse=True)", "truth", {"c = sorted(xs, reverse=False)"}),
        ("c = reversed(xs)", "call", {"c = list(xs)"}),
        ("c = enumerate(xs)", "call", {"c = enumerate(xs, 1)"}),
        ("c = abs(a - b)", "call", {"c = (a - b)"}),
        ("c = f(a, b)", "arguments", {"c = f(b, a)"}),
        ("c = f(a, b, c)", "arguments", {"c = f(b, a, c)", "c = f(a, c, b)"}),
        ("c = f((a), b  # why\n )", "arguments", {"c = f((b), a  # why"}),
        ("c = f(a, a)", "arguments", set()),
        ("c = f(a, *xs)", "arguments", set()),
        ("c = max(a, b)", "arguments", set()),
        ("c = f((a), key=(b))", "arguments", {"c = f((a))"}),
        ("c = f(key=a, *xs)", "arguments", {"c = f(*xs)"}),
        ("c = f(k=a, l=b, **s)", "arguments", {"c = f(l=b, **s)", "c = f(k=a, **s)"}),
        ("c = f(k=a)", "arguments", {"c = f()"}),
        ("c = [x for x in xs if x > a]", "filter", {"c = [x for x in xs if True]"}),
        ("c = {a for a in b if a if c}", "filter", {
            "c = {a for a in b if True if c}", "c = {a for a in b if a if True}",
        }),
    ],
)  # fmt: skip
def test_values(line: str, operator: str | None, expected: set[str]) -> None:
    assert in_function(line, operator) == expected


def test_defaults_of_arguments_are_values() -> None:
    source = "class A:\n    def f(self, n=2, *, deep=True, none=None):\n        return self, n, deep, none\n"
    assert changed_lines(source, "python", "truth") == {"def f(self, n=2, *, deep=False, none=None):"}
    assert {line[12:17] for line in changed_lines(source, "python", "number")} == {"n=3, ", "n=1, ", "n=0, ", "n=-2,"}


def test_values_of_classes_are_values() -> None:
    source = "class A:\n    size: int = 3\n    kind = 'x'\n"
    assert changed_lines(source, "python") == {
        "size: int = 4", "size: int = 2", "size: int = 0", "size: int = 1", "size: int = -3",
        'kind = ""', "kind = 'XXxXX'",
    }  # fmt: skip


def test_patterns_are_values() -> None:
    source = "def f(a):\n    match a:\n        case {'k': 7}:\n            return a\n"
    assert "case {'k': 8}:" in changed_lines(source, "python", "number")
    assert "case {'XXkXX': 7}:" in changed_lines(source, "python", "string")
