from __future__ import annotations

import pytest
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.exam import load_rerun, rerun
from spiritsafe.exam.rerun_checking import check_rerun, compare_tries
from spiritsafe.ledger import KeyPair

STRANGER, MALLORY = KeyPair.generate("Sam Stranger"), KeyPair.generate("Mallory")


def drop_disagreeing(report):
    """A re-runner's cherry: the tries that went as before."""
    report["items"] = [item for item in report["items"] if item["status"] == item["original"]][:-1]


CHANGES = {
    "items": (drop_disagreeing, "each try of its halves once"),
    "doubled": (lambda r: r["items"].append(r["items"][0]), "each try of its halves once"),
    "none": (lambda r: r.update(items=[]), "each try of its halves once"),
    "halves": (lambda r: r.update(halves=["public", "sealed"]), "each try of its halves once"),
    "agreement": (lambda r: r["agreement"].update(value=0.5), "agreement that does not follow"),
    "difference": (lambda r: r["difference"].update(p_value=0.5), "difference that does not follow"),
    "status": (lambda r: r["items"][0].update(status="refused"), "does not follow from its items"),
    "certificate": (lambda r: r.update(certificate="sha256:" + "0" * 64), "another certificate"),
    "original": (lambda r: r["items"][0].update(original="refused"), "misquotes"),
    "agrees": (lambda r: r.update(agrees=False), "against its own interval"),
    "same_digest": (lambda r: r.update(same_digest=False), "Generator's digest"),
    "statement": (lambda r: r.update(statement="Proven."), "statement that does not follow"),
}


@pytest.fixture
def made(stage):
    certificate = stage.certificate(ToyModel(skill=1.0))
    signed = rerun(
        stage.root / "sitting" / "certificate.json",
        paper=stage.papers,
        generator=ToyModel(skill=1.0),
        task=stage.task,
        runner=STRANGER,
        output=stage.root / "rerun.json",
    )
    return certificate, signed


def test_a_good_report_passes(stage, made):
    certificate, signed = made
    assert check_rerun(signed, "it", certificate=certificate) is signed
    assert load_rerun(stage.root / "rerun.json", certificate=certificate) == signed
    agreeing, difference = compare_tries(signed.report.items, 1)
    assert agreeing == [1] * 10
    assert difference == signed.report.difference


@pytest.mark.parametrize("name", CHANGES)
def test_a_report_that_was_changed_and_signed_again_is_refused(stage, made, name):
    certificate, signed = made
    change, words = CHANGES[name]
    value = signed.to_json()
    change(value["report"])
    forged = type(signed.report).from_json(value["report"])
    value["signature"] = STRANGER.sign("rerun", forged.canonical()).to_json()
    path = stage.root / "rerun.json"
    path.write_bytes(type(signed).from_json(value).canonical())
    with pytest.raises(IntegrityError, match=words):
        load_rerun(path, certificate=certificate)


@pytest.mark.parametrize(("signer", "words"), [(MALLORY, "another key"), (None, "bad signature")])
def test_a_report_signed_by_another_or_by_nobody_is_refused(made, signer, words):
    certificate, signed = made
    good = signed.signature
    bad = signer.sign("rerun", signed.signed_bytes()) if signer else good.model_copy(update={"value": "0" * 128})
    with pytest.raises(IntegrityError, match=words):
        check_rerun(signed.model_copy(update={"signature": bad}), "it", certificate=certificate)


def test_a_missing_report(stage, made):
    with pytest.raises(SourceError):
        load_rerun(stage.root / "none.json", certificate=made[0])
