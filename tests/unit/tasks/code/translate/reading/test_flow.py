from __future__ import annotations

import pytest

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.reading.subset import SubsetError
from spiritsafe.tasks.code.translate.tree import CountLoop, Function, statements_in


def one(body: str) -> Function:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return read_program(f"def f(n: int, s: str, xs: list[int]) -> int:\n{lines}\n", "f")[0]


@pytest.mark.parametrize(
    ("body", "is_own"),
    [
        ("for i in range(n):\n    k = i\nreturn 1", True),
        ("for i in range(n):\n    i += 1\nreturn 1", False),
        ("for i in range(n):\n    pass\nreturn i", False),
        ("i = 5\nfor i in range(n):\n    pass\nreturn 1", False),
        ("i = 5\nfor i in range(i):\n    pass\nreturn 1", False),
        ("for i in range(n):\n    pass\nfor i in range(n):\n    pass\nreturn 1", True),
        ("for i in range(n):\n    pass\nwhile n > 0:\n    n -= 1\n    if i > n:\n        pass\nreturn 1", False),
        ("for i in range(n):\n    pass\nfor i in xs:\n    pass\nreturn 1", False),
    ],
)
def test_loops_that_own_their_variable_are_told(body: str, is_own: bool) -> None:
    loops = [found for found in statements_in(one(body).body) if isinstance(found, CountLoop)]
    assert [loop.is_own for loop in loops] == [is_own] * len(loops)


def test_branches_and_endless_loops_that_always_return_are_accepted() -> None:
    one("if n:\n    return 1\nelif s:\n    return 2\nelse:\n    return 3")
    one("while True:\n    n += 1\n    for x in xs:\n        break\n    if n > 5:\n        return n")


@pytest.mark.parametrize(
    "body",
    [
        "n = 1",
        "if n:\n    return 1",
        "if n:\n    return 1\nelse:\n    n = 2",
        "while n:\n    return 1",
        "for x in xs:\n    return x",
        "while True:\n    if n:\n        break",
    ],
)
def test_ways_without_a_return_are_found(body: str) -> None:
    with pytest.raises(SubsetError, match="may end without a return"):
        one(body)
