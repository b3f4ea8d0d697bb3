from __future__ import annotations

from code_parts import tried

from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.translate.translate import translate
from spiritsafe.tasks.code.translate.writing.fortran_functions import FORTRAN_FUNCTIONS

ALL = """def everything(n: int, m: int, s: str, t: str, xs: list[int]) -> list[int]:
    out = sorted(xs)
    out.append(n // m)
    out.append(int(s < t) + int(s <= t) * 10 + int(s > t) * 100)
    for c in str(n) + s.upper() + t.lower() + s[::-1]:
        out.append(ord(c))
    return out
"""


def everything(n: int, m: int, s: str, t: str, xs: list[int]) -> list[int]:
    codes = [ord(c) for c in f"{n}{s.upper()}{t.lower()}{s[::-1]}"]
    return [*sorted(xs), n // m, (s < t) + (s <= t) * 10 + (s > t) * 100, *codes]


def test_each_function_does_what_python_does() -> None:
    signature = CodeSignature(
        "everything", (("n", "int"), ("m", "int"), ("s", "str"), ("t", "str"), ("xs", "ints")), "ints"
    )
    text = translate(ALL, signature, "fortran")
    assert all(f"function {name}(" in text for name in FORTRAN_FUNCTIONS)
    most = 10**18 - 1
    texts = ["", " ", "a", "a ", "ab", "B", "az@[`{Z", "a!"]
    inputs: list[list[CodeValue]] = [
        [n, m, s, t, xs]
        for n, m, xs in ((-most, 3, [3, 1, 2]), (most, -7, []), (0, -1, [1, 1, -5]), (-8, 4, [9]))
        for s in texts
        for t in texts
    ]
    assert tried("fortran", text, signature, inputs) == [everything(*one) for one in inputs]  # type: ignore[arg-type]
