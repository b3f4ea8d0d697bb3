from __future__ import annotations

import pytest

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.reading.subset import SubsetError

HELPERS = """
def given(zs: list[int], n: int) -> list[int]:
    if n > 3:
        return zs
    return [n]

def through(zs: list[int]) -> list[int]:
    ys = given(zs, 4)
    return ys

def fresh(zs: list[int]) -> list[int]:
    zs = zs + [1]
    return zs
"""


def read(body: str) -> None:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    read_program(f"def f(n: int, xs: list[int]) -> list[int]:\n{lines}\n{HELPERS}", "f")


@pytest.mark.parametrize(
    "body",
    [
        "ys = xs\nys.append(1)\nreturn xs",
        "ys = xs\nxs[0] = 1\nreturn ys",
        "ys = xs if n else [1]\nys.append(1)\nreturn xs",
        "ys = [1]\nif n:\n    ys = xs\nelse:\n    ys = [2]\nys.append(1)\nreturn xs",
        "ys = xs\nzs = ys\nzs.append(1)\nreturn xs",
        "ys = xs\nwhile n:\n    ys[0] = 1\n    n -= 1\nreturn xs",
        "ys = [1]\nwhile n:\n    ys.append(1)\n    ys = xs\n    n -= 1\nreturn xs",
        "ys = [1]\nfor x in [1, 2]:\n    if n:\n        ys = xs\n        break\n    ys = [2]\nys.append(1)\nreturn xs",
        "ys = [1]\nfor x in [1, 2]:\n    ys.append(1)\n    if n:\n        ys = xs\n        continue\n"
        "    ys = [2]\nreturn xs",
        "ys = given(xs, n)\nys.append(1)\nreturn xs",
        "ys = through(xs)\nys.append(1)\nreturn xs",
        "a = xs\nb = [1]\na, b = b, a\nb[0] = 2\nreturn xs",
    ],
)
def test_lists_of_two_names_do_not_change(body: str) -> None:
    with pytest.raises(SubsetError, match="may be one list"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        "ys = xs[:]\nys.append(1)\nreturn xs",
        "ys = xs + []\nys.append(1)\nreturn xs",
        "ys = xs\nreturn ys",
        "ys = [1]\nys[0] = 2\nxs = ys\nreturn xs",
        "ys = xs\nys = [1]\nys.append(1)\nreturn xs",
        "cells = xs\nwhile n:\n    after = [0] * len(cells)\n    after[0] = 1\n    cells = after\n"
        "    n -= 1\nreturn cells",
        "xs = xs[1:] if n else xs\nxs.append(1)\nreturn xs",
        "ys = fresh(xs)\nys.append(1)\nreturn xs",
        "if n:\n    ys = xs\n    return ys\nys = [1]\nys.append(1)\nreturn xs",
        "xs.append(1)\nreturn xs",
    ],
)
def test_lists_of_one_name_may_change(body: str) -> None:
    read(body)
