from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.core.certificates import Outcome
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.stats import public_sealed_gap
from spiritsafe.exam.scoring import check_complete, gap_statement, right_answers, score_outcomes


def outcomes_of(stage, statuses, num_tries=1):
    public = {problem.index for problem in stage.paper.problems}
    return tuple(
        Outcome(
            index=index,
            half="public" if index in public else "sealed",
            sample_index=sample,
            status=statuses(index, sample),
            score=1.0 if statuses(index, sample) == "correct" else 0.25,
            num_prompt_tokens=1,
            num_tokens=1,
            commitment="00" * 32,
        )
        for index in range(20)
        for sample in range(num_tries)
    )


def test_every_try_is_in_the_denominator(stage):
    cycle = ("correct", "wrong", "unparsed", "unscored", "refused", "truncated", "error")
    registration = stage.register(ToyModel(), num_tries=7)
    outcomes = outcomes_of(stage, lambda _, sample: cycle[sample], num_tries=7)
    scores = score_outcomes(outcomes, stage.paper.header, registration)
    for half in (scores.sealed, scores.public):
        assert half.counts == dict.fromkeys(cycle, 10)
        assert half.accuracy.value == pytest.approx(1 / 7)
        assert half.accuracy.n == 70
        assert half.answered_accuracy.value == pytest.approx(1 / 5)
        assert half.mean_score == pytest.approx((1 + 6 * 0.25) / 7)
    assert scores.gap.gap.value == 0


def test_a_half_that_never_answered_has_no_answered_accuracy(stage):
    scores = score_outcomes(outcomes_of(stage, lambda *_: "error"), stage.paper.header, stage.register(ToyModel()))
    assert scores.sealed.answered_accuracy is None
    assert scores.sealed.accuracy.value == 0


def test_right_answers_are_counted_by_problem(stage):
    outcomes = outcomes_of(stage, lambda index, sample: "correct" if sample < index % 3 else "wrong", num_tries=2)
    public = [problem.index for problem in stage.paper.problems]
    assert right_answers(outcomes, "public") == [index % 3 for index in public]
    assert right_answers(outcomes, "sealed") == [index % 3 for index in range(20) if index not in public]


@pytest.mark.parametrize("damage", ["missing", "double", "order", "half", "extra"])
def test_incomplete_results_are_refused(stage, damage):
    good = list(outcomes_of(stage, lambda *_: "correct"))
    check_complete(good, stage.paper.header, 1)
    other = {"public": "sealed", "sealed": "public"}
    bad = {
        "missing": good[:-1],
        "double": [*good[:-1], good[-2]],
        "order": [good[1], good[0], *good[2:]],
        "half": [good[0].model_copy(update={"half": other[good[0].half]}), *good[1:]],
        "extra": [*good, good[-1]],
    }[damage]
    with pytest.raises(IntegrityError):
        check_complete(bad, stage.paper.header, 1)


def test_the_four_findings_in_plain_words():
    studied = public_sealed_gap([1] * 190 + [0] * 10, [1] * 100 + [0] * 100)
    assert gap_statement(studied).startswith("A sign of studying")
    tiny = public_sealed_gap([1, 0, 1], [1, 0, 1])
    assert "even a full leak" in gap_statement(tiny)
    small = public_sealed_gap([1, 0] * 50, [1, 0] * 50)
    assert gap_statement(small).startswith("Cannot rule out")
    assert f"{small.smallest_leak:.0%}" in gap_statement(small)
    large = public_sealed_gap([1, 0] * 400, [1, 0] * 400)
    assert gap_statement(large).startswith("No sign of studying")


def test_scores_of_a_paper_repeat(tmp_path):
    stage = make_stage(tmp_path)
    registration = stage.register(ToyModel(), num_tries=3)
    outcomes = outcomes_of(stage, lambda index, sample: "correct" if (index * sample) % 2 else "wrong", num_tries=3)
    assert score_outcomes(outcomes, stage.paper.header, registration) == score_outcomes(
        outcomes, stage.paper.header, registration
    )
