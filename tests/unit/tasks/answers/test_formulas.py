"""One formula, and none that explodes."""

import pytest

from spiritsafe.tasks.answers.formulas import equal_parts, explodes, one_formula


@pytest.mark.parametrize(
    ("line", "gold", "formula"),
    [
        ("x+1", "x+1", "x+1"),
        ("So it is $x+1$.", "x+1", "x+1"),
        (r"\(x+1\)", "x+1", "x+1"),
        ("$x+1$, that is $x+1$", "x+1", "x+1"),
        (r"x^2\text{ cm}", "x^2", r"x^2\text{ cm}"),
        ("(1, 2)", "(1, 2)", "(1, 2)"),
        ("$x+1$ $x+2$", "x+1", None),
        ("$x+1$ or 7", "x+1", None),
        ("not $x+1$", "x+1", None),
        ("x+1 or x+2", "x+1", None),
        (r"x+1 \text{ or } x+2", "x+1", None),
        ("x+1, x+2", "x+1", None),
        (r"x \pm 1", "x+1", None),
        ("x < 1", "x+1", None),
        ("the sum of all", "x+1", None),
    ],
)
def test_exactly_one(line: str, gold: str, formula: str | None) -> None:
    found, why_not = one_formula(line, gold)
    assert found == formula
    assert bool(why_not) == (formula is None)


@pytest.mark.parametrize(
    "formula",
    [
        "9^{9^{9^9}}", "9**9**9", "2^{10}^{10}", "999999999!", "(9^9)!", "5!!!", "((5!)!)!", "(200*200*200)!",
        "10^{10}!",
        "(x+1)^{100000}", "((((x+1)^{12}+y)^{12}+z)^{12}", "((2^9)^9)^9", r"\binom{10^8}{10^7}",
        r"{10^8 \choose 5}",
        r"\sum_{i=1}^{10^9} i", r"\int_0^1 x", r"\exp(\exp(9))", "e^{60*60*60*60*60}", "9" * 61,
        r"\operatorname{exec}(x)",
        r"\sin(\sin(\sin(\sin(\sin(x)))))",
    ],
)  # fmt: skip
def test_what_could_explode(formula: str) -> None:
    assert explodes(formula, "x+1")
    assert not explodes(formula, formula)


@pytest.mark.parametrize(
    "formula",
    [
        "5!",
        "n!",
        "(n+1)!",
        r"\binom{10}{3}",
        "2^{100}",
        "(x+1)^{12}",
        r"\frac{\sqrt{3}}{2}",
        r"\sin(x)^2",
        "x^{10}",
        "e^{-x}",
    ],
)
def test_what_is_evaluated(formula: str) -> None:
    assert not explodes(formula, "x+1")


def test_sides() -> None:
    assert equal_parts("f(x) = x+1", "x+1") == ["x+1"]
    assert equal_parts("(x+1)^2 = x^2+2x+1", "x") == ["(x+1)^2", "x^2+2x+1"]
    assert equal_parts("y = x+1", "y = x+1") == ["y = x+1"]
