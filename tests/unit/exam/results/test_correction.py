from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam import PaperLog, withdraw
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.results.correction import correction_of, known_before

CLAIM = Claim(kind="score at least", score=0.3)


@pytest.fixture
def stage(tmp_path):
    return make_stage(tmp_path, count=20)


def sit(stage, name, skill=0.75, claim=CLAIM):
    return stage.certificate(ToyModel(name=name, skill=skill), name=name, claim=claim)


def test_a_single_claim_is_not_corrected(stage):
    certificate = sit(stage, "one")
    decision, correction = certificate.result.decision, certificate.correction
    assert decision.finding == "supported"
    assert correction.adjusted_p == decision.p_value
    assert (correction.num_claims, correction.num_registrations, correction.finding) == (1, 1, "supported")
    assert "1 claim on this paper" in correction.statement
    assert correction.statement in certificate.statements


def test_every_claim_of_the_maker_counts_whatever_became_of_it(stage):
    """Ten claims registered, one withdrawn, one lucky: Holm takes the luck out."""
    registrations = [stage.register(ToyModel(name=f"m{k}"), claim=CLAIM) for k in range(9)]
    withdraw(ledger=stage.ledger, paper=stage.paper, registration=registrations[0], maker=stage.maker, reason="bad day")
    stage.register(ToyModel(name="only measured"))
    certificate = sit(stage, "lucky")
    decision, correction = certificate.result.decision, certificate.correction
    assert decision.finding == "supported"
    assert correction.num_claims == 10
    assert correction.num_registrations == 11
    assert correction.adjusted_p == pytest.approx(min(1.0, 10 * decision.p_value))
    assert (correction.finding == "supported") == (10 * decision.p_value <= 0.025)
    assert "10 claims" in correction.statement
    stage.check("lucky")


def test_holm_steps_down(stage):
    strong = sit(stage, "strong", skill=1.0)
    weak = sit(stage, "weak", skill=0.6)
    p = [c.result.decision.p_value for c in (strong, weak)]
    assert p[0] < p[1]
    assert strong.correction.adjusted_p == p[0]  # it was the only claim when it was certified
    assert weak.correction.adjusted_p == pytest.approx(max(2 * p[0], p[1]))


def test_another_makers_claims_do_not_count(stage):
    from spiritsafe.ledger import KeyPair

    sit(stage, "mine")
    stage.maker = KeyPair.generate("Max Maker")
    certificate = sit(stage, "his")
    assert certificate.correction.num_claims == 1


def test_a_claim_made_after_the_result_was_known_is_no_prediction(stage):
    """The same model gives the same answers: look first, then claim just that."""
    stage.certificate(ToyModel(name="seen", skill=0.8), name="look")
    registration = stage.register(ToyModel(name="seen"), claim=CLAIM, hypothesis="as predicted")
    certificate = stage.sit(ToyModel(name="seen", skill=0.8), registration, "claim")
    assert certificate.result.decision.finding == "supported"
    assert certificate.correction.known_before
    assert certificate.correction.finding == "undecided"
    assert "was no prediction" in certificate.correction.statement
    stage.check("claim")
    assert known_before(PaperLog(stage.ledger.entries(), stage.paper.header), registration)


def test_a_result_that_names_no_registration_is_none(stage):
    """Its examiner's own junk makes nobody's verification break."""
    certificate = sit(stage, "one")
    for junk in ([], {}, 7, None):
        stage.ledger.append("result", {"paper_id": stage.paper.header.paper_id, "registration": junk}, stage.examiner)
    assert not known_before(PaperLog(stage.ledger.entries(), stage.paper.header), certificate.registration)
    stage.check("one")


def test_a_claim_registered_before_is_a_prediction_whoever_sits_first(stage):
    claimed = stage.register(ToyModel(name="m"), claim=CLAIM)
    stage.certificate(ToyModel(name="m", skill=0.8), name="look")
    certificate = stage.sit(ToyModel(name="m", skill=0.8), claimed, "claim")
    assert not certificate.correction.known_before
    assert not known_before(PaperLog(stage.ledger.entries(), stage.paper.header), claimed)


def test_without_a_claim_there_is_nothing_to_correct(stage):
    certificate = stage.certificate(ToyModel())
    assert certificate.correction is None
    assert "correction" not in certificate.to_json()


def test_a_list_without_the_claims_own_result(stage):
    certificate = sit(stage, "one")
    with pytest.raises(IntegrityError, match="does not hold"):
        correction_of(certificate.registration, certificate.result.decision, (), known_before=False)


def test_sittings_that_began_before_a_claim_are_told_with_it(stage):
    """The ledger cannot know two names for one model; whoever reads the decision is told what came before it."""
    stage.certificate(ToyModel(name="m at one address", skill=0.9), name="peek")
    certificate = sit(stage, "m at another address", skill=0.9)
    correction = certificate.correction
    assert (correction.finding, correction.known_before, correction.num_before) == ("supported", False, 1)
    words = "its maker had begun 1 other sitting on this paper (1 without a claim, which Holm does not count)"
    assert words in correction.statement
    assert correction.statement in certificate.statements
    stage.check("m at another address")
    third = sit(stage, "third", skill=0.9)
    assert "2 other sittings on this paper (1 without a claim" in third.correction.statement


def test_a_sitting_that_came_to_no_result_may_have_been_looked_at_too(stage):
    def die():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage.certificate(ToyModel(name="begun", on_ask=die), name="begun")
    assert sit(stage, "later").correction.num_before == 1


def test_what_only_stood_open_and_what_others_sat_is_no_look(stage):
    from spiritsafe.ledger import KeyPair

    maker, stage.maker = stage.maker, KeyPair.generate("Max Maker")
    stage.certificate(ToyModel(name="his"), name="his")
    stage.maker = maker
    early = stage.register(ToyModel(name="early", skill=0.9), claim=CLAIM)
    stage.register(ToyModel(name="open"))
    stage.certificate(ToyModel(name="between"), name="between")  # began after the claim
    certificate = stage.sit(ToyModel(name="early", skill=0.9), early, "early")
    assert certificate.correction.num_before == 0
    assert "num_before" not in certificate.correction.to_json()
    assert "sitting" not in certificate.correction.statement


def test_the_reference_of_a_claim_is_meant_to_be_known(stage):
    base = stage.certificate(ToyModel(name="base", skill=0.1), name="base")
    claim = Claim(kind="better than", reference=base.content_digest, margin=0.0)
    certificate = stage.certificate(ToyModel(name="student", skill=0.9), name="student", claim=claim, reference=base)
    assert certificate.correction.num_before == 0
    stage.check("student")


def test_a_same_models_earlier_result_still_decides_nothing(stage):
    stage.certificate(ToyModel(name="m", skill=0.9), name="look")
    certificate = stage.sit(ToyModel(name="m", skill=0.9), stage.register(ToyModel(name="m"), claim=CLAIM), "claim")
    assert (certificate.correction.finding, certificate.correction.num_before) == ("undecided", 1)
    assert "no prediction" in certificate.correction.statement
    assert "other sitting" not in certificate.correction.statement
