"""What counts as the answer of a completion: fair to the untaught, useless to the hedger."""

import time
from fractions import Fraction

import pytest

from spiritsafe.tasks.answers.extract import (
    extract_answer,
    final_part,
    normalise,
    parse_number,
    rival_mark,
    without_invisible,
)

EIGHT = [
    "8",
    " 8\n",
    "8.",
    "#### 8",
    "12 + 5 = 17\n17 - 9 = 8\n#### 8",
    "####8",
    "#### **8**",
    "#### 8 apples",
    "#### The answer is 8.",
    "#### x = 8",
    "#### $8",
    "#### 12 + 5 - 9 = 8",
    "The answer is 8.",
    "The answer is **8**, because 12 + 5 is 17 and 17 - 9 is 8; I used 3 terms.",
    "The answer is 12 + 5 - 9 = 8.",
    "The final answer is: 8\nI hope that these 2 lines help.",
    "Answer: 8",
    "**Answer:** 8",
    "Answer:\n8",
    "12 + 5 - 9 = 8",
    "= 8",
    "First 12 + 5 = 17. Then 17 - 9 = 8.",
    "So we get\n\n**8**",
    "The total is **8 apples** after the 3 steps.",
    r"Thus \boxed{8}.",
    r"\(\boxed{ 8 }\)",
    r"\[ 12 + 5 - 9 = 8 \]",
    "<answer>8</answer>",
    "<think>Is it 9? Or 10?</think>8",
    "８",
    "8.0",
    "16/2",
    r"\boxed{\frac{16}{2}}",
    "x = 8",
    "It is 8 of 8",
    "- 8",
]


@pytest.mark.parametrize("text", EIGHT)
def test_reads_eight(text: str) -> None:
    found = extract_answer(text, "number")
    assert found is not None
    assert found.value == 8


NOTHING = [
    "",
    "  \n",
    "no idea",
    "12 + 5 - 9",
    "What is 12 + 5 - 9 = ?",
    "12 + 5 - 9 = ?\nEnd with #### and the number.",
    "#### 12 + 5 - 9",
    "The answer is 12 + 5 - 9.",
    "#### 8 or 9",
    "The answer is 8 or 9.",
    r"\boxed{8, 9}",
    "<think>it must be 8",
    "17 - 9 =",
    r"\boxed{8\sqrt{2}}",
    "8x",
    "15x",
    "9" * 5000,
]


@pytest.mark.parametrize("text", NOTHING)
def test_commits_to_nothing(text: str) -> None:
    assert extract_answer(text, "number") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("= -9", -9),
        ("= − 9", -9),
        ("(-9)", -9),
        ("3 * -9 = -27", -27),
        ("1,234,567", 1234567),
        ("#### 1,234.50", Fraction("1234.5")),
        ("3/4", Fraction(3, 4)),
        ("½", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("10² = 100", 100),
        ("#### 8\n#### 9", 9),
        (r"\boxed{8} and \boxed{9}", 9),
        ("#### Step 1\nadd\n#### Step 2\ngives 9", 9),
        ("**1.** Add 12 and 5.\n**2.** You get 17", 17),
    ],
)
def test_values(text: str, value: Fraction) -> None:
    found = extract_answer(text, "number")
    assert found is not None
    assert found.value == value


def test_marker_beats_later_prose_and_last_marker_wins() -> None:
    found = extract_answer("#### 7\nwait\n#### 8\nThanks, see you at 9", "number")
    assert found is not None
    assert (found.text, found.rule) == ("8", "hashes")


def test_numbers_are_kept_as_written_too() -> None:
    for text, written, plain in (
        ("#### 1,234.50", "1,234.50", "1234.5"),
        ("= −16/2", "-16/2", "-8"),
        ("½", "1/2", "0.5"),
    ):
        found = extract_answer(text, "number")
        assert found is not None
        assert (found.written, found.text) == (written, plain)


def test_visible() -> None:
    assert without_invisible("\ufeffa\u200bb™") == "ab™"


def test_superscripts_are_not_digits() -> None:
    assert normalise("10²") == "10^2"
    assert parse_number("10²") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1,000", -1000),
        ("+7", 7),
        ("2.50", Fraction(5, 2)),
        ("1/0", None),
        ("8 apples", None),
        ("--8", None),
        ("", None),
    ],
)
def test_parse_number(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("#### (25 - 5) * 2", "(25 - 5) * 2"),
        ("25 - 5 = 20\n20 * 2 = 40\n#### (25 - 5) * 2 = 40", "(25 - 5) * 2"),
        ("40 = (25 - 5) × 2", "(25 - 5) * 2"),
        ("You can do (25 − 5) x 2 to get there.", "(25 - 5) * 2"),
        (r"\boxed{(25 - 5) \times 2}", "(25 - 5) * 2"),
        ("no idea, 40 maybe", None),
        ("", None),
    ],
)
def test_expression(text: str, expression: str | None) -> None:
    found = extract_answer(text, "expression")
    assert (found.text if found else None) == expression


CHOICES = ("Paris", "Rome", "Bern", "A dog")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B) Rome", "B"),
        ("B. Rome", "B"),
        ("Rome", "B"),
        ("**B**", "B"),
        ("#### B", "B"),
        ("The answer is B because of the river.", "B"),
        ("The answer is (B).", "B"),
        ("The correct answer is: Rome.", "B"),
        ("A is wrong, C too.\nI choose option B.", "B"),
        (r"\boxed{\text{B}}", "B"),
        ("A dog would know.", None),
        ("#### A dog", "D"),
        ("#### A/B", None),
        ("A or B", None),
        ("**A** or **B**", None),
        (r"\boxed{A} or \boxed{B}", None),
        ("#### A\nor B", None),
        ("#### A\n#### B", "B"),
        ("It is (B).", "B"),
        ("It is (b).", "B"),
        ("Not A, but B.", "B"),
        ("Neither A nor B.", None),
        ("The answer isn't A.", None),
        ("The correct choice is B because answer A is false.", "B"),
        ("Option A is wrong. Option B is wrong. Option C.", "C"),
        ("E", None),
        ("Well, who knows?", None),
        ("", None),
    ],
)
def test_letter(text: str, letter: str | None) -> None:
    found = extract_answer(text, "letter", choices=CHOICES)
    assert (found.text if found else None) == letter


def test_text_kind_takes_what_is_marked_or_everything() -> None:
    marked = extract_answer("thinking\n#### a b\nc", "text")
    whole = extract_answer(" a b ", "text")
    assert marked is not None
    assert whole is not None
    assert (marked.text, marked.rule) == ("a b\nc", "hashes")
    assert (whole.text, whole.rule) == ("a b", "whole")


def test_rival_mark() -> None:
    assert rival_mark(r"\boxed{8} or \boxed{9}", "boxed")
    assert rival_mark("<answer>8</answer><answer>9</answer>", "tag")
    assert not rival_mark("\\boxed{8}\n\\boxed{9}", "boxed")
    assert not rival_mark(r"\boxed{8}, so \boxed{8}", "boxed")
    assert not rival_mark(r"\boxed{8}", "boxed")
    assert not rival_mark("#### 8 #### 9", "hashes")


def test_many_combining_marks_are_cut_and_cost_no_more_than_other_characters() -> None:
    text = "a" + "\u0300\u0316" * 9_000 + "8"
    started = time.process_time()
    cut = normalise(text)
    assert time.process_time() - started < 0.5  # they are sorted, which took seconds when all were kept
    assert cut[0] == "à"
    assert len(cut) < 50
    assert normalise(cut) == cut


def test_final_part() -> None:
    assert final_part("<think>a</think>b<think>c</think>d") == "d"
    assert final_part("<think>a") == ""
    assert final_part("a") == "a"


@pytest.mark.parametrize(
    "text",
    [
        "9" * 30_000,
        "#### 1 " * 5_000,
        r"\boxed{" * 5_000,
        "answer is " * 3_000,
        "1 = " * 8_000,
        "**1" * 8_000,
        "- " * 15_000,
        "1,111" * 6_000,
        "<answer>" * 4_000,
        "(" * 20_000,
        "$ \\,{" * 5_000,
    ],
)
@pytest.mark.parametrize("kind", ["number", "expression", "letter", "text"])
def test_hostile_texts_take_bounded_time(text: str, kind: str) -> None:
    started = time.process_time()
    extract_answer(text, kind, choices=CHOICES)  # type: ignore[arg-type]  # parametrised over the literals
    assert time.process_time() - started < 1.0
