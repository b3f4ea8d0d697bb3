from __future__ import annotations

import json
import subprocess
import sys

import pytest
from dispute_parts import MALLORY, Case, make_case
from exam_parts import ToyModel, ToyTask, make_stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, ProcedureError, StorageError
from spiritsafe.exam import PaperLog, PaperTerms, exposures, load_opened, load_private, sign_off, withdraw
from spiritsafe.exam.entries.exposure import EVERYBODY
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.review import OpenedPaper
from spiritsafe.exam.review.retire import check_opened
from spiritsafe.ledger import KeyPair, root_of_leaves


@pytest.fixture
def case(tmp_path) -> Case:
    return make_case(tmp_path)


def test_the_whole_bank_hashes_to_the_root_that_was_committed_to(case):
    directory = case.open()
    opened = OpenedPaper.from_json(json.loads((directory / "paper.json").read_bytes()))
    leaves = [bytes.fromhex(problem.commitment) for problem in opened.problems]
    assert root_of_leaves(leaves).hex() == case.certificate.paper.bank_root
    assert [problem.index for problem in opened.problems] == list(range(12))
    assert all("answer" in problem.problem.facts for problem in opened.problems)
    assert load_opened(directory, paper=case.stage.paper) == opened
    entry = case.stage.ledger.find("open")[0]
    assert entry.body["opened"] == opened.content_digest
    assert entry.body["reason"] == "after a year"
    sealed = open_sealed(case.stage.papers, case.stage.paper, case.stage.examiner)
    assert sealed.secret not in (directory / "paper.json").read_text()
    assert case.detail("opened paper", opened=directory) == "all 12 problems hash to the bank's root"
    assert "sat before the paper was retired" in case.detail("paper in force")


def test_everybody_has_all_of_it_from_then_on(case):
    header = case.stage.paper.header

    def sealed_for_everybody() -> int:
        records = exposures(PaperLog(case.stage.ledger.entries(), header))
        return sum(record.party == EVERYBODY and record.half == "sealed" for record in records)

    assert sealed_for_everybody() == 0
    case.open()
    assert sealed_for_everybody() == header.num_sealed
    assert {r.index for r in exposures(PaperLog(case.stage.ledger.entries(), header)) if r.party == EVERYBODY} == set(
        range(12)
    )


def test_twins_and_strata_are_opened_too(tmp_path):
    class TwinTask(ToyTask):
        has_twins = True

    stage = make_stage(tmp_path / "twins", count=6, task=TwinTask(), terms=PaperTerms(twins=True))
    directory = Case(stage, stage.certificate(ToyModel())).open()
    assert len(load_opened(directory, paper=stage.paper).problems) == 12
    path = tmp_path / "bank.jsonl"
    rows = [{"family": "number", "question": f"{k}?", "answer": str(k), "stratum": "ab"[k % 2]} for k in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)))
    ann = KeyPair.generate("Ann")
    sign_off(path, name="b", reviewer=ann, output=path)
    stage = make_stage(
        tmp_path / "private", count=8, task=load_private(path, name="b"),
        terms=PaperTerms(reviewers=[ann.public], num_signoffs=1),
    )  # fmt: skip
    case = Case(stage, stage.certificate(ToyModel()))
    opened = load_opened(case.open(), paper=stage.paper)
    assert [problem.stratum for problem in opened.problems] == ["a/number"] * 4 + ["b/number"] * 4
    # a sign-off that is missing in the sealed half shows as soon as it is open
    first = next(p for p in opened.problems if p.index not in {q.index for q in stage.paper.problems})
    bare = first.model_copy(update={"signoffs": ()})
    problems = tuple(bare if p.index == first.index else p for p in opened.problems)
    with pytest.raises(IntegrityError, match=f"Problem {first.index} is not the one"):
        check_opened(opened.model_copy(update={"problems": problems}), "It", public=stage.paper)


def test_nobody_registers_or_sits_afterwards(case):
    waiting = case.stage.register(ToyModel(name="waiting"))
    case.open()
    model = ToyModel(name="late")
    with pytest.raises(ProcedureError, match="was retired on"):
        case.stage.register(model)
    asked = ToyModel(name="waiting")
    with pytest.raises(ProcedureError, match="was retired on"):
        case.stage.sit(asked, waiting, "waiting")
    assert asked.asked == []
    assert not case.stage.ledger.find("registration", model_name="late")
    # what ended before can be had again
    assert case.stage.sit(ToyModel(skill=0.5), case.certificate.registration) == case.certificate


def test_a_retirement_between_the_check_and_the_first_question_stops_the_sitting(case):
    stage = case.stage
    registration = stage.register(ToyModel(name="slow", kind="remote"))

    class Slow(ToyModel):
        def generate(self, prompts, sampling):
            if prompts[0].problem_id.startswith("probe-"):
                case.open()  # while the endpoint is tried out, before the paper is opened for it
            return super().generate(prompts, sampling)

    model = Slow(name="slow", kind="remote")
    with pytest.raises(ProcedureError, match="was retired on"):
        stage.sit(model, registration, "slow")
    assert not stage.ledger.find("access", registration=registration.content_digest)
    assert [name for name, _ in model.asked if not name.startswith("probe-")] == []


def test_a_sitting_in_progress_refuses_the_retirement(case):
    stage = case.stage
    model = ToyModel(name="stopped")

    def stop() -> None:
        if len(model.asked) == 3:
            raise KeyboardInterrupt

    model.on_ask = stop
    registration = stage.register(model)
    with pytest.raises(KeyboardInterrupt):
        stage.sit(model, registration, "stopped")
    with pytest.raises(ProcedureError, match='"stopped" is sitting this paper'):
        case.open()
    assert stage.ledger.find("open") == []
    assert not (stage.root / "opened" / "paper.json").exists()
    withdraw(ledger=stage.ledger, paper=stage.paper, registration=registration, maker=stage.maker, reason="gave up")
    case.open()


def test_nonsense_in_the_ledger_does_not_keep_a_paper_from_its_retirement(case):
    digest = case.certificate.registration.content_digest
    body = {"paper_id": case.certificate.paper.paper_id, "digest": digest, "registration": {"model_name": 5}}
    case.stage.ledger.append("registration", body, MALLORY)
    case.open()


def test_a_second_retirement_changes_nothing(case):
    first = (case.open() / "paper.json").read_bytes()
    entries = case.stage.ledger.entries()
    assert (case.open(reason="another reason") / "paper.json").read_bytes() == first
    assert case.stage.ledger.entries() == entries


def test_killed_between_ledger_and_file_it_goes_on(case, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.exam.review.retire.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            case.open()
    assert len(case.stage.ledger.find("open")) == 1  # the ledger first
    directory = case.stage.root / "opened"
    assert not (directory / "paper.json").exists()
    case.open()
    assert len(case.stage.ledger.find("open")) == 1
    case.detail("opened paper", opened=directory)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_for_good_at_either_side_of_the_entry(case, moment):
    """SIGKILL in a process of its own, the same call goes on."""
    key = case.stage.root / "examiner.key"
    case.stage.examiner.save(key)
    program = f"""
import os, signal
from pathlib import Path
from spiritsafe.exam import open_paper
from spiritsafe.ledger import KeyPair, Ledger
root = Path({str(case.stage.root)!r})
class Killed(Ledger): pass
ledger = Ledger(root / "ledger.jsonl")
append = Ledger.append
def patched(self, *a, **k):
    if {moment!r} == "after": append(self, *a, **k)
    os.kill(os.getpid(), signal.SIGKILL)
Ledger.append = patched
open_paper(paper=root / "paper", examiner=KeyPair.load(root / "examiner.key"), ledger=ledger, reason="r",
           directory=root / "opened")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -9, done.stderr
    assert not (case.stage.root / "opened" / "paper.json").exists()
    assert len(case.stage.ledger.find("open")) == (moment == "after")
    case.detail("opened paper", opened=case.open())
    assert len(case.stage.ledger.find("open")) == 1


def test_only_who_sealed_it_and_nowhere_else(case, tmp_path):
    with pytest.raises(ProcedureError, match="was sealed by"):
        case.open(examiner=MALLORY)
    with pytest.raises(ProcedureError, match="is something else"):
        case.open(directory=case.stage.papers)  # the sealed paper's own file stays
    assert case.stage.ledger.find("open") == []
    occupied = tmp_path / "a file"
    occupied.write_text("x")
    with pytest.raises(StorageError):
        case.open(directory=occupied)
    assert case.stage.ledger.find("open") == []


def test_a_recipient_cannot_retire(tmp_path):
    office = KeyPair.generate("Office")
    stage = make_stage(tmp_path, count=4, terms=PaperTerms(recipients=[office.public]))
    with pytest.raises(ProcedureError, match="was sealed by"):
        Case(stage, stage.certificate(ToyModel())).open(examiner=office)


def test_another_bank_in_the_ledger_is_found(case):
    body = {"paper_id": case.certificate.paper.paper_id, "opened": "sha256:" + "0" * 64}
    case.stage.ledger.append("open", body, case.stage.examiner)
    with pytest.raises(IntegrityError, match="with another bank"):
        case.open()


# an opened paper that is not the paper's


def swapped(value):
    first, second = value["problems"][3]["problem"], value["problems"][5]["problem"]
    value["problems"][3]["problem"], value["problems"][5]["problem"] = second, first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swapped, "Problem 3 is not the one committed to"),
        (lambda v: v["problems"][4]["problem"]["facts"].update(answer=0), "Problem 4 is not the one committed to"),
        (lambda v: v["problems"][4].update(salt="0" * 32), "Problem 4 is not the one committed to"),
        (lambda v: v["problems"].pop(2), "leaves out problem 2"),
        (lambda v: v["problems"].reverse(), "not in the bank's order"),
        (lambda v: v["header"].update(task_version="2"), "is of another paper"),
    ],
)
def test_a_false_opening_is_found_and_the_problem_named(case, change, message):
    path = case.open() / "paper.json"
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical_json(value))
    with pytest.raises(IntegrityError, match=message):
        load_opened(path, paper=case.stage.paper)
    name, detail = case.failure(opened=path)
    assert name == "opened paper"
    assert message in detail


def test_a_bank_that_leaked_is_no_retirement(case, tmp_path):
    """An opened paper that the ledger does not know of is not taken for one."""
    stage = case.stage
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    problems = tuple(sorted((*stage.paper.problems, *sealed.problems), key=lambda problem: problem.index))
    path = tmp_path / "leaked.json"
    path.write_bytes(OpenedPaper(header=stage.paper.header, problems=problems).canonical())
    name, detail = case.failure(opened=path)
    assert (name, detail) == ("opened paper", "The ledger does not say that this paper was retired.")
    assert all(step.ok for step in case.verify(opened=path, ledger=None))  # which only the ledger can tell
