"""math-verify as the child runs it."""

import logging
from collections.abc import Iterator

import pytest

from spiritsafe.tasks.mathematics_child import MathHandler


@pytest.fixture
def handler() -> Iterator[MathHandler]:
    yield MathHandler()
    logging.disable(logging.NOTSET)


def test_statuses(handler: MathHandler) -> None:
    assert handler({"gold": "$\\frac{1}{2}$", "answer": "0.5"}) == "correct"
    assert handler({"gold": "x+1", "answer": "1+x"}) == "correct"
    assert handler({"gold": "1/2", "answer": "1/3"}) == "wrong"
    assert handler({"gold": "1/2", "answer": "..."}) == "unparsed"


def test_unreadable_gold(handler: MathHandler) -> None:
    with pytest.raises(ValueError, match="not mathematics"):
        handler({"gold": "...", "answer": "1"})
