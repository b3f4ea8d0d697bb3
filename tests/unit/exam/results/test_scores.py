from __future__ import annotations

import random

import pytest
from exam_parts import ToyModel, ToyTask, make_stage

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.exam import PaperTerms, compare
from spiritsafe.exam.paper.split import asking_order, halves, look_ends
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.records.result import ExamResult, Outcome
from spiritsafe.exam.records.review import ResultNumbers
from spiritsafe.exam.results.scores import (
    NUMBERS,
    check_complete,
    gap_statement,
    memory_statement,
    right_answers,
    right_by_stratum,
    score_outcomes,
    strata_of_halves,
)
from spiritsafe.stats.contamination.gap import gain_gap, public_sealed_gap, smallest_leak
from spiritsafe.stats.contamination.share_studied import share_studied
from spiritsafe.stats.intervals import clopper_pearson_interval
from spiritsafe.stats.sequential.design import BettingRule, StopRule
from spiritsafe.tasks import load_task


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


def one_outcome(index, half, right):
    return Outcome(
        index=index,
        half=half,
        sample_index=0,
        status="correct" if right else "wrong",
        score=float(right),
        num_prompt_tokens=1,
        num_tokens=1,
        commitment="00" * 32,
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


def test_the_share_studied_is_stated(stage):
    kinds = halves(stage.paper.header)
    registration = stage.register(ToyModel())

    def scores(is_right):
        outcomes = tuple(one_outcome(index, kinds[index], is_right(index)) for index in range(20))
        return score_outcomes(outcomes, stage.paper.header, registration)

    known = {place.index for place in stage.paper.problems[:6]}
    studied = scores(lambda index: index in known)
    assert studied.studied.value == pytest.approx(0.6)
    assert studied.studied.low > 0.2
    assert studied.studied_statement.startswith("Share studied: 60% (")
    everything = scores(lambda index: True)
    assert (everything.studied, everything.studied_statement) == (None, "")


def test_scores_of_a_paper_repeat(tmp_path):
    stage = make_stage(tmp_path)
    registration = stage.register(ToyModel(), num_tries=3)
    outcomes = outcomes_of(stage, lambda index, sample: "correct" if (index * sample) % 2 else "wrong", num_tries=3)
    assert score_outcomes(outcomes, stage.paper.header, registration) == score_outcomes(
        outcomes, stage.paper.header, registration
    )


def test_what_was_not_asked_is_accounted_for(stage):
    good = outcomes_of(stage, lambda *_: "correct")
    check_complete(good[:-2], stage.paper.header, 1, (18, 19))
    for not_asked in ((18,), (18, 19, 20), (19, 18), (18, 18, 19), (17, 19), ()):
        with pytest.raises(IntegrityError):
            check_complete(good[:-2], stage.paper.header, 1, not_asked)


CLAIM = Claim(kind="score at least", score=0.5)


def test_intervals_and_gap_hold_at_all_looks_at_once(tmp_path):
    """Wider by Bonferroni: whatever made the rule stop, it was one of its looks."""
    stage = make_stage(tmp_path, count=80)
    stop = StopRule(num_problems=40, num_looks=5)
    registration = stage.register(ToyModel(), claim=CLAIM, stop=stop)
    header, kinds = stage.paper.header, halves(stage.paper.header)
    asked = set(asking_order(header, stop)[: look_ends(header, stop)[1]])
    outcomes = tuple(one_outcome(index, kinds[index], kinds[index] == "public") for index in sorted(asked))
    left_out = tuple(sorted(set(range(80)) - asked))
    scores = score_outcomes(outcomes, header, registration, ending="budget exhausted", not_asked=left_out)
    assert (scores.public.num_not_asked, scores.sealed.num_not_asked) == (24, 24)
    expected = clopper_pearson_interval(16, 16, confidence=0.99)
    assert scores.public.accuracy.low == pytest.approx(expected.low)
    assert scores.public.accuracy.confidence == 0.95
    assert "at all 5 looks at once" in scores.public.accuracy.method
    plain = public_sealed_gap([1] * 16, [0] * 16)
    assert scores.gap.p_value == pytest.approx(5 * plain.p_value)
    assert scores.gap.test.endswith("times 5 looks")
    assert scores.gap.smallest_leak == smallest_leak(16, 16, score=0.0, alpha=0.01)
    wider = share_studied([1] * 16, [0] * 16, confidence=0.99)
    assert (scores.studied.low, scores.studied.high) == (wider.low, wider.high)
    assert scores.studied.confidence == 0.95
    assert "at all 5 looks at once" in scores.studied.method


@pytest.mark.parametrize("rule", [StopRule, BettingRule])
def test_a_false_alarm_of_studying_is_no_likelier_whatever_the_rule_looks_at(stage, rule):
    """The worst rule of all: it stops where the public half looks best. Nothing was studied; flags stay within 5 %."""
    stop, rng, flagged = rule(num_problems=20, num_looks=4), random.Random(3), 0
    for number in range(500):
        header = stage.paper.header.model_copy(
            update={"bank_root": f"{number:064x}", "num_problems": 40, "num_public": 20, "num_sealed": 20}
        )
        kinds, right = halves(header), [int(rng.random() < 0.6) for _ in range(40)]
        values = []
        for end in look_ends(header, stop):
            asked = asking_order(header, stop)[:end]
            sides = [[right[place] for place in asked if kinds[place] == half] for half in ("public", "sealed")]
            values.append(public_sealed_gap(*sides, num_looks=4).p_value)
        flagged += min(values) < 0.05
    assert flagged <= 500 * 0.05 + 3 * (500 * 0.05 * 0.95) ** 0.5


def test_nothing_asked_of_a_half_is_nothing_known(stage):
    header, kinds = stage.paper.header, halves(stage.paper.header)
    first = next(place for place in range(20) if kinds[place] == "sealed")
    outcome = outcomes_of(stage, lambda *_: "correct")[first]
    rest = tuple(place for place in range(20) if place != first)
    scores = score_outcomes((outcome,), header, stage.register(ToyModel()), ending="budget exhausted", not_asked=rest)
    assert (scores.public.accuracy.n, scores.public.accuracy.low, scores.public.accuracy.high) == (0, 0.0, 1.0)
    assert (scores.gap.p_value, scores.gap.smallest_leak) == (1.0, None)
    assert "Cannot rule out" in scores.gap_statement


def test_the_gap_is_tested_within_strata(tmp_path):
    stage = make_stage(tmp_path, count=24, task=load_task("mix:arith:sums|arith:products"))
    header, kinds = stage.paper.header, halves(stage.paper.header)
    assert [len(side) for side in strata_of_halves(header)] == [12, 12]
    easy = header.strata[0].num_problems
    outcomes = tuple(one_outcome(index, kinds[index], index < easy) for index in range(24))
    gap = score_outcomes(outcomes, header, stage.register(ToyModel())).gap
    assert gap.test == "randomisation test, within strata, exact"
    assert gap.p_value == 1.0  # within strata every cut gives the same: nothing to be surprised at


def test_right_answers_stand_under_their_stratum(tmp_path):
    stage = make_stage(tmp_path, count=24, task=load_task("mix:arith:sums|arith:products*2"))
    header, kinds = stage.paper.header, halves(stage.paper.header)
    right = {place for place in range(24) if place % 3 == 0}
    outcomes = tuple(one_outcome(index, kinds[index], index in right) for index in range(24) if index != 23)
    for half in ("public", "sealed"):
        found = right_by_stratum(outcomes, header, half)
        start = 0
        for stratum in header.strata:
            places = [p for p in range(start, start + stratum.num_problems) if kinds[p] == half and p != 23]
            assert found[stratum.name] == [int(place in right) for place in places]
            start += stratum.num_problems
        assert [one for answers in found.values() for one in answers] == right_answers(outcomes, half)
    whole = make_stage(tmp_path / "whole", count=4, task=load_task("arith:sums")).paper.header
    assert right_by_stratum(outcomes, whole, "sealed") == {}


class TwinTask(ToyTask):
    has_twins = True


def test_memory_is_originals_minus_twins_public_minus_sealed(tmp_path):
    stage = make_stage(tmp_path, count=40, task=TwinTask(), terms=PaperTerms(twins=True))
    public = frozenset(problem.problem.id for problem in stage.paper.problems)
    result = stage.certificate(ToyModel(skill=0.3, studied=public)).result
    right = {o.index: int(o.status == "correct") for o in result.outcomes}
    kinds = halves(stage.paper.header)
    pairs = {
        half: tuple([right[p + shift] for p in range(40) if kinds[p] == half] for shift in (0, 40))
        for half in ("public", "sealed")
    }
    expected = gain_gap(pairs["public"], pairs["sealed"])
    assert result.memory.gap == expected.gap
    assert result.memory.p_value < 0.05
    assert memory_statement(result.memory) == result.memory_statement


def test_sittings_that_stopped_early_are_not_compared_as_a_whole(tmp_path):
    stage = make_stage(tmp_path, count=80)
    whole = stage.certificate(ToyModel(name="whole"), name="whole")
    stop = StopRule(num_problems=40, num_looks=5)
    early = stage.certificate(ToyModel(name="early", skill=1.0), name="early", claim=CLAIM, stop=stop)
    assert early.result.not_asked
    with pytest.raises(CompatibilityError, match='"early" was not asked the whole paper'):
        compare(early, whole)


def test_every_number_stands_in_results_and_is_compared_by_verifiers():
    assert set(NUMBERS) == set(ResultNumbers.model_fields) <= set(ExamResult.model_fields)
