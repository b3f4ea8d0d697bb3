"""Where the one value stands; what it looks like is ``docs/grading.md``'s, tested in ``tests/docs/test_grading.py``."""

import pytest

from spiritsafe.tasks.answers.claims import AnswerClaim, claimed_text, claimed_value, hedges, read_value, same_value
from spiritsafe.tasks.answers.numerals import tidy


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        ("#### 7\nwait\n#### 8\nThanks, see you at 9", "hashes", 8),
        ("#### Step 1\nadd\n#### Step 2\ngives 9", "last", 9),
        (r"The answer is 7, so \boxed{8}", "boxed", 8),
        ("<answer>8</answer> or so", "tag", 8),
        ("The answer is 8 after the 3 steps.", "sentence", 8),
        ("The final answer is: 8\nI hope that these 2 lines help.", "sentence", 8),
        ("Answer:\n8", "sentence", 8),
        ("The total is **8 apples** after the 3 steps.", "bold", 8),
        ("**1.** Add 12 and 5.\n**2.** You get 17", "last", 17),
        ("First 12 + 5 = 17. Then 17 - 9 = $8.", "last", 8),
        ("So 3 apples and 5 pears make 8 fruits.", "last", 8),
        ("A: 8", "last", 8),
        ("x = −8", "last", -8),
        ("eight", "whole", 8),
    ],
)
def test_one_value(text: str, rule: str, value: int) -> None:
    claim = claimed_value(text)
    assert (claim.kind, claim.rule, claim.value) == ("value", rule, value)


@pytest.mark.parametrize(
    "text",
    [
        "#### 8\nor 9",
        "#### 8\n9",
        "The answer is 8. Actually 9.",
        "The answer is 8 for Ann and 9 for Bob.",
        "not **8**",
        "It is 8 of 9",
        "There are at least 8",
        "It isn't 8",
        "8 apples or 9 apples",
        "9 = 8",
        "8\nThat is wrong.",
        "#### 8 of 9",
        "#### 8 " + "very " * 100 + "or 9",
        "17 - 9 =",
        "2k+1",
        "- 8",
    ],
)
def test_none_or_several(text: str) -> None:
    assert claimed_value(text).kind != "value"


@pytest.mark.parametrize("text", ["", " ", "<think>8", "no idea"])
def test_nothing(text: str) -> None:
    assert claimed_value(text).kind == "none"


@pytest.mark.parametrize("text", [r"\boxed{\sqrt{16}}", "#### 5!", r"So it is $\sqrt{16}$.", r"#### $2\sqrt{2}$"])
def test_formulas(text: str) -> None:
    assert claimed_value(text).kind == "formula"


def test_percent() -> None:
    half, fifty, percent, small = (read_value(text) for text in ("0.5", "50", "50%", "0.5%"))
    assert half is not None
    assert fifty is not None
    assert percent is not None
    assert small is not None
    assert same_value(half, percent)
    assert same_value(fifty, percent)
    assert same_value(percent, fifty)
    assert not same_value(percent, small)
    assert not same_value(half, fifty)
    assert not same_value(half, AnswerClaim("none"))


@pytest.mark.parametrize("text", ["8 or 9", "x+1", "8\n9", "", r"\sqrt{2}", "(1,2)"])
def test_no_value(text: str) -> None:
    assert read_value(tidy(text)) is None


def test_text_of_free_form() -> None:
    assert claimed_text("thinking\n#### a b\nand more") == ("hashes", "a b")
    assert claimed_text("a\nb c ") == ("whole", "b c")
    assert claimed_text(r"\boxed{x} or \boxed{y}")[0] == "several"
    assert claimed_text("#### x\nor y")[0] == "several"
    assert claimed_text("") == ("whole", "")


def test_hedges() -> None:
    assert hedges("x or y")
    assert hedges("it isn't")
    assert not hedges("order")
