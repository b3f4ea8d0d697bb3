from __future__ import annotations

import pytest

from spiritsafe.exam.results.reach import Reach


@pytest.mark.parametrize(
    ("failed", "tries", "is_enough", "words"),
    [
        (0, 0, True, "0 of 0 tries failed"),
        (0, 7, True, "0 of 7 tries failed"),
        (1, 20, True, "1 of 20 tries failed"),
        (1, 19, False, "1 of 19 tries failed, more than 5%"),
        (11, 200, False, "11 of 200 tries failed, more than 5%"),
        (9, 9, False, "9 of 9 tries failed, more than 5%"),
    ],
)
def test_a_twentieth_may_fail(failed: int, tries: int, is_enough: bool, words: str) -> None:
    reach = Reach(failed, tries)
    assert (reach.is_enough, str(reach)) == (is_enough, words)


def test_a_wrong_cut_or_refused_answer_is_an_answer() -> None:
    assert Reach.of(["correct", "wrong", "truncated", "refused", "unparsed", "unscored", "error"]) == Reach(1, 7)
