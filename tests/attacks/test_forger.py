"""Whoever signs with the wrong key, or uses a good signature for another purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from attack_parts import MALLORY, caught, exam, passes
from exam_parts import Forger, ToyModel, make_stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.exam import rerun, trust_page
from spiritsafe.ledger import KeyPair, NoteKey, head_of, sign_head

SAM = KeyPair.generate("Sam Stranger")


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def test_a_certificate_signed_by_another_key(forger: Forger) -> None:
    examiner, forger.stage.examiner = forger.stage.examiner, MALLORY
    forger.write(forger.value)
    caught(forger.verify(), "certificate signatures", "not the examiner's and the host's")
    assert examiner.public == forger.certificate.paper.examiner


def test_a_signature_under_the_examiners_name_that_another_key_made(forger: Forger) -> None:
    value = forger.value
    unsigned = canonical_json({key: item for key, item in value.items() if key != "signatures"})
    made = MALLORY.sign("certificate", unsigned).to_json()
    value["signatures"] = [{**made, "key": forger.certificate.paper.examiner.signing}]
    (forger.stage.root / "sitting" / "certificate.json").write_bytes(canonical_json(value))
    caught(forger.verify(), "certificate signatures", "is not over this certificate")


def test_the_examiners_signature_made_for_something_else(forger: Forger) -> None:
    """The same bytes, signed as a ledger entry: what a signature is for is part of what is signed."""
    value = forger.value
    unsigned = canonical_json({key: item for key, item in value.items() if key != "signatures"})
    value["signatures"] = [forger.stage.examiner.sign("ledger-entry", unsigned).to_json()]
    (forger.stage.root / "sitting" / "certificate.json").write_bytes(canonical_json(value))
    caught(forger.verify(), "certificate signatures", "is not over this certificate")


def test_an_examiner_who_is_nobody(tmp_path: Path) -> None:
    """Mallory plays a whole exam by the rules; only that you do not trust that key stands against it."""
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(ToyModel(skill=1.0))
    passes(stage.verify())
    assert trust_page(certificate, stage.verify()).of("examiner").state == "not checked here"
    caught(stage.verify(trusted_keys=[SAM.public.key_id]), "trusted keys", "is not one you trust")


def test_one_person_with_two_keys_and_two_names_passes_and_the_page_says_so(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)  # nothing tells Mary from Eve
    certificate = stage.certificate(ToyModel())
    assert certificate.separation == "third party"
    found = trust_page(certificate, stage.verify()).of("separate keys")
    assert found.state == "holds"
    assert "several keys under several names" in found.cheat
    assert any("no mathematics proves it" in statement for statement in certificate.statements)


def test_one_key_or_one_name_for_maker_and_examiner(tmp_path: Path) -> None:
    certificate = make_stage(tmp_path, count=8, one_key=True).certificate(ToyModel())
    assert certificate.separation == "self-examined"
    assert certificate.statements[0].startswith("Self-examined: ")


def test_a_rerun_that_was_forged(forger: Forger, tmp_path: Path) -> None:
    stage, path = forger.stage, tmp_path / "rerun.json"
    signed = rerun(
        stage.root / "sitting" / "certificate.json",
        paper=stage.papers,
        generator=ToyModel(),
        task=stage.task,
        runner=SAM,
        output=path,
    )
    passes(forger.verify(reruns=[path]))
    path.write_bytes(signed.model_copy(update={"signature": MALLORY.sign("rerun", signed.signed_bytes())}).canonical())
    caught(forger.verify(reruns=[path]), "re-runs", "signed by another key than its runner's")
    some = [item for item in signed.report.items if item.status == item.original][:-1]
    picked = signed.report.model_copy(update={"items": tuple(some)})
    forged = signed.model_copy(update={"report": picked, "signature": SAM.sign("rerun", picked.canonical())})
    path.write_bytes(forged.canonical())
    caught(forger.verify(reruns=[path]), "re-runs", "leaves out tries that it must ask again")


def test_a_checkpoint_that_no_witness_signed(forger: Forger, tmp_path: Path) -> None:
    head = head_of(forger.stage.ledger)
    path = tmp_path / "checkpoint.txt"
    path.write_text(str(sign_head(head, MALLORY)))
    wanted = str(NoteKey.of_witness(SAM.public.signing))
    steps = forger.verify(witnesses=[path], witness_keys=[wanted])
    caught(steps, "witnessed heads", "is signed by none of the witness keys given")
