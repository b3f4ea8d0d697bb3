from __future__ import annotations

import pytest
from dispute_parts import MALLORY, Case, make_case
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam import counter_signers, rerun, separation_words
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.verification.reruns import check_rerun, compare_items, rerun_finding, rerun_statement
from spiritsafe.ledger import KeyPair

STRANGER = KeyPair.generate("Sam Stranger")


@pytest.fixture
def case(tmp_path) -> Case:
    return make_case(tmp_path, count=40)


def again(case: Case, model: ToyModel | None = None, runner: KeyPair = STRANGER, **options) -> CounterSignedRerun:
    return rerun(
        case.path, paper=case.stage.papers, generator=model or ToyModel(skill=0.5), task=case.stage.task,
        runner=runner, output=case.stage.root / options.pop("name", "rerun.json"), **options,
    )  # fmt: skip


def test_a_third_party_that_agrees_raises_the_class_in_what_is_printed(case):
    report = again(case).report
    assert counter_signers(case.certificate, [report]) == [STRANGER.public.label]
    assert separation_words(case.certificate, [report]) == (
        f"third party, counter-signed by {STRANGER.public.label}"
    )  # fmt: skip
    assert case.certificate.separation == "third party"  # the certificate stays as it is
    assert separation_words(case.certificate, []) == "third party"
    assert rerun_finding(case.certificate, report).startswith(f"counter-signed by {STRANGER.public.label} (public)")


def test_a_difference_counter_signs_nothing(case):
    report = again(case, ToyModel(skill=0.0, name="another")).report
    assert counter_signers(case.certificate, [report]) == []
    assert rerun_finding(case.certificate, report).startswith(f"NOT agreed with by {STRANGER.public.label}")


@pytest.mark.parametrize("part", ["maker", "examiner", "namesake"])
def test_nobody_counter_signs_their_own_exam(case, part):
    keys = {
        "maker": case.stage.maker,
        "examiner": case.stage.examiner,
        "namesake": KeyPair.generate(" eve examiner "),  # a second key of the same name
    }
    report = again(case, runner=keys[part]).report
    assert report.agrees
    assert counter_signers(case.certificate, [report]) == []
    assert "no counter-signature" in rerun_finding(case.certificate, report)


def test_the_finding_is_filed_in_the_ledger(case):
    good = again(case, ledger=case.stage.ledger).report
    bad = again(case, ToyModel(skill=0.0, name="another"), ledger=case.stage.ledger, runner=MALLORY).report
    first, second = case.stage.ledger.find("rerun")
    assert (first.body["agrees"], second.body["agrees"]) == (True, False)
    assert (first.body["statement"], second.body["statement"]) == (good.statement, bad.statement)
    assert second.body["runner"] == MALLORY.public.label
    assert second.signature.key == MALLORY.public.signing


def resigned(signed: CounterSignedRerun, **change) -> CounterSignedRerun:
    report = signed.report.model_copy(update=change)
    return CounterSignedRerun(report=report, signature=STRANGER.sign("rerun", report.canonical()))


def test_what_a_signed_report_can_get_wrong_is_found(case):
    signed = again(case, ToyModel(skill=0.0, name="another"))
    report = signed.report
    check_rerun(signed, "It", certificate=case.certificate)
    agreeing = tuple(item for item in report.items if item.status == item.original)
    dropped = compare_items(agreeing, case.certificate.registration)
    flattered = report.difference.model_copy(
        update={"difference": report.difference.difference.model_copy(update={"low": -1.0, "high": 1.0})}
    )
    for change, message in (
        ({"items": agreeing, "difference": dropped[1]}, "leaves out tries"),  # only those that agreed
        ({"items": (*report.items, report.items[-1])}, "leaves out tries"),
        ({"halves": ("public", "sealed")}, "leaves out tries"),
        ({"halves": ()}, "asked nothing"),
        ({"items": (report.items[0].model_copy(update={"original": "error"}), *report.items[1:])}, "misquotes"),
        ({"same_digest": True}, "says otherwise of the weights"),
        ({"paper_id": "sha256:" + "0" * 64}, "another paper"),
        ({"difference": flattered}, "has a difference"),
        ({"agreement": report.agreement.model_copy(update={"value": 1.0})}, "has an agreement"),
        ({"agrees": True}, "has a finding"),
        ({"statement": "Agrees within error."}, "has a finding"),
        ({"runner": MALLORY.public}, "another key"),
        ({"certificate": "sha256:" + "0" * 64}, "another certificate"),
    ):
        with pytest.raises(IntegrityError, match=message):
            check_rerun(resigned(signed, **change), "It", certificate=case.certificate)
    bad = CounterSignedRerun(report=report, signature=signed.signature.model_copy(update={"value": "0" * 128}))
    with pytest.raises(IntegrityError, match="bad signature"):
        check_rerun(bad, "It", certificate=case.certificate)


def test_the_numbers_in_the_last_bits_are_no_forgery(case):
    """Another machine's library may round otherwise."""
    signed = again(case)
    difference = signed.report.difference
    value = difference.difference.model_copy(update={"high": difference.difference.high + 1e-13})
    moved = difference.model_copy(update={"difference": value})
    check_rerun(resigned(signed, difference=moved), "It", certificate=case.certificate)


def test_a_report_about_the_first_certificate_is_none_about_its_re_issue(case):
    signed = again(case)
    case.edit(case.places("wrong")[0])
    new = case.reissue()
    with pytest.raises(IntegrityError, match="another certificate"):
        check_rerun(signed, "It", certificate=new)


def test_statements_say_which_way(case):
    report = again(case).report
    assert rerun_statement(report.difference, True, True, "local").startswith(
        "Agrees within error: rerun minus original is +0.0"
    )
    assert "does not name the registered weights" in rerun_statement(report.difference, True, False, "local")
    assert "whose weights nobody sees" in rerun_statement(report.difference, True, True, "remote")
