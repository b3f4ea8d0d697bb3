"""Properties of the graders: a right value in any form is right, a wrong one in any is wrong, two are never right."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.records import Problem
from spiritsafe.tasks.answers.claims import claimed_value
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.families.math.task import ValueVerifier

DRESSES = [
    "{}",
    "#### {}",
    "some steps: 3 + 4 = 7\n#### {}",
    "The answer is {}.",
    "The final answer is **{}**.",
    "Answer: {}",
    "\\boxed{{{}}}",
    "So $\\boxed{{{}}}$.",
    "<answer>{}</answer>",
    "<think>maybe 5</think>#### {}",
]
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


def grouped(number: int, mark: str) -> str:
    return f"{number:,}".replace(",", mark)


def lakh(number: int) -> str:
    head, tail = divmod(number, 1000)
    if not head:
        return str(number)
    pairs = []
    while head:
        head, pair = divmod(head, 100)
        pairs.append(f"{pair:02}" if head else str(pair))
    return ",".join(reversed(pairs)) + f",{tail:03}"


def spellings(number: int) -> list[str]:
    """An integer above 0 in every form that has no unit."""
    plain = str(number)
    fraction = f"\\frac{{{3 * number}}}{{3}}"
    dotted = [grouped(number, ".")] if number >= 10**6 or number < 1000 else []
    return [
        plain, f"{plain}.0", grouped(number, ","), grouped(number, " "), grouped(number, "\u202f"),
        grouped(number, "'"), grouped(number, "’"), lakh(number), *dotted, plain.translate(WIDE),
        fraction,
        f"{2 * number}/2", f"{plain}e0", f"{plain} \\times 10^{{0}}", f"${plain}", f"€{plain}", f"₹{lakh(number)}",
        f"{plain} apples",
        f"{plain} km/h", f"x = {plain}", f"${plain}$", f"{plain}%", f"about {plain}",
    ]  # fmt: skip


POSITIVE = st.integers(1, 10**9)


def verdict(gold: str, text: str) -> str:
    problem = Problem(task="t:t", canonical_text="x", messages=(), facts={"answer": gold})
    return ValueVerifier().judge(problem, text).status


@pytest.mark.parametrize("dress", DRESSES)
@settings(max_examples=25, deadline=None)
@given(number=POSITIVE)
def test_a_right_value_is_right_in_any_form(dress: str, number: int) -> None:
    for spelled in spellings(number):
        assert verdict(str(number), dress.format(spelled)) == "correct", dress.format(spelled)


@pytest.mark.parametrize("dress", DRESSES)
@settings(max_examples=25, deadline=None)
@given(gold=POSITIVE, number=POSITIVE)
def test_another_value_is_wrong_in_any_form(dress: str, gold: int, number: int) -> None:
    if gold in (number, Fraction(number, 100)):  # a percent sign may mean a hundredth
        return
    for spelled in spellings(number):
        assert verdict(str(gold), dress.format(spelled)) != "correct", dress.format(spelled)


@settings(max_examples=60, deadline=None)
@given(whole=st.integers(1, 10**4), over=st.integers(1, 40), under=st.integers(2, 50))
def test_mixed_numbers(whole: int, over: int, under: int) -> None:
    if over >= under:
        return
    gold = str(whole + Fraction(over, under))
    for spelled in (
        f"{whole} {over}/{under}",
        f"{whole}\\frac{{{over}}}{{{under}}}",
        f"{whole} \\dfrac{{{over}}}{{{under}}}",
    ):
        assert verdict(gold, f"#### {spelled}") == "correct", spelled
        glued = str(Fraction(int(f"{whole}{over}"), under))
        assert glued == gold or verdict(glued, f"#### {spelled}") != "correct", spelled


OFFERS = [
    "{a} or {b}", "either {a} or {b}", "{a} | {b}", "{a}, {b}", "{a}; {b}", "{a} and {b}", "${a}$ ${b}$", "{a} ± {b}",
    "between {a} and {b}", "{a} < x < {b}", "{a}:{b}", "{a} (or {b})", "{a} vs {b}", "{a} = {b}",
    "{a}\\text{{ or }}{b}", "{a} apples or {b} apples", "maybe {a}, maybe {b}", "{a} [{b}]", "{a} to {b}", "{a} – {b}",
    "{a} & {b}", "{a} {b}/0",
]  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS)
@settings(max_examples=20, deadline=None)
@given(a=POSITIVE, b=POSITIVE, dress=st.sampled_from(DRESSES))
def test_two_answers_are_never_right(offer: str, a: int, b: int, dress: str) -> None:
    if a == b:
        return
    text = dress.format(offer.format(a=a, b=b))
    assert verdict(str(a), text) != "correct", text
    assert verdict(str(b), text) != "correct", text


TAKEN_BACK = [
    "not {}",
    "> {}",
    "x > {}",
    "at least {}",
    "{} is wrong",
    "{} ± 100",
    "x \\leq {}",
    "less than {}",
    "never {}",
]


@pytest.mark.parametrize("words", TAKEN_BACK)
@settings(max_examples=20, deadline=None)
@given(number=POSITIVE, dress=st.sampled_from(DRESSES))
def test_what_is_bounded_or_taken_back_is_never_right(words: str, number: int, dress: str) -> None:
    text = dress.format(words.format(number))
    assert verdict(str(number), text) != "correct", text


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(-(10**9), 10**9),
    dress=st.sampled_from(DRESSES),
    left=st.text(alphabet=" \t\n\u00a0", max_size=4),
    right=st.text(alphabet=" \t\n\u00a0", max_size=4),
    other=st.integers(-99, 99),
)
def test_space_around_a_text_changes_nothing(number: int, dress: str, left: str, right: str, other: int) -> None:
    text = dress.format(number)
    for gold in (number, other):
        assert verdict(str(gold), left + text + right) == verdict(str(gold), text)


@settings(max_examples=300, deadline=None)
@given(text=st.text() | st.text(alphabet="#0123456789+-*/=().,'$%\\{} \nboxedanswrisfthk|<>±½八²−ek!^:"))
def test_never_raises_and_agrees_with_itself(text: str) -> None:
    assert claimed_value(text) == claimed_value(text)
    assert claimed_value(text, "comma").kind in ("value", "formula", "several", "none")


@pytest.mark.parametrize(
    "piece",
    ["1 ", "1,", "1'234", "½", "$1$ ", "or ", "#### 8 or\n", "\\boxed{1}", "**1** ", "= 1 ", "minus ", "twenty-",
     "\\frac", "a\u0300\u0316", "\u0300\u0316", "1 234 ", "(", "x^{", "answer is 1. ", "八", "million ",
     "<answer>1</answer>", "not "],
)  # fmt: skip
def test_time_is_bounded(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    started = time.process_time()
    claimed_value(text)
    claimed_value("#### " + text)
    assert time.process_time() - started < 2.0


@given(
    letters=st.lists(st.sampled_from("ABCD"), min_size=2, max_size=4, unique=True),
    joint=st.sampled_from([" or ", "/", ", ", " and ", " | ", ") ("]),
)
def test_two_letters_are_never_right(letters: list[str], joint: str) -> None:
    text = joint.join(letters)
    for dress in ("{}", "#### {}", "({})", "The answer is {}.", "\\boxed{{{}}}", "between {}", "**{}**"):
        for letter in letters:
            facts = {"answer": letter, "choices": ["Paris", "London", "Rome", "Bern"]}
            problem = Problem(task="t:t", canonical_text="x", messages=(), facts=facts)
            assert LetterVerifier().judge(problem, dress.format(text)).status == "unparsed", dress.format(text)
