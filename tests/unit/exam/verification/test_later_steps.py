from __future__ import annotations

import pytest
from dispute_parts import MALLORY, Case, make_case
from exam_parts import ToyModel, make_stage

from spiritsafe.exam import rerun
from spiritsafe.ledger import KeyPair

STRANGER = KeyPair.generate("Sam Stranger")


@pytest.fixture
def case(tmp_path) -> Case:
    return make_case(tmp_path)


def step(case: Case, name: str, **options):
    return next(step for step in case.verify(**options) if step.name == name)


# the paper in force


def test_a_paper_that_is_not_retired(case):
    assert case.detail("paper in force") == "the paper is not retired"
    assert not step(case, "paper in force", ledger=None).checked
    case.stage.ledger.append("open", {"paper_id": case.certificate.paper.paper_id}, MALLORY)
    assert case.detail("paper in force") == "the paper is not retired"


def after_retirement(tmp_path, monkeypatch, *, registered_before: bool) -> Case:
    """An examiner whose tool does not ask whether the paper is retired."""
    stage = make_stage(tmp_path, count=6)
    case = Case(stage, stage.certificate(ToyModel()))
    model = ToyModel(name="late", skill=1.0)
    registration = stage.register(model) if registered_before else None
    case.open()
    for place in ("registration.register", "sitting.sit", "sitting.session"):
        monkeypatch.setattr(f"spiritsafe.exam.{place}.check_in_force", lambda *_: None)
    case.certificate = stage.sit(model, registration or stage.register(model), "late")
    case.name = "late"
    return case


def test_a_registration_after_the_retirement_is_flagged(tmp_path, monkeypatch):
    case = after_retirement(tmp_path, monkeypatch, registered_before=False)
    name, detail = case.failure()
    assert name == "paper in force"
    assert detail.startswith("The model was registered (ledger entry 5) after the paper was retired (entry 4)")


def test_a_sitting_after_the_retirement_is_flagged(tmp_path, monkeypatch):
    case = after_retirement(tmp_path, monkeypatch, registered_before=True)
    name, detail = case.failure()
    assert name == "paper in force"
    assert detail.startswith("The paper was opened for this sitting (ledger entry 6) after the paper was retired")


def test_a_result_after_the_retirement_is_flagged(tmp_path, monkeypatch):
    """The sitting was begun before; its last answers may be from after."""
    stage = make_stage(tmp_path, count=6)
    case = Case(stage, stage.certificate(ToyModel()))
    model = ToyModel(name="late", skill=1.0)
    registration = stage.register(model)
    monkeypatch.setattr("spiritsafe.exam.review.retire._in_progress", lambda *_: None)
    monkeypatch.setattr("spiritsafe.exam.sitting.sit.check_in_force", lambda *_: None)
    model.on_ask = lambda: None if stage.ledger.find("open") else case.open()
    case.certificate, case.name = stage.sit(model, registration, "late"), "late"
    name, detail = case.failure()
    assert name == "paper in force"
    assert detail.startswith("The result came (ledger entry")


def test_the_first_sitting_stays_good(tmp_path, monkeypatch):
    case = after_retirement(tmp_path, monkeypatch, registered_before=True)
    case.name = "sitting"
    assert case.detail("paper in force").startswith("sat before the paper was retired on ")


# opened paper and published answers: their attacks are in test_opening.py and test_published.py


def test_without_an_opened_paper_the_steps_are_skipped(case):
    for name in ("opened paper", "published answers"):
        assert not step(case, name).checked
    directory = case.open()
    assert step(case, "opened paper", opened=directory / "paper.json").checked
    assert not step(case, "published answers", opened=directory / "paper.json").checked


def test_an_opened_paper_of_another_bank_in_the_ledger(case):
    entries = case.stage.ledger
    directory = case.open()
    forged = {"paper_id": case.certificate.paper.paper_id, "opened": "sha256:" + "0" * 64}
    other = type(entries)(case.stage.root / "other.jsonl")
    other.path.write_bytes(b"".join(entries.path.read_bytes().splitlines(keepends=True)[:-1]))
    other.append("open", forged, case.stage.examiner)
    name, detail = case.failure(opened=directory, ledger=other.path)
    assert (name, detail) == ("opened paper", "The ledger retired this paper with another bank.")


# re-runs


def again(case: Case, name: str, model: ToyModel, **options):
    path = case.stage.root / name
    rerun(
        case.path, paper=case.stage.papers, generator=model, task=case.stage.task, output=path,
        runner=options.pop("runner", STRANGER), **options,
    )  # fmt: skip
    return path


def test_no_re_run(case):
    assert not step(case, "re-runs").checked
    assert step(case, "re-runs").detail == "no re-run given, and none is on record"
    assert step(case, "re-runs", ledger=None).detail == "no re-run given"


def test_a_counter_signature_is_a_step_of_its_own(case):
    filed = again(case, "filed.json", ToyModel(skill=0.5), ledger=case.stage.ledger)
    alone = again(case, "alone.json", ToyModel(skill=0.5), runner=MALLORY)
    index = case.stage.ledger.find("rerun")[0].index
    said = case.detail("re-runs", reruns=[filed, alone])
    assert f"counter-signed by {STRANGER.public.label} (public). Agrees within error" in said
    assert f"(ledger entry {index})" in said
    assert f"counter-signed by {MALLORY.public.label}" in said
    assert said.endswith("(not in the ledger)")
    assert "not in the ledger" not in case.detail("re-runs", reruns=[alone], ledger=None)


def test_a_difference_on_record_is_told_though_only_agreement_is_shown(tmp_path):
    case = make_case(tmp_path, count=40)
    again(case, "bad.json", ToyModel(skill=0.0, name="other"), ledger=case.stage.ledger)
    good = again(case, "good.json", ToyModel(skill=0.5), runner=MALLORY, ledger=case.stage.ledger)
    index = case.stage.ledger.find("rerun")[0].index
    said = case.detail("re-runs", reruns=[good])
    key_id = STRANGER.public.key_id
    assert f"ledger entry {index}: a re-run by key {key_id} that does NOT agree, its report not given" in said
    for _ in range(11):
        case.stage.ledger.append("rerun", {"certificate": case.certificate.content_digest}, MALLORY)
    assert case.detail("re-runs", reruns=[good]).endswith("and 2 more re-runs on record")


def test_a_forged_report_fails_the_step(case):
    path = again(case, "rerun.json", ToyModel(skill=0.5))
    path.write_bytes(path.read_bytes().replace(b"Agrees within error", b"Agrees within ERROR"))
    name, detail = case.failure(reruns=[path])
    assert name == "re-runs"
    assert "bad signature" in detail
