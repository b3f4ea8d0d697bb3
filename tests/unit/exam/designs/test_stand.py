from __future__ import annotations

import pytest

from spiritsafe.exam.designs.stand import ClaimAnswers, stand_at_look
from spiritsafe.exam.records.registration import Claim
from spiritsafe.stats import decide_score, paired_difference, score_interval
from spiritsafe.stats.sequential.design import StopRule

CLAIM = Claim(kind="score at least", score=0.5)


def test_a_look_says_what_the_statistics_say() -> None:
    rule, right = StopRule(num_problems=8, num_looks=2), [1, 1, 1, 1]
    found, stand = (
        decide_score(rule, 0.5, right, trials=1, intervals=2),
        stand_at_look(rule, ClaimAnswers(CLAIM, right, None, 1, 2)),
    )
    assert stand is not None
    assert (stand.look, stand.p_value, stand.statement) == (found.look, found.p_value, found.statement)


@pytest.mark.parametrize("count", [0, 3])
def test_the_first_of_the_answers(count: int) -> None:
    answers = ClaimAnswers(CLAIM, [1, 0, 1, 1], [0, 0, 1, 1], 1, 2)
    first = answers.first(count)
    assert (first.right, first.theirs) == ([1, 0, 1, 1][:count], [0, 0, 1, 1][:count])
    assert ClaimAnswers(CLAIM, [1, 0], None, 1, 2).first(1).theirs is None


def test_an_estimate_of_what_was_asked() -> None:
    right, theirs = [1, 0, 1, 1], [0, 0, 1, 1]
    assert ClaimAnswers(CLAIM, right, None, 1, 2).plain_estimate() == score_interval(right, trials=1, intervals=2)
    assert ClaimAnswers(CLAIM, right, theirs, 1, 2).plain_estimate() == (
        paired_difference(right, theirs, trials=1, intervals=2).difference
    )
    assert ClaimAnswers(CLAIM, [], [], 1, 2).plain_estimate().low == -1.0
    assert ClaimAnswers(CLAIM, [], None, 1, 2).plain_estimate().low == 0.0
