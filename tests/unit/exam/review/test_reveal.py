from __future__ import annotations

import json

import pytest
from exam_parts import ToyModel

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.exam import load_revealed, reveal
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.sitting.answers import answer_salt
from spiritsafe.ledger import KeyPair


@pytest.fixture
def certificate(stage):
    return stage.certificate(ToyModel(skill=0.5), num_tries=2)


def sealed_place(certificate) -> int:
    return next(o.index for o in certificate.result.outcomes if o.half == "sealed")


def open_one(stage, certificate, index, sample=0, **changes):
    options = {
        "paper": stage.papers,
        "registration": certificate.registration,
        "journal": stage.root / "sitting" / "answers.jsonl",
        "examiner": stage.examiner,
        "ledger": stage.ledger,
        "index": index,
        "sample_index": sample,
        "reason": "the grade is disputed",
        "output": stage.root / "opened.json",
        **changes,
    }
    return reveal(**options)


def test_one_answer_opens_against_both_commitments(stage, certificate):
    index = sealed_place(certificate)
    revealed = open_one(stage, certificate, index, 1)
    outcome = next(o for o in certificate.result.outcomes if (o.index, o.sample_index) == (index, 1))
    value = {"salt": revealed.salt, "attempt": revealed.attempt, "verdict": revealed.verdict}
    assert digest(value) == f"sha256:{outcome.commitment}"
    assert digest(revealed.problem.to_json()) == f"sha256:{stage.paper.commitments[index]}"
    assert load_revealed(stage.root / "opened.json", certificate=certificate, paper=stage.paper) == revealed
    assert "Plaintext marker" in revealed.problem.problem.messages[0].content
    assert revealed.verdict["status"] in ("correct", "wrong")
    entry = stage.ledger.find("reveal")[0]
    assert entry.body["places"] == [index]
    assert entry.body["revealed"] == revealed.content_digest
    assert "marker" not in json.dumps(entry.body)
    stage.check(revealed=[stage.root / "opened.json"])


def test_nothing_else_is_opened(stage, certificate):
    revealed = open_one(stage, certificate, sealed_place(certificate))
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    data = revealed.canonical()
    others = [p for p in sealed.problems if p.index != revealed.problem.index]
    assert sealed.secret.encode() not in data
    assert not any(p.salt.encode() in data or p.problem.canonical_text.encode() in data for p in others)
    salts = {
        answer_salt(sealed.secret, certificate.result.registration, (o.index, o.sample_index))
        for o in certificate.result.outcomes
    }
    assert len(salts) == 40
    assert sum(salt.encode() in data for salt in salts) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["verdict"].update(status="correct", score=1), "answer and verdict"),
        (lambda v: v["attempt"].update(text="something better"), "answer and verdict"),
        (lambda v: v.update(salt="0" * 32), "answer and verdict"),
        (lambda v: v.update(sample_index=1), "answer and verdict"),
        (lambda v: v.update(sample_index=7), "does not list"),
        (lambda v: v["problem"]["problem"]["facts"].update(answer=0), "the problem that the paper"),
        (lambda v: v.update(registration="sha256:" + "0" * 64), "another sitting"),
        (lambda v: v.update(paper_id="sha256:" + "0" * 64), "another paper"),
    ],
)
def test_a_false_opening_is_found(stage, certificate, change, message):
    index = next(
        o.index for o in certificate.result.outcomes if (o.half, o.sample_index, o.status) == ("sealed", 0, "wrong")
    )
    value = open_one(stage, certificate, index).to_json()
    change(value)
    path = stage.root / "forged.json"
    path.write_bytes(canonical_json(value))
    with pytest.raises(IntegrityError, match=message):
        load_revealed(path, certificate=certificate, paper=stage.paper)
    bad = [step.name for step in stage.verify(revealed=[path]) if not step.ok and step.checked]
    assert bad == ["revealed answers"]


def test_only_after_the_result_and_only_what_was_asked(stage, certificate):
    open_registration = stage.register(ToyModel(name="later"))
    with pytest.raises(ProcedureError, match="has not ended"):
        open_one(stage, certificate, 0, registration=open_registration)
    for index, sample in ((99, 0), (0, 2)):
        with pytest.raises(ProcedureError, match="was not asked"):
            open_one(stage, certificate, index, sample)
    with pytest.raises(IntegrityError):
        open_one(stage, certificate, 0, examiner=KeyPair.generate("Mallory"))
    assert stage.ledger.find("reveal") == []
