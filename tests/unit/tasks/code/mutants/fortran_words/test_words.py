from __future__ import annotations

import pytest
from mutation import programs

from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_columns, fortran_statements, is_fixed_form


def texts(source: str) -> list[list[str]]:
    found = list(fortran_statements(source))
    for words in found:
        for word in words:
            text = source[word.start : word.end]
            assert text == word.text or (word.kind == "string" and "\n" in text)
    return [[word.text for word in words] for words in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a=b+1.5e-3_8", [["a", "=", "b", "+", "1.5e-3_8"]]),
        ("a = 1.eq.2 .or. 1.e5 > .5d0", [["a", "=", "1", ".eq.", "2", ".or.", "1.e5", ">", ".5d0"]]),
        ("a = 'it''s' // \"x!y\" ! why", [["a", "=", "'it''s'", "//", '"x!y"']]),
        ("a = (/1, 2/) /= b", [["a", "=", "(/", "1", ",", "2", "/)", "/=", "b"]]),
        ("a = 1; b => c;; d = 2", [["a", "=", "1"], ["b", "=>", "c"], ["d", "=", "2"]]),
        ("a = b & ! why\n\n! nothing\n  & + c\nd = e", [["a", "=", "b", "+", "c"], ["d", "=", "e"]]),
        ("a = b + &\n c", [["a", "=", "b", "+", "c"]]),
        ("a = 'x & y' ! &\nb = c", [["a", "=", "'x & y'"], ["b", "=", "c"]]),
        ("a = 'x &\n  & y' + b", [["a", "=", "'x ", "+", "b"]]),
        ("#if 1\na = b\n#endif", [["a", "=", "b"]]),
        ("10 a = b", [["10", "a", "=", "b"]]),
        ("a\r\nb\r\n", [["a"], ["b"]]),
    ],
)
def test_free_form(source: str, expected: list[list[str]]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("      A = B\n     1  + C\n", [["A", "=", "B", "+", "C"]]),
        ("      A = B\nC comment\n\n     &+ C\n", [["A", "=", "B", "+", "C"]]),
        ("* comment\n      A = B ! C\n!\n   10 CONTINUE\n", [["A", "=", "B"], ["10", "CONTINUE"]]),
        ("      A = B" + " " * 61 + "+ C\n", [["A", "=", "B"]]),
        ("\tA = B\n\t1 + C\n10\tD = E\n", [["A", "=", "B", "+", "C"], ["10", "D", "=", "E"]]),
        ("      A = 'B\n     &C' // D\n", [["A", "=", "'B", "//", "D"]]),
        ("      A = B\n     0C = D\n", [["A", "=", "B"], ["C", "=", "D"]]),
    ],
)
def test_fixed_form(source: str, expected: list[list[str]]) -> None:
    assert is_fixed_form(source)
    assert texts(source) == expected


def test_kinds_of_words() -> None:
    (words,) = fortran_statements("20 a = 1 + 1. - 'x' .and. b\n")
    assert [word.kind for word in words] == [
        "label", "name", "sign", "integer", "sign", "real", "sign", "string", "sign", "name"
    ]  # fmt: skip


def test_forms_are_told_apart() -> None:
    assert {path.name for path in programs(".f90", ".f") if is_fixed_form(path.read_text("utf-8"))} == {
        path.name for path in programs(".f")
    }
    for code in (
        "call f(x)",
        "c = 1",
        "contains",
        "do i = 1, 2",
        "cycle outer",
        "double precision :: d",
        "character(5) c",
    ):
        assert not is_fixed_form(f"      a = b\n{code}\n"), code
    for remark in ("C call the solver", "c continue from here", "D     A = B", "Comment, no code", "* = 1"):
        assert is_fixed_form(f"      a = b\n{remark}\n"), remark
    assert not is_fixed_form("      a = b &\n      + c\n")
    assert fortran_columns("a = b\n").last == 132
    assert fortran_columns("      a = b\n").last == 72
