"""What is one formula to the last sign."""

import pytest

from spiritsafe.tasks.answers.latex import is_formula, separators


@pytest.mark.parametrize(
    "text",
    [
        "4", "x^2+1", r"\frac{1}{2}", r"\frac12", r"-\sqrt[3]{2}", "[1,2)", r"\{1,2\}", r"\sin^2 x",
        r"2\sqrt{2}\text{ cm}^2",
        "x_1+x_2", "10^{-3}", r"45^\circ", "5!", "(n+1)!", r"\binom{10}{3}", "|x-1|", "e^{-x}", r"\log_2 8", r"3\pi/4",
        r"\left(\frac{1}{2}\right)^2", "f(x)=x", r"50\%", r"2 \cdot 3", r"\$5", "1{,}000", "1,234.5", "1, 2", ".5",
    ],
)  # fmt: skip
def test_one(text: str) -> None:
    assert is_formula(text, {",", "="})


@pytest.mark.parametrize(
    "text",
    [
        "", "x+", "4 5", r"4 \to \sqrt{25}", r"4\circ\sqrt{25}", r"4\right\sqrt{25}",
        r"4^\sqrt{25}", r"4_\sqrt{25}", "4 & 5", "(" * 200 + "4" + ")" * 200,
        "4{}5", "(4", "4)", "4[", r"4\\5", "x+1\\quad", "4 ~ 5", "4 : 5", "4 @ x", r"\foo{x}", r"\frac{1}", "$x$",
        "x; y", "^2", "4.", "\\",
    ],
)  # fmt: skip
def test_none(text: str) -> None:
    assert not is_formula(text, {",", "="})


def test_separators_are_those_of_the_gold() -> None:
    assert separators(r"x \in [1,2) \cup \{3\}") == {r"\in", r"\cup", ","}
    assert is_formula(r"[1,2) \cup \{3\}", {r"\cup", ","})
    assert not is_formula(r"[1,2) \cup \{3\}", {","})
