from __future__ import annotations

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.reading.subset import SubsetError
from spiritsafe.tasks.code.translate.tree import Assign, EachLoop, Function


def one(body: str, *, head: str = "def f(n: int, s: str, xs: list[int]) -> int:") -> Function:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return read_program(f"{head}\n{lines}\n", "f")[0]


def test_kinds_are_found_and_widened() -> None:
    body = """'''What it does.'''
last = 'x'
for c in s:
    last = word
    word = c
word = s
flag = n > 1
out: list[int] = []
out.append(n)
return len(word)"""
    with pytest.raises(SubsetError, match="word has no value yet"):
        one(body)
    found = one(body.replace("last = word", "last = c"))
    assert dict(found.locals) == {"last": "char", "c": "char", "word": "str", "flag": "bool", "out": "ints"}
    assert [kind for _, kind in found.parameters] == ["int", "str", "ints"]


def test_changed_parameters_are_told() -> None:
    assert one("n += 1\nm = n\nxs.append(m)\nreturn m").changed == {"n", "xs"}
    assert one("for n in range(3):\n    pass\nreturn 1").changed == {"n"}
    assert one("return n").changed == frozenset()


def test_values_of_many_targets_are_kept_only_where_needed() -> None:
    def names(body: str) -> list[str]:
        return [found.name for found in one(body).body if isinstance(found, Assign)]

    assert names("a, b = n, 2\nreturn a") == ["a", "b"]
    assert names("a = 1\nb = 2\na, b = b, a + b\nreturn a") == ["a", "b", "new_b", "a", "b"]
    assert names("new_b = 1\nb = 2\na = 3\na, b = b, a\nreturn new_b") == ["new_b", "b", "a", "new_b_value", "a", "b"]


def test_loops_over_texts_and_lists() -> None:
    body = one("for c in s + 'x':\n    pass\nfor x in xs:\n    pass\nreturn 1").body
    assert [type(found) for found in body[:2]] == [EachLoop, EachLoop]


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        ("m = 1\nm = s\nreturn 1", 3, "m is int and would become str"),
        ("f = 1\nreturn 1", 2, "f is a function"),
        ("if n:\n    return 1", 1, "may end without a return"),
        ("while True:\n    break", 1, "may end without a return"),
        ("while n:\n    return 1", 1, "may end without a return"),
        ("return s", 2, "s is str, and the result int"),
        ("return", 2, "a return needs a value"),
        ("import os\nreturn 1", 2, "'import os' is not in the subset"),
        ("try:\n    pass\nfinally:\n    pass\nreturn 1", 2, "is not in the subset"),
        ("print(n)\nreturn 1", 2, "is not in the subset"),
        ("s.append(1)\nreturn 1", 2, "is not in the subset"),
        ("xs.append(s)\nreturn 1", 2, "s is of type str"),
        ("s[0] = 1\nreturn 1", 2, "only items of lists"),
        ("xs[0] = n > 1\nreturn 1", 2, "is of type bool"),
        ("xs[1:] = xs\nreturn 1", 2, "is of type ints"),
        ("a = b = 1\nreturn 1", 2, "one target"),
        ("a, b = xs\nreturn 1", 2, "written out"),
        ("a: bool = 1\nreturn 1", 2, "1 is int, not bool"),
        ("a: int\nreturn 1", 2, "needs a value"),
        ("n **= 2\nreturn 1", 2, "this operator"),
        ("for i, x in xs:\n    pass\nreturn 1", 2, "one variable"),
        ("for i in range(1, 2, n):\n    pass\nreturn 1", 2, "is a literal"),
        ("for i in range(1, 2, 0):\n    pass\nreturn 1", 2, "is a literal"),
        ("for i in range():\n    pass\nreturn 1", 2, "one to three"),
        ("for i in xs:\n    pass\nelse:\n    pass\nreturn 1", 2, "no else"),
        ("while n:\n    n -= 1\nelse:\n    pass\nreturn 1", 5, "no else"),
        ("for x in xs:\n    xs.append(1)\nreturn 1", 2, "changes while the loop"),
        ("return f(n, s, xs)", 1, "calls itself"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_with_its_line(body: str, line: int, why: str) -> None:
    with pytest.raises(SubsetError, match=f"^Line {line}: .*{why}"):
        one(body)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(n: int) -> int:\n  return (", "Line 2: this is no Python"),
        ("x = 1\ndef f(n: int) -> int:\n  return n", "Line 1: only functions"),
        ("def g(n: int) -> int:\n  return n", "needs one function f"),
        ("def f(n: int) -> int:\n  return n\ndef f(n: int) -> int:\n  return n", "needs one function f"),
        ("def f(n: int = 1) -> int:\n  return n", "without defaults"),
        ("def f(*n: int) -> int:\n  return n", "parameters are plain"),
        ("@g\ndef f(n: int) -> int:\n  return n", "without decorators"),
        ("def f(n) -> int:\n  return n", "no type of the subset"),
        ("def f(n: int):\n  return n", "no type of the subset"),
        ("def f(n: int) -> int:\n  return g(n)\ndef g(n: int) -> int:\n  return f(n)", "Line 1: f calls itself"),
        (
            "def f(xs: list[int]) -> int:\n  return g(xs)\ndef g(xs: list[int]) -> int:\n  xs[0] = 1\n  return 1",
            "Line 3:",
        ),
    ],
)
def test_programs_that_are_not_in_the_subset_are_refused(source: str, why: str) -> None:
    with pytest.raises(SubsetError, match=why):
        read_program(source, "f")


def test_names_that_other_languages_cannot_have_are_refused() -> None:
    for head in ("def f(N: int) -> int:", "def f(solution: int) -> int:", "def f(a: str, a_length: int) -> int:"):
        with pytest.raises(TaskError, match=r"name|part"):
            one("return 1", head=head)
