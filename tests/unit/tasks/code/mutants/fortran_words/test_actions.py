from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.fortran_words.actions import actions_of, closing, pieces
from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_statements


def parts(line: str) -> list[tuple[str, str]]:
    (words,) = fortran_statements(f"{line}\n")
    return [(role, " ".join(word.text for word in part)) for role, part in actions_of(words)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a = b + c", [("action", "a = b + c"), ("expression", "a"), ("expression", "b + c")]),
        ("a(i)%b(j) = c", [
            ("action", "a ( i ) % b ( j ) = c"), ("expression", "a ( i ) % b ( j )"), ("expression", "c"),
        ]),
        ("if = 3", [("action", "if = 3"), ("expression", "if"), ("expression", "3")]),
        ("if (a > b) then", [("expression", "a > b"), ("condition", "a > b")]),
        ("elseif (a) then", [("expression", "a"), ("condition", "a")]),
        ("if (f(a)) return", [("expression", "f ( a )"), ("condition", "f ( a )")]),
        ("if (a) exit", [("expression", "a"), ("condition", "a"), ("jump", "exit")]),
        ("if (a) 10, 20, 30", [("expression", "a")]),
        ("outer: do i = 1, n, 2", [
            ("expression", "1"), ("bound", "1"), ("expression", "n"), ("bound", "n"), ("step", "2"),
        ]),
        ("do 10, i = f(1, 2), n", [
            ("expression", "f ( 1 , 2 )"), ("bound", "f ( 1 , 2 )"), ("expression", "n"), ("bound", "n"),
        ]),
        ("do while (a)", [("expression", "a")]),
        ("do", []),
        ("call f(a, b)", [("action", "call f ( a , b )"), ("expression", "( a , b )")]),
        ("call f", [("action", "call f"), ("expression", "")]),
        ("cycle outer", [("jump", "cycle")]),
        ("write (*, '(i5)') a, [b, c]", [
            ("action", "write ( * , '(i5)' ) a , [ b , c ]"), ("expression", "a"), ("expression", "[ b , c ]"),
        ]),
        ("print *, a", [("action", "print * , a"), ("expression", "a")]),
        ("select case (a)", [("expression", "( a )")]),
        ("where (a) b = c", [("expression", "a"), ("action", "b = c"), ("expression", "b"), ("expression", "c")]),
        ("integer :: a = 1", []),
        ("integer(kind=4) :: a = 1", []),
        ("a => b", []),
        ("end if", []),
        ("else", []),
    ],
)  # fmt: skip
def test_what_statements_do(line: str, expected: list[tuple[str, str]]) -> None:
    assert parts(line) == expected


def test_brackets_and_commas() -> None:
    (words,) = fortran_statements("f(a, (b)), [c, d], (/ e, f /)\n")
    assert closing(words, 1) == 7
    assert closing(words, 4) == 6
    assert [" ".join(word.text for word in piece) for piece in pieces(words)] == [
        "f ( a , ( b ) )", "[ c , d ]", "(/ e , f /)"
    ]  # fmt: skip
    (words,) = fortran_statements("f(a\n")
    assert closing(words, 1) == 2
