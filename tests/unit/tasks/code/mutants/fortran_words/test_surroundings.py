from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.fortran_words.surroundings import surroundings_of
from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_statements


@pytest.mark.parametrize(
    ("expression", "attribute", "expected"),
    [
        ("f(a) + g", "is_called", ["f"]),
        ("-a + (-b) * c ** (+d)", "begins_operand", ["-", "(", "-", "(", "+", "a", "b", "c", "d"]),
        (".true. .and. .not. a", "begins_operand", [".true.", ".not.", "a"]),
        ("[1] - 2", "begins_operand", ["[", "1", "2"]),
        ("int(a, 8) + 4", "is_fixed", ["8"]),
        ("f(kind=4, b=5)", "is_fixed", ["kind", "=", "4", "b", "="]),
        ("reshape([1], [2])", "is_fixed", ["[", "1", "]", "[", "2", "]"]),
        ("x(3) + x(i, 4) + s(5:j) + f(6 + 7)", "is_place", ["3", "i", "4", "5", "j"]),
        ("mod(a, 2) + b / 3 + f(4)", "is_divisor", ["2", "3"]),
        ("a ** 2 * 3", "is_power", ["2"]),
        ("[1, 2] + f(3) + (/ 4 /)", "is_constructed", ["1", "2", "4"]),
        ("iachar('a') + f('b')", "wants_letter", ["'a'"]),
    ],
)
def test_what_stands_around_words(expression: str, attribute: str, expected: list[str]) -> None:
    (words,) = fortran_statements(f"{expression}\n")
    found = [
        word.text for word, around in zip(words, surroundings_of(words), strict=True) if getattr(around, attribute)
    ]
    ignored = {")", ":", ","} if attribute != "is_fixed" else {"(", ")", ","}
    assert sorted(text for text in found if text not in ignored) == sorted(expected)


def test_the_next_word() -> None:
    (words,) = fortran_statements("a + 0\n")
    assert [around.next_text for around in surroundings_of(words)] == ["+", "0", ""]
