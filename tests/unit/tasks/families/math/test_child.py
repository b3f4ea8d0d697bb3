"""math-verify as the child runs it."""

import logging
from collections.abc import Iterator

import pytest

from spiritsafe.tasks.families.math.child import MathHandler


@pytest.fixture
def handler() -> Iterator[MathHandler]:
    yield MathHandler()
    logging.disable(logging.NOTSET)


def test_statuses(handler: MathHandler) -> None:
    assert handler({"gold": "$\\frac{1}{2}$", "answer": "0.5"}) == "correct"
    assert handler({"gold": "x+1", "answer": "1+x"}) == "correct"
    assert handler({"gold": "1/2", "answer": "1/3"}) == "wrong"
    assert handler({"gold": "1/2", "answer": "..."}) == "unparsed"


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("120", "5!", "correct"),
        ("5", "5!", "wrong"),
        (r"2\sqrt{2}", "2.828427", "correct"),
        (r"2\sqrt{2}", "2.83", "wrong"),
        ("(x+1)^2", "x^2+2x+1", "correct"),
        ("(1,2)", r"\sqrt{\sqrt{\arcsin(3)}}", "wrong"),
        ("1,2", "2,1", "correct"),
        ("1,2", "1,3", "wrong"),
        ("8", r"\frac{1}{0}", "wrong"),
        ("8", r"\tan((e-12-(\pi)^{3})^{3})", "wrong"),
        ("8", r"(\sqrt{\cos(\sqrt{y^{-2}})+123456789^{999}})^2", "wrong"),
        (r"\frac{1}{2}", r"50\%", "correct"),
        (r"\infty", r"\infty", "correct"),
        (r"\infty", "7", "wrong"),
        (r"\infty", r"-\infty", "wrong"),
        ("8", r"\infty", "wrong"),
        ("i", "-i", "wrong"),
        (r"|x|", r"\sqrt{x^2}", "correct"),
    ],
)
def test_what_clearly_differs_is_not_proved_different(
    handler: MathHandler, gold: str, answer: str, status: str
) -> None:
    assert handler({"gold": gold, "answer": answer}) == status


def test_unreadable_gold(handler: MathHandler) -> None:
    with pytest.raises(ValueError, match="not mathematics"):
        handler({"gold": "...", "answer": "1"})
