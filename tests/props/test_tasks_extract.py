"""Properties of answer extraction: idempotent, total, faithful to any number in any dress."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.records import Problem
from spiritsafe.tasks.answers.extract import extract_answer, normalise, parse_number
from spiritsafe.tasks.families.arith.task import NumberVerifier

DRESSES = [
    "{}",
    "#### {}",
    "some steps\n#### {}",
    "The answer is {}.",
    "The final answer is **{}**!",
    "Answer: {}",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "x = {}",
    "so it comes to {}",
    "<think>maybe 5</think>{}",
    "First 3 + 4 = 7.\nThen = {}",
    " \t{} \r\n",
]
WIDE = str.maketrans("0123456789-", "０１２３４５６７８９−")


@given(text=st.text())
def test_normalise_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(
    text=st.text(alphabet=st.sampled_from("#0123456789+-*/=().,$\\{} \nboxedanswris<>thk**ABx½²−")),
    kind=st.sampled_from(["number", "expression", "letter", "text"]),
)
def test_never_raises(text: str, kind: str) -> None:
    extract_answer(text, kind, choices=("yes", "no"))  # type: ignore[arg-type]  # sampled from the literals


@pytest.mark.parametrize("dress", DRESSES)
@settings(max_examples=25)
@given(number=st.integers(-(10**12), 10**12))
def test_any_integer_in_any_dress(dress: str, number: int) -> None:
    for spelled in (str(number), f"{number:,}", f"{number}.0", str(number).translate(WIDE)):
        found = extract_answer(dress.format(spelled), "number")
        assert found is not None, spelled
        assert found.value == number


@given(number=st.decimals(min_value=-1000, max_value=1000, places=3))
def test_decimals(number: object) -> None:
    assert parse_number(str(number)) == Fraction(str(number))


@pytest.mark.parametrize("dress", DRESSES)
@settings(max_examples=25)
@given(gold=st.integers(-999, 999), other=st.integers(-999, 999))
def test_verifier_is_sound(dress: str, gold: int, other: int) -> None:
    problem = Problem(task="t:t", canonical_text="x", messages=(), facts={"answer": str(gold)})
    verdict = NumberVerifier().judge(problem, dress.format(other))
    assert verdict.status == ("correct" if gold == other else "wrong")


@given(
    left=st.integers(0, 99),
    right=st.integers(0, 99),
    operator=st.sampled_from("+-*/"),
    dress=st.sampled_from(["{}", "#### {}", "The answer is {}", "\\boxed{{{}}}"]),
)
def test_undone_arithmetic_is_no_answer(left: int, right: int, operator: str, dress: str) -> None:
    assert extract_answer(dress.format(f"{left} {operator} {right}"), "number") is None
