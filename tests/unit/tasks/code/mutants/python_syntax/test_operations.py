from __future__ import annotations

import pytest
from mutation import in_function


@pytest.mark.parametrize(
    ("line", "others"),
    [
        ("c = a < b", {"<=", ">=", "!="}),
        ("c = a <= b", {"<", ">", "=="}),
        ("c = a > b", {">=", "<=", "!="}),
        ("c = a >= b", {">", "<", "=="}),
        ("c = a == b", {"!="}),  # the two need not be numbers
        ("c = a != b", {"=="}),
        ("c = a is b", {"is not"}),
        ("c = a is not b", {"is"}),
        ("c = a in b", {"not in"}),
        ("c = a not in b", {"in"}),
        ("c = a == -2", {"!=", "<=", ">="}),
        ("c = a != b - c", {"==", "<", ">"}),
        ("c = len(xs) == a", {"!=", "<=", ">="}),
    ],
)
def test_comparisons(line: str, others: set[str]) -> None:
    sign = next(
        sign for sign in (" is not ", " not in ", " is ", " in ", "<=", ">=", "==", "!=", "<", ">") if sign in line
    )
    assert in_function(line, "compare") == {line.replace(sign.strip(), other) for other in others}


def test_a_length_is_never_below_zero() -> None:
    assert in_function("c = len(xs) == 0", "compare") == {"c = len(xs) != 0", "c = len(xs) >= 0"}
    assert in_function("c = len(xs) > 0", "compare") == {"c = len(xs) >= 0", "c = len(xs) <= 0"}


def test_chains_change_one_by_one() -> None:
    assert in_function("c = a < b is c", "compare") == {
        "c = a <= b is c",
        "c = a >= b is c",
        "c = a != b is c",
        "c = a < b is not c",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c = a + b", {"c = a - b"}),
        ("c = a - b", {"c = a + b"}),
        ("c = a * b", {"c = a / b", "c = a + b"}),
        ("c = b + a * b", {"c = b - a * b", "c = b + a / b", "c = b + (a + b)"}),
        ("c = a / b", {"c = a * b", "c = a // b"}),
        ("c = a // b", {"c = a * b", "c = a / b"}),
        ("c = a % b", {"c = a // b", "c = a * b"}),
        ("c = a ** b", {"c = a * b"}),
        ("c = -a ** b", {"c = -(a * b)"}),
        ("c = a << b", {"c = a >> b"}),
        ("c = a >> b", {"c = a << b"}),
        ("c = a & b", {"c = a | b"}),
        ("c = a & b == c", {"c = (a | b) == c"}),
        ("c = a | b", {"c = a & b"}),
        ("c = a ^ b", {"c = a | b"}),
        ("c = s + 'x'", set()),  # strings cannot be subtracted
        ("c = [a] + xs", set()),
        ("c = s % 'x'", set()),
        ("c = a + 0", set()),
        ("c = a - 0", set()),
    ],
)
def test_arithmetic(line: str, expected: set[str]) -> None:
    assert in_function(line, "arithmetic") == expected


def test_augmented_assignments() -> None:
    assert in_function("a += b", "augmented") == {"a -= b", "a = b"}
    assert in_function("a *= b", "augmented") == {"a /= b", "a += b", "a = b"}
    assert in_function("a **= b", "augmented") == {"a *= b", "a = b"}
    assert in_function("xs += [a]", "augmented") == {"xs = [a]"}
    assert in_function("xs[a + 1] -= b", "augmented") == {"xs[a + 1] += b", "xs[a + 1] = b"}


def test_logic() -> None:
    assert in_function("c = a and b and c", "logic") == {"c = a or b and c", "c = a and b or c"}
    assert in_function("c = (a) or (b)", "logic") == {"c = (a) and (b)"}


def test_signs_and_negations_are_taken_away() -> None:
    assert in_function("c = not a", "not") == {"c = a"}
    assert in_function("c = not (a or b)", "not") == {"c = (a or b)"}
    assert in_function("c = -a", "sign") == {"c = a"}
    assert in_function("c = - -a", "sign") == {"c = -a"}  # either of the two: it compiles to the same
    assert in_function("c = ~a", "sign") == {"c = a"}
    assert in_function("return-a", "sign") == {"return a"}
    assert in_function("c = a if-b else c", "sign") == {"c = a if b else c"}


def test_operators_are_found_among_brackets_and_comments() -> None:
    line = "c = ((a) # < here\n  <\n (b))"
    assert in_function(line, "compare") == {"<=", ">=", "!="}
    assert in_function("c = (a not  in b)", "compare") == {"c = (a in b)"}
    assert in_function("c = ((a) + # + +\n    (b))", "arithmetic") == {"c = ((a) - # + +"}
