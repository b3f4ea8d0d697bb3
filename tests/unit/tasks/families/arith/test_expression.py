"""The expression parser: right values, nothing but arithmetic, no code."""

from fractions import Fraction

import pytest

from spiritsafe.tasks.families.arith.expression import evaluate


@pytest.mark.parametrize(
    ("text", "value", "used"),
    [
        ("1", 1, (1,)),
        ("2 + 3 * 4", 14, (2, 3, 4)),
        ("(2 + 3) * 4", 20, (2, 3, 4)),
        ("10 - 3 - 2", 5, (10, 3, 2)),
        ("12 / 4 / 3", 1, (12, 4, 3)),
        ("1 / 3 * 3", 1, (1, 3, 3)),
        ("((7))", 7, (7,)),
        ("2/4", Fraction(1, 2), (2, 4)),
    ],
)
def test_values(text: str, value: Fraction, used: tuple[int, ...]) -> None:
    assert evaluate(text) == (value, used)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "1 +",
        "(1",
        "1)",
        "1 2",
        "1 / 0",
        "1 / (2 - 2)",
        "2 ** 3",
        "2 ^ 3",
        "a",
        "-1",
        "1e3",
        "1.5",
        "__import__('os')",
        "1" * 300,
        "1234567890",
        "()",
    ],
)
def test_refuses(text: str) -> None:
    assert evaluate(text) is None


def test_deep_brackets_neither_crash_nor_hang() -> None:
    assert evaluate("(" * 99 + "1" + ")" * 99) == (1, (1,))
    assert evaluate("(" * 5000 + "1" + ")" * 5000) is None
