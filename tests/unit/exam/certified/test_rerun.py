from __future__ import annotations

import json
import subprocess
import sys

import pytest
from exam_parts import Remote, Stage, ToyModel, ToyTask, make_stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError
from spiritsafe.core.records import Message
from spiritsafe.exam import PaperTerms, file_rerun, load_certificate, load_rerun, open_paper, rerun, verify
from spiritsafe.exam.records.registration import Claim
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.stats.sequential.design import StopRule

STRANGER = KeyPair.generate("Sam Stranger")


def again(stage: Stage, model: ToyModel, **options):
    return rerun(
        stage.root / "sitting" / "certificate.json",
        paper=options.pop("paper", stage.papers),
        generator=model,
        task=stage.task,
        runner=STRANGER,
        output=stage.root / "rerun.json",
        **options,
    )


def test_a_stranger_reruns_the_public_half_with_two_files(stage, tmp_path):
    stage.certificate(ToyModel(skill=0.6), num_tries=2)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "paper.json").write_bytes((stage.papers / "paper.json").read_bytes())
    model = ToyModel(skill=0.6)
    report = again(stage, model, paper=alone / "paper.json").report
    assert report.halves == ("public",)
    assert len(model.asked) == len(report.items) == 20
    assert report.agreement.value == 1.0
    assert report.difference.difference.value == 0
    assert report.difference.difference.low < 0 < report.difference.difference.high
    assert report.agrees
    assert report.same_digest
    assert report.statement.startswith("Agrees within error")
    certificate = load_certificate(stage.root / "sitting" / "certificate.json")
    assert load_rerun(stage.root / "rerun.json", certificate=certificate).report == report


def test_another_model_is_found_out(tmp_path):
    stage = make_stage(tmp_path, count=60)
    stage.certificate(ToyModel(skill=0.95))
    report = again(stage, ToyModel(skill=0.3, name="behind the endpoint", kind="remote")).report
    assert not report.agrees
    assert not report.same_digest
    assert report.statement.startswith("Does not agree")
    assert "does not name the registered weights" in report.statement
    assert report.difference.difference.high < 0
    assert report.agreement.high < 0.8


def test_the_sealed_half_needs_key_and_ledger_and_leaves_a_trace(stage):
    stage.certificate(ToyModel())
    with pytest.raises(ProcedureError, match="without a ledger"):
        again(stage, ToyModel(), examiner=stage.examiner)
    seen = []
    model = ToyModel(on_ask=lambda: seen.append(Ledger(stage.ledger.path).entries()[-1].kind))
    report = again(stage, model, examiner=stage.examiner, ledger=stage.ledger).report
    assert set(seen) == {"access"}
    assert report.halves == ("public", "sealed")
    assert len(report.items) == 20
    kinds = [entry.kind for entry in stage.ledger.entries()]
    assert kinds == ["paper", "registration", "access", "result", "access", "rerun"]
    assert stage.ledger.entries()[-1].body["agrees"] is True
    assert stage.ledger.entries()[-1].signature.key == STRANGER.public.signing
    steps = verify(stage.root / "sitting" / "certificate.json", paper=stage.papers, ledger=stage.ledger.path)
    assert all(step.ok for step in steps)  # the old certificate is as good as before
    later = stage.certificate(ToyModel(name="later"), name="later")
    assert any("rerun by Sam Stranger" in record.what for record in later.access)


def test_a_bad_certificate_is_not_rerun(stage):
    stage.certificate(ToyModel())
    path = stage.root / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"third party"', b'"self-examined"'))
    model = ToyModel()
    with pytest.raises(IntegrityError, match="Step 2"):
        again(stage, model)
    assert model.asked == []


def test_the_room_needs_no_heavy_library():
    code = "import spiritsafe.exam, sys, json; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(json.loads(out.stdout))
    assert not loaded & {"torch", "transformers", "aiohttp", "pyarrow", "scipy.stats"}


def test_a_rerun_asks_what_the_original_asked_with_its_preamble(tmp_path):
    """Looks ended the original early, an office that can open the sealed half repeats it, twins included."""

    class TwinTask(ToyTask):
        has_twins = True

    office = KeyPair.generate("Office")
    terms = PaperTerms(twins=True, recipients=[office.public])
    stage = make_stage(tmp_path, count=40, task=TwinTask(), terms=terms)
    preamble = (Message(role="system", content="Be brief."),)
    original = stage.certificate(
        ToyModel(skill=1.0),
        claim=Claim(kind="score at least", score=0.4),
        stop=StopRule(num_problems=20, num_looks=4),
        preamble=preamble,
    )
    assert original.result.not_asked
    seen = []
    again = ToyModel(skill=1.0, reply=lambda prompt, _: seen.append(prompt.messages[0]))
    signed = rerun(
        stage.root / "sitting" / "certificate.json",
        paper=stage.papers,
        generator=again,
        task=stage.task,
        runner=KeyPair.generate("Stranger"),
        output=tmp_path / "rerun.json",
        examiner=office,
        ledger=stage.ledger,
    )
    assert signed.report.halves == ("public", "sealed", "twin")
    assert len(signed.report.items) == len(original.result.outcomes)
    assert set(seen) == {preamble[0]}
    assert signed.report.agrees
    assert load_rerun(tmp_path / "rerun.json", certificate=original) == signed
    assert stage.ledger.find("access")[-1].signature.key == office.public.signing


def test_everybody_reruns_all_of_a_retired_paper_without_a_key(stage):
    certificate = stage.certificate(ToyModel(skill=0.6))
    opened = stage.root / "opened"
    open_paper(paper=stage.papers, examiner=stage.examiner, ledger=stage.ledger, reason="old", directory=opened)
    entries = len(stage.ledger.entries())
    signed = again(stage, ToyModel(skill=0.6), paper=stage.papers / "paper.json", opened=opened)
    assert signed.report.halves == ("public", "sealed")
    assert len(signed.report.items) == 20
    assert signed.report.agreement.value == 1.0
    assert load_rerun(stage.root / "rerun.json", certificate=certificate) == signed
    assert len(stage.ledger.entries()) == entries  # nobody is told what everybody has
    path = opened / "paper.json"
    path.write_bytes(path.read_bytes().replace(b"+", b"-", 1))
    with pytest.raises(IntegrityError, match="not the bank of this paper"):
        again(stage, ToyModel(skill=0.6), opened=opened)


def test_a_rerun_made_without_a_ledger_is_filed_later_and_once(stage):
    stage.certificate(ToyModel())
    path = stage.root / "sitting" / "certificate.json"
    report = again(stage, ToyModel()).report
    assert stage.ledger.find("rerun") == []

    def file(runner=STRANGER):
        return file_rerun(
            stage.root / "rerun.json", certificate=path, paper=stage.papers, ledger=stage.ledger, runner=runner
        )

    entry, signed = file()
    assert signed.report == report
    assert file()[0] == entry
    assert stage.ledger.find("rerun") == [entry]
    assert (entry.body["report"], entry.body["agrees"]) == (report.content_digest, True)
    with_ledger = again(stage, ToyModel(), ledger=stage.ledger)
    other = stage.ledger.find("rerun")[-1]
    assert entry.body.keys() == other.body.keys()
    assert other.body["report"] == with_ledger.report.content_digest
    steps = verify(path, paper=stage.papers, ledger=stage.ledger.path, reruns=[stage.root / "rerun.json"])
    assert all(step.ok for step in steps)


def test_what_does_not_hold_is_not_filed(stage):
    stage.certificate(ToyModel())
    path = stage.root / "sitting" / "certificate.json"
    again(stage, ToyModel())
    file = stage.root / "rerun.json"
    good = file.read_bytes()
    value = json.loads(good)
    value["report"]["agrees"] = False
    for data, words in ((canonical_json(value), "bad signature"), (good[:-1], "not JSON")):
        file.write_bytes(data)
        with pytest.raises(IntegrityError, match=words):
            file_rerun(file, certificate=path, paper=stage.papers, ledger=stage.ledger, runner=STRANGER)
    file.write_bytes(good)
    with pytest.raises(ProcedureError, match="made by Sam Stranger"):
        file_rerun(file, certificate=path, paper=stage.papers, ledger=stage.ledger, runner=stage.maker)
    assert stage.ledger.find("rerun") == []


def test_who_answers_nothing_is_shown_no_problem_and_no_opening_is_on_record(stage):
    stage.certificate(ToyModel())
    before = len(stage.ledger.entries())
    dead = Remote()
    dead.silent = True
    with pytest.raises(EndpointError, match="out of memory"):
        again(stage, dead, examiner=stage.examiner, ledger=stage.ledger)
    assert (dead.asked, len(stage.ledger.entries())) == ([], before)
