from __future__ import annotations

import pytest

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.writing.fortran import write_fortran


def body_of(source: str, name: str = "f") -> list[str]:
    text = write_fortran(read_program(source, name), name)
    return [line.strip() for line in text.split("\n\n", 1)[1].split("end function")[0].strip().split("\n")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("n - (m - 1)", "n - (m - 1)"),
        ("n + -1", "n + (-1)"),
        ("n - -m", "n - (-m)"),
        ("(n + m) * -(n - m)", "(n + m) * (-(n - m))"),
        ("n * (m * n)", "n * m * n"),
        ("len(s) // 2 * 3", "len(s) / 2 * 3"),
        ("3 * (len(s) // 2)", "3 * (len(s) / 2)"),
        ("n % 3", "modulo(n, 3)"),
        ("len(s) % 3", "mod(len(s), 3)"),
        ("ord(s[n]) - ord('0')", "iachar(s(n + 1:n + 1)) - iachar('0')"),
        ("len(s[1:])", "len(s(2:))"),
        ("len(s[n:n + 2])", "len(s(n + 1:min(n + 2, len(s))))"),
        ("len(s[:-1])", "len(s(:len(s) - 1))"),
        ("int(s == '')", "merge(1, 0, len(s) == 0)"),
        ("int(s != 'a b')", "merge(1, 0, s /= 'a b' .or. len(s) /= 3)"),
        ("int(not (n < 1 or b))", "merge(1, 0, n >= 1 .and. .not. b)"),
        ("int(b == (n > 1))", "merge(1, 0, (b .eqv. n > 1))"),
        ("int(n > 1 and (n > 2 or b))", "merge(1, 0, n > 1 .and. (n > 2 .or. b))"),
        ('len(str(n) + "it\'s")', "len(text_of(n) // 'it''s')"),
    ],
)
def test_expressions_keep_their_meaning_with_few_parentheses(value: str, text: str) -> None:
    source = f"def f(n: int, m: int, s: str, b: bool) -> int:\n    return {value}\n"
    assert body_of(source)[-1] == f"answer = {text}"
