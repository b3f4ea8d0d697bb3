"""One number as people write it; the tables of ``docs/grading.md`` are tested in ``tests/docs/test_grading.py``."""

from fractions import Fraction

import pytest

from spiritsafe.tasks.answers.numerals import Decimal, quantities, tidy, unlatex, words_value


def values(text: str, decimal: Decimal = "point") -> list[Fraction | None]:
    return [quantity.value for quantity in quantities(unlatex(tidy(text)), decimal)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 + 5", [12, 5]),
        ("1,234 and 5", [1234, 5]),
        ("2½ and ½", [Fraction(5, 2), Fraction(1, 2)]),
        (r"10\frac12", [Fraction(21, 2)]),
        ("2 3/2", [None]),  # three halves are no part of a mixed number
        ("1/0", [None]),
        ("1/2/2026", [None]),
        ("5 hundred thousand", [500_000]),
        ("1.5e3", [1500]),
        ("1e1001", [None]),
        ("9" * 101, [None]),
        ("5!", [None]),
        ("2^3", [None, None][:1]),
        ("3:30", [None, 30]),
        ("8x", [None]),
        ("8 km", [8]),
        ("12.34.56", [None]),
        ("0,123", [None]),
        ("50 %", [50]),
        ("٨", [8]),
    ],
)
def test_values(text: str, found: list[Fraction | None]) -> None:
    assert values(text)[: len(found)] == found


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1.234", Fraction(1234, 1000), 1234),
        ("1,234", 1234, Fraction(1234, 1000)),
        ("1.234,5", None, Fraction(12345, 10)),
        ("1,234.5", Fraction(12345, 10), None),
        ("1.234.567", 1234567, 1234567),
        ("1,234,567", 1234567, 1234567),
        ("12,34,567", 1234567, 1234567),
        ("1 234 567", 1234567, 1234567),
        ("3,5", None, Fraction(7, 2)),
        ("3.5", Fraction(7, 2), None),
    ],
)
def test_the_decimal_mark_decides(text: str, point: Fraction | None, comma: Fraction | None) -> None:
    assert values(text) == [point]
    assert values(text, "comma") == [comma]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eight", 8), ("Twenty-five", 25), ("one hundred and five", 105), ("two thousand three hundred", 2300),
        ("a dozen", 12),
        ("a", None), ("and", None), ("eight nine", None), ("twenty ten", None), ("five and", None), ("八", 8),
        ("十二", 12),
        ("三百五十", 350), ("两万", 20_000), ("三五", None), ("", None), ("eighty apples", None),
    ],
)  # fmt: skip
def test_words(text: str, value: int | None) -> None:
    assert words_value(text) == value
