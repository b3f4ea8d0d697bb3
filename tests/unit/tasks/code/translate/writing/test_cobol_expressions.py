from __future__ import annotations

import pytest

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.writing.cobol import write_cobol


def body_of(source: str) -> list[str]:
    text = write_cobol(read_program(source, "f"), "f")
    return [line.strip() for line in text.split("PROCEDURE DIVISION")[1].split("GOBACK")[0].split("\n")[1:-1]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("n - (m - 1)", "COMPUTE LK-RESULT = LK-N - (LK-M - 1)"),
        ("n + -1", "COMPUTE LK-RESULT = LK-N + (-1)"),
        ("(n + m) * -(n - m)", "COMPUTE LK-RESULT = (LK-N + LK-M) * (0 - (LK-N - LK-M))"),
        ("n // m", "COMPUTE LK-RESULT = FUNCTION INTEGER(LK-N / LK-M)"),
        ("len(s) // 2", "DIVIDE LK-S-LENGTH BY 2 GIVING LK-RESULT"),
        ("xs[n]", "MOVE LK-XS-ITEM(LK-N + 1) TO LK-RESULT"),
        ("xs[-1]", "MOVE LK-XS-ITEM(LK-XS-LENGTH) TO LK-RESULT"),
        ("ord(s[0]) - ord('a')", "COMPUTE LK-RESULT = FUNCTION ORD(LK-S-TEXT(1:1)) - 1 - 97"),
        ("max(n, m, 3)", "COMPUTE LK-RESULT = FUNCTION MAX(LK-N, LK-M, 3)"),
        ("int(b)", "MOVE LK-B TO LK-RESULT"),
    ],
)
def test_numbers(value: str, text: str) -> None:
    source = f"def f(n: int, m: int, s: str, b: bool, xs: list[int]) -> int:\n    return {value}\n"
    assert body_of(source) == [text]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("b", "LK-B = 1"),
        ("not b", "LK-B = 0"),
        ("b and (n > 1 or n < -1)", "LK-B = 1 AND (LK-N > 1 OR LK-N < -1)"),
        ("not (b and n > 1)", "LK-B = 0 OR LK-N <= 1"),
        ("s == t", "LK-S = LK-T"),
        ("s != ''", "LK-S-LENGTH NOT = 0"),
        ("s == 'a\"'", 'LK-S-TEXT = "a""" AND LK-S-LENGTH = 2'),
        ("s < t", "LK-S-TEXT < LK-T-TEXT OR (LK-S-TEXT = LK-T-TEXT AND LK-S-LENGTH < LK-T-LENGTH)"),
        ("s[n] == 'a'", 'LK-S-TEXT(LK-N + 1:1) = "a"'),
        ("s[n] in 'aei'", '(LK-S-TEXT(LK-N + 1:1) = "a" OR "e" OR "i")'),
        ("s[0] in '0123456789-'", '(LK-S-TEXT(1:1) >= "0" AND LK-S-TEXT(1:1) <= "9" OR LK-S-TEXT(1:1) = "-")'),
        ("s[0] not in 'ab'", 'NOT (LK-S-TEXT(1:1) = "a" OR "b")'),
    ],
)
def test_conditions(condition: str, text: str) -> None:
    source = f"def f(n: int, s: str, t: str, b: bool) -> int:\n    if {condition}:\n        return 1\n    return 2\n"
    assert body_of(source)[0] == f"IF {text}"
