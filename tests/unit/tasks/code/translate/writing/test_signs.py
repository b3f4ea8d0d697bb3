from __future__ import annotations

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.tree import Assign
from spiritsafe.tasks.code.translate.writing.signs import is_natural, natural_names


def test_numbers_that_are_never_below_zero_are_found() -> None:
    source = """def f(n: int, xs: list[int]) -> int:
    a = len(xs) * 3 + 1
    b = abs(n) // 2 + a
    c = n % 7
    d = n % -7
    e = a - b
    g = max(n, 0)
    h = min(n, 0)
    for i in range(5):
        for j in range(n):
            a += j
        for k in range(9, -1, -1):
            b += k
        for m in range(9, -2, -1):
            c = c + i
    for o in range(n, 5):
        a = a
    for x in xs:
        h = x
    p = a
    p = p + q_of(n)
    r = a if n else b
    s = 'x'
    t = 1
    while t < 9:
        u = t
        t = u + 1
    v = 0
    while v > -9:
        w = v
        v = w - 1
    return a

def q_of(n: int) -> int:
    return n
"""
    function = read_program(source, "f")[0]
    assert natural_names(function) == {"a", "b", "c", "g", "i", "j", "k", "r", "t", "u"}


def test_parameters_may_be_anything() -> None:
    function = read_program("def f(n: int) -> int:\n    n = 5\n    m = n\n    k = m * 0\n    return m\n", "f")[0]
    assert natural_names(function) == frozenset()
    last = function.body[2]
    assert isinstance(last, Assign)
    assert is_natural(last.value, frozenset({"m"}))
    assert not is_natural(last.value, frozenset())
