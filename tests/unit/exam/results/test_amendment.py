from __future__ import annotations

import pytest
from dispute_parts import ZERO, make_case
from exam_parts import ToyModel, ToyTask, make_stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam import PaperTerms
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.records.review import GradeEdit
from spiritsafe.exam.results.amendment import amended_result, apply_edits, numbers_of, original_result
from spiritsafe.stats.contamination.gap import public_sealed_gap
from spiritsafe.stats.contamination.share_studied import share_studied, studied_statement
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.sequential.design import BettingRule, StopRule


def edit(outcome, after="correct") -> GradeEdit:
    return GradeEdit(
        dispute=ZERO, index=outcome.index, sample_index=outcome.sample_index, before=outcome.status, after=after,
        score_before=outcome.score, score_after=1.0 if after == "correct" else 0.0, reason="r",
    )  # fmt: skip


@pytest.fixture
def certificate(tmp_path):
    return make_case(tmp_path, count=20).certificate


def amend(certificate, edits):
    return amended_result(certificate.result, edits, certificate.paper, certificate.registration)


def test_numbers_are_those_of_the_edited_answers_computed_by_hand(certificate):
    result = certificate.result
    wrong = [o for o in result.outcomes if (o.status, o.half) == ("wrong", "sealed")][:2]
    amended = amend(certificate, [edit(outcome) for outcome in wrong])
    places = {outcome.index for outcome in wrong}
    right = {
        half: [int(o.status == "correct" or o.index in places) for o in result.outcomes if o.half == half]
        for half in ("public", "sealed")
    }
    assert amended.sealed.accuracy == score_interval(right["sealed"], trials=1)
    assert amended.sealed.accuracy.value == result.sealed.accuracy.value + 0.2
    assert amended.sealed.counts["wrong"] == result.sealed.counts["wrong"] - 2
    assert amended.public == result.public
    seed = derive_seed("gap", certificate.paper.bank_root)
    assert amended.gap == public_sealed_gap(right["public"], right["sealed"], trials=1, seed=seed)
    assert amended.studied == share_studied(right["public"], right["sealed"], trials=1)
    assert amended.studied_statement == studied_statement(amended.studied)
    untouched = {"outcomes", "sealed", "gap", "gap_statement", "studied", "studied_statement"}
    for name in type(result).model_fields.keys() - untouched:
        assert getattr(amended, name) == getattr(result, name)


def test_one_try_edited_twice_and_back_is_the_sitting_s_own(certificate):
    first = next(o for o in certificate.result.outcomes if o.status == "wrong")
    edits = [edit(first)]
    (changed,) = (o for o in apply_edits(certificate.result.outcomes, edits) if o.index == first.index)
    edits.append(edit(changed, "wrong"))
    assert apply_edits(certificate.result.outcomes, edits) == certificate.result.outcomes
    assert amend(certificate, edits) == certificate.result


def test_an_edit_of_another_grade_is_refused(certificate):
    outcome = next(o for o in certificate.result.outcomes if o.status == "wrong")
    for bad in (
        edit(outcome).model_copy(update={"before": "unparsed"}),
        edit(outcome).model_copy(update={"score_before": 0.5}),
        edit(outcome).model_copy(update={"index": 99}),
        edit(outcome).model_copy(update={"sample_index": 1}),
    ):
        with pytest.raises(IntegrityError, match="does not fit its grade"):
            amend(certificate, [bad])


def test_without_an_amendment_the_result_is_the_original(certificate):
    assert original_result(certificate) is certificate.result


def test_twins_and_memory_are_computed_again(tmp_path):
    class TwinTask(ToyTask):
        has_twins = True

    stage = make_stage(tmp_path, count=20, task=TwinTask(), terms=PaperTerms(twins=True))
    certificate = stage.certificate(ToyModel(skill=0.5))
    wrong = [o for o in certificate.result.outcomes if (o.status, o.half) == ("wrong", "twin")]
    amended = amend(certificate, [edit(outcome) for outcome in wrong])
    assert amended.twins.accuracy.value == 1.0
    assert amended.memory != certificate.result.memory
    assert amended.sealed == certificate.result.sealed


# The sitting ended by the grades before; the rule is asked again with those after.

RULES = [
    pytest.param(StopRule(num_problems=30, num_looks=3), id="looks"),
    pytest.param(BettingRule(num_problems=30, num_looks=10), id="bets"),
]


@pytest.mark.parametrize("stop", RULES)
def test_where_the_rule_would_have_gone_on_the_claim_is_undecided(tmp_path, stop):
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(ToyModel(skill=1.0), claim=Claim(kind="score at least", score=0.5), stop=stop)
    result = certificate.result
    assert (result.ending, result.decision.finding) == ("stopped by rule", "supported")
    sealed = [o for o in result.outcomes if o.half == "sealed"]
    amended = amend(certificate, [edit(o, "wrong") for o in sealed[: len(sealed) // 2]])
    decision = amended.decision
    assert (decision.finding, decision.p_value) == ("undecided", 1.0)
    assert "would not have ended the sitting here" in decision.statement
    assert decision.estimate.low < 0.5 < decision.estimate.high
    assert amended.sealed.accuracy == decision.estimate
    assert amended.ending == "stopped by rule"


def test_an_edit_that_leaves_the_rule_its_stop_leaves_the_decision(tmp_path):
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(
        ToyModel(skill=1.0), claim=Claim(kind="score at least", score=0.2), stop=StopRule(num_problems=30, num_looks=3)
    )
    one = next(o for o in certificate.result.outcomes if o.half == "sealed")
    amended = amend(certificate, [edit(one, "wrong")])
    assert amended.decision.finding == "supported"
    assert amended.decision.p_value > certificate.result.decision.p_value


def test_a_claim_decided_at_the_end_is_decided_again(tmp_path):
    stage = make_stage(tmp_path, count=40)
    certificate = stage.certificate(ToyModel(skill=0.4), claim=Claim(kind="score at least", score=0.6))
    assert certificate.result.decision.finding == "not supported"
    wrong = [o for o in certificate.result.outcomes if (o.status, o.half) == ("wrong", "sealed")]
    amended = amend(certificate, [edit(o) for o in wrong])
    assert amended.decision.finding == "supported"
    assert numbers_of(amended).decision == amended.decision
