from __future__ import annotations

import pytest
from dispute_parts import DORA, MALLORY, Case, make_case
from exam_parts import ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.exam import compare, edits_told, load_certificate, reject_dispute
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.results.amendment import original_result
from spiritsafe.ledger import KeyPair
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.sequential.design import StopRule


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path, count=20)


def test_the_new_certificate_is_the_old_result_with_the_edits(case):
    places = case.places("wrong")[:2]
    for place in places:
        case.edit(place)
    new = case.reissue()
    path = case.stage.root / "reissued.json"
    assert load_certificate(path) == new
    right = [
        int(o.status == "correct" or o.index in places) for o in case.certificate.result.outcomes if o.half == "sealed"
    ]
    assert new.result.sealed.accuracy == score_interval(right, trials=1)
    assert new.amendment.supersedes == case.certificate.content_digest
    assert [applied.edit.index for applied in new.amendment.edits] == places
    assert original_result(new) == case.certificate.result
    assert original_result(new).content_digest == case.certificate.result.content_digest
    before, after = (c.result.sealed.accuracy.value for c in (case.certificate, new))
    said = "\n".join(new.statements)
    assert f"2 grades were edited after the sitting: sealed score {before:.1%} → {after:.1%}" in said
    assert f"Edited: problem {places[0]}, try 0, wrong → correct, on " in said
    assert "by Eve Examiner" in said
    assert "The gold answer was wrong. It was disputed by Dora Disputer" in said
    assert case.detail("grade edits", path).startswith("2 grades edited: sealed accuracy")
    revealed = [case.stage.root / f"revealed-{place}-0.json" for place in places]
    case.detail("revealed answers", path, revealed=revealed)  # the verdict is the one from before the edit


def test_the_old_one_verifies_for_ever_and_says_that_it_is_superseded(case):
    assert "SUPERSEDED" not in case.detail("disputes")
    case.edit(case.places("wrong")[0])
    assert "SUPERSEDED" not in case.detail("disputes")
    new = case.reissue()
    entry = case.stage.ledger.find("reissue")[0]
    said = case.detail("disputes")
    assert f"SUPERSEDED by a re-issue of {entry.time} (ledger entry {entry.index}" in said
    assert f"sealed accuracy {new.result.sealed.accuracy.value:.3f}" in said
    assert "SUPERSEDED" not in case.detail("disputes", case.stage.root / "reissued.json")
    assert case.certificate.to_json().get("amendment") is None


def test_edits_add_up_over_several_re_issues(case):
    first, second, third = case.places("wrong")[:3]
    case.edit(first)
    one = case.reissue()
    path = case.stage.root / "reissued.json"
    with pytest.raises(ProcedureError, match="No grade was edited since"):
        case.reissue(certificate=path)
    case.edit(second)
    said = case.detail("disputes", path)
    assert f"grades edited since and not yet in a certificate: problem {second}" in said
    two = case.reissue(certificate=path, output=case.stage.root / "two.json")
    assert two.amendment.supersedes == one.content_digest
    assert [applied.edit.index for applied in two.amendment.edits] == [first, second]
    assert tuple(edits_told(two)) == two.statements[-3:]
    assert edits_told(case.certificate) == []
    assert original_result(two) == case.certificate.result
    assert "SUPERSEDED" in case.detail("disputes", path)
    assert "SUPERSEDED" not in case.detail("disputes", case.stage.root / "two.json")
    # one that starts from the first certificate counts all of them in too
    case.edit(third)
    three = case.reissue(output=case.stage.root / "three.json")
    assert len(three.amendment.edits) == 3
    case.detail("disputes", case.stage.root / "three.json")


def test_without_edits_there_is_nothing_to_re_issue(case):
    with pytest.raises(ProcedureError, match="No grade was edited"):
        case.reissue()
    dispute = case.dispute(case.places("wrong")[0])
    reject_dispute(
        certificate=case.certificate, ledger=case.stage.ledger, examiner=case.stage.examiner,
        dispute=dispute.content_digest, reason="No.",
    )  # fmt: skip
    with pytest.raises(ProcedureError, match="No grade was edited"):
        case.reissue()
    assert case.stage.ledger.find("reissue") == []


def test_open_and_rejected_disputes_and_the_retirement_stand_in_its_statements(case):
    first, second, third = case.places("wrong")[:3]
    case.edit(first)
    case.dispute(second)
    dispute = case.dispute(third)
    reject_dispute(
        certificate=case.certificate, ledger=case.stage.ledger, examiner=case.stage.examiner,
        dispute=dispute.content_digest, reason="No.",
    )  # fmt: skip
    case.open()
    said = "\n".join(case.reissue().statements)
    assert f"Unanswered disputes are on record about: problem {second}." in said
    assert "Disputes that were rejected: 1." in said
    assert "The paper was retired on " in said
    case.detail("statements", case.stage.root / "reissued.json")


def test_killed_between_ledger_and_file_it_goes_on(case, monkeypatch):
    case.edit(case.places("wrong")[0])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.exam.certified.reissue.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            case.reissue()
    assert len(case.stage.ledger.find("reissue")) == 1
    case.reissue()
    assert len(case.stage.ledger.find("reissue")) == 1
    case.detail("disputes", case.stage.root / "reissued.json")


def test_only_the_keys_that_signed_the_first(case):
    case.edit(case.places("wrong")[0])
    for keys in ({"examiner": MALLORY}, {"host": MALLORY}):
        with pytest.raises(ProcedureError, match="was signed by"):
            case.reissue(**keys)


def test_a_host_of_its_own_signs_again(tmp_path):
    stage, host = make_stage(tmp_path, count=8), KeyPair.generate("Hugo Host")
    case = Case(stage, stage.sit(ToyModel(), stage.register(ToyModel()), host=host))
    case.edit(case.places("wrong")[0])
    new = case.reissue(host=host)
    assert {s.key for s in new.signatures} == {stage.examiner.public.signing, host.public.signing}
    case.detail("certificate signatures", stage.root / "reissued.json")


def test_a_certificate_that_does_not_verify_is_not_re_issued(case):
    case.edit(case.places("wrong")[0])
    case.path.write_bytes(case.path.read_bytes().replace(b'"third party"', b'"self-examined"'))
    with pytest.raises(IntegrityError, match="Step 2"):
        case.reissue()


def test_a_lost_certificate_is_not_issued_again_without_its_edits(case):
    case.edit(case.places("wrong")[0])
    case.reissue()
    case.path.unlink()
    with pytest.raises(ProcedureError, match="re-issued"):
        case.stage.sit(ToyModel(skill=0.5), case.certificate.registration)


def test_claims_are_decided_and_corrected_again_with_the_edited_grades(tmp_path):
    stage = make_stage(tmp_path, count=40)
    claim = Claim(kind="score at least", score=0.6)
    case = Case(stage, stage.certificate(ToyModel(skill=0.4), claim=claim))
    for place in case.places("wrong"):
        case.edit(place)
    new = case.reissue()
    assert case.certificate.correction.finding == "not supported"
    assert new.result.decision.finding == "supported"
    assert new.correction.finding == "supported"
    (state,) = new.registrations
    assert state.p_value == new.result.decision.p_value
    assert state.sealed_accuracy == 1.0
    # whoever is certified later sees the edited score in the list, and the correction counts it so
    later = stage.certificate(ToyModel(name="later", skill=1.0), name="later", claim=claim)
    assert [s.sealed_accuracy for s in later.registrations] == [1.0, 1.0]
    assert later.correction.num_claims == 2
    stage.check("later")
    case.detail("disputes")


def test_a_sitting_that_its_rule_ended_is_re_issued_with_its_ending(tmp_path):
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(
        ToyModel(skill=1.0), claim=Claim(kind="score at least", score=0.5), stop=StopRule(num_problems=30, num_looks=3)
    )
    case = Case(stage, certificate)
    for place in case.places("correct")[: len(case.places("correct")) // 2]:
        case.edit(place, "wrong")
    new = case.reissue()
    assert new.result.ending == "stopped by rule"
    assert new.correction.finding == "undecided"
    assert case.detail("ending", stage.root / "reissued.json").startswith("stopped by rule")


def test_models_are_compared_by_the_edited_grades(case):
    other = case.stage.certificate(ToyModel(name="other", skill=0.5), name="other")
    before = compare(case.certificate, other)
    places = case.places("wrong")
    for place in places:
        case.edit(place)
    after = compare(case.reissue(), other)
    gain = len(places) / case.certificate.paper.num_sealed
    assert after.sealed.difference.value == pytest.approx(before.sealed.difference.value + gain)
    assert after.public == before.public


def test_an_edit_out_of_order_on_record_is_not_counted_in(case):
    place = case.places("wrong")[0]
    entry = case.edit(place)
    body = {**entry.body, "edit": {**entry.body["edit"], "index": case.places("wrong")[1]}}
    case.stage.ledger.append("grade edit", body, case.stage.examiner)
    with pytest.raises(IntegrityError, match="answers no dispute"):
        case.reissue()
    assert DORA.public.label not in str(case.stage.ledger.find("reissue"))
