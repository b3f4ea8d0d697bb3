from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.translate.reading.expressions import ExpressionReader
from spiritsafe.tasks.code.translate.reading.subset import SubsetError
from spiritsafe.tasks.code.translate.tree import Expr

READER = ExpressionReader(
    {"n": "int", "b": "bool", "s": "str", "c": "char", "xs": "ints"},
    {"helper": (("int", "str"), "str")},
)


def read(text: str) -> Expr:
    return READER.read(ast.parse(text, mode="eval").body)


def shown(expr: Expr) -> str:
    if expr.op in ("const", "var"):
        return repr(expr.value) if expr.op == "const" else str(expr.value)
    name = f"{expr.op}:{expr.value}" if expr.value is not None else expr.op
    return f"{name}({', '.join(map(shown, expr.args))})"


@pytest.mark.parametrize(
    ("text", "kind", "tree"),
    [
        ("n - -3", "int", "-(n, -3)"),
        ("-n // 2", "int", "//(neg(n), 2)"),
        ("s + c + 'ab'", "str", "concat(s, c, 'ab')"),
        ("s + (c + s)", "str", "concat(s, c, s)"),
        ("xs + [1, n]", "ints", "concat(xs, list(1, n))"),
        ("[n] * 3", "ints", "repeat(n, 3)"),
        ("'-' * n", "str", "repeat('-', n)"),
        ("xs[n]", "int", "item(xs, n)"),
        ("s[0]", "char", "item(s, 0)"),
        ("xs[-1]", "int", "item(xs, -(len(xs), 1))"),
        ("s[-2:]", "str", "slice(s, max(0, -(len(s), 2)))"),
        ("s[:-1]", "str", "slice(s, 0, -(len(s), 1))"),
        ("xs[1:n]", "ints", "slice(xs, 1, n)"),
        ("s[::-1]", "str", "reverse(s)"),
        ("1 < n <= 3", "bool", "and(<(1, n), <=(n, 3))"),
        ("not (n < 1 and b)", "bool", "or(>=(n, 1), not(b))"),
        ("not xs", "bool", "<=(len(xs), 0)"),
        ("c in 'abc'", "bool", "in(c, 'abc')"),
        ("c not in 'abc'", "bool", "not(in(c, 'abc'))"),
        ("1 if s else n", "int", "if(>(len(s), 0), 1, n)"),
        ("c if b else 'ab'", "str", "if(b, c, 'ab')"),
        ("c if b else 'a'", "char", "if(b, c, 'a')"),
        ("min(xs)", "int", "min_of(xs)"),
        ("min(n, 2, 3)", "int", "min(n, 2, 3)"),
        ("sorted(xs, reverse=True)", "ints", "reverse(sorted(xs))"),
        ("str(n)", "str", "text(n)"),
        ("chr(ord(c) + 1)", "char", "chr(+(ord(c), 1))"),
        ("ord(s)", "int", "ord(item(s, 0))"),
        ("c.upper()", "char", "upper(c)"),
        ("s.isdigit()", "bool", "isdigit(s)"),
        ("helper(n, c)", "str", "call:helper(n, c)"),
        ("int(b)", "int", "int(b)"),
    ],
)
def test_expressions_are_read_with_their_kinds(text: str, kind: str, tree: str) -> None:
    found = read(text)
    assert (found.kind, shown(found)) == (kind, tree)


@pytest.mark.parametrize(
    "text",
    [
        "1.5",
        "None",
        "'é'",
        "'\\n'",
        "10 ** 18",
        "1000000000000000000",
        "n / 2",
        "n ** 2",
        "n << 1",
        "~n",
        "+n",
        "n // 0",
        "n % 0",
        "n + b",
        "s + n",
        "s * 2",
        "xs * 2",
        "[1, 2] * 2",
        "n and 1",
        "b or n",
        "s < n",
        "b < True",
        "xs == xs",
        "n in xs",
        "s in 'abc'",
        "c in s",
        "c is s",
        "n if b else s",
        "[s]",
        "[1, True]",
        "(1, 2)",
        "{1}",
        "[x for x in xs]",
        "lambda: 1",
        "f'{n}'",
        "unknown",
        "n[0]",
        "xs[s]",
        "xs[::2]",
        "xs[1::-1]",
        "s.strip()",
        "s.upper(1)",
        "xs.upper()",
        "abs(n, n)",
        "abs(s)",
        "min(n)",
        "max(n, n, n, n)",
        "sum(n)",
        "len(n)",
        "int(s)",
        "str(b)",
        "print(n)",
        "sorted(s)",
        "sorted(xs, key=abs)",
        "helper(n)",
        "helper(n, t=s)",
        "helper(b, s)",
        "(yield)",
    ],
)
def test_what_is_not_in_the_subset_is_refused(text: str) -> None:
    with pytest.raises(SubsetError, match="Line 1: "):
        read(text)


def test_only_deciding_takes_what_is_not_truth() -> None:
    found = READER.condition(ast.parse("n and (xs or b)", mode="eval").body)
    assert shown(found) == "and(!=(n, 0), or(>(len(xs), 0), b))"
