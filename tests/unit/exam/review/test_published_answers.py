from __future__ import annotations

import json

import pytest
from dispute_parts import MALLORY, ZERO, Case, make_case
from exam_parts import Stage, ToyModel, ToyTask, ToyVerifier, make_stage

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.exam import load_opened, verify
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.review import OpenedSitting
from spiritsafe.exam.review.published_answers import check_answers, regrade
from spiritsafe.exam.sitting.answers import follows
from spiritsafe.tasks import load_task


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path, num_tries=2)


def test_all_answers_open_against_the_certificate_and_are_graded_again(case):
    directory = case.open()
    path = case.publish()
    assert path.parent == directory
    opened = OpenedSitting.from_json(json.loads(path.read_bytes()))
    assert len(opened.answers) == 24
    by_hand = 0
    for outcome, answer in zip(case.certificate.result.outcomes, opened.answers, strict=True):
        value = {"salt": answer.salt, "attempt": answer.attempt, "verdict": answer.verdict}
        assert digest(value) == f"sha256:{outcome.commitment}"
        by_hand += answer.verdict["status"] == "correct"
    assert by_hand == sum(outcome.status == "correct" for outcome in case.certificate.result.outcomes)
    assert case.stage.ledger.find("answers")[0].body["answers"] == opened.content_digest
    said = case.detail("published answers", opened=directory)
    assert said == (
        "all 24 answers hash to the certificate's commitments; 24 graded again by toy/1: the same"
    )  # fmt: skip


def test_the_paper_must_be_retired_first_and_by_its_examiner(case):
    with pytest.raises(ProcedureError, match="still sealed"):
        case.publish()
    case.open()
    with pytest.raises(ProcedureError, match="was sealed by"):
        case.publish(examiner=MALLORY)
    assert case.stage.ledger.find("answers") == []


def test_published_twice_is_published_once_and_killed_it_goes_on(case, monkeypatch):
    case.open()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.exam.review.retire.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            case.publish()
    assert len(case.stage.ledger.find("answers")) == 1
    first = case.publish().read_bytes()
    assert case.publish().read_bytes() == first
    assert len(case.stage.ledger.find("answers")) == 1


def test_another_journal_is_refused(case):
    case.open()
    other = case.stage.root / "other"
    other.mkdir()
    (other / "answers.jsonl").write_bytes(b"")
    with pytest.raises(IntegrityError, match="is not the journal of this sitting"):
        case.publish(journal=other / "answers.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["answers"][5]["attempt"].update(text="The answer is 7."), "try 1 at problem 2 is not the answer"),
        (lambda v: v["answers"][5]["verdict"].update(answer="7"), "try 1 at problem 2 is not the answer"),
        (lambda v: v["answers"][5].update(salt="0" * 32), "try 1 at problem 2 is not the answer"),
        (lambda v: v["answers"].pop(5), "try 1 at problem 2 is missing"),
        (lambda v: v["answers"].reverse(), "out of order"),
        (lambda v: v.update(paper_id=ZERO), "another paper or sitting"),
    ],
)
def test_false_answers_are_found_and_named(case, change, message):
    directory = case.open()
    path = case.publish()
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical_json(value))
    name, detail = case.failure(opened=directory)
    assert name == "published answers"
    assert message in detail


def test_answers_that_the_ledger_does_not_know_are_no_publication(case, monkeypatch):
    directory = case.open()
    monkeypatch.setattr("spiritsafe.exam.review.retire.Ledger.append", lambda *_, **__: None)
    case.publish()
    assert case.failure(opened=directory)[1] == "The ledger does not say that these answers were published."


def test_answers_of_others_lie_beside_it_unread(case):
    directory = case.open()
    case.publish()
    other = json.loads(next(directory.glob("*.answers.json")).read_bytes())
    other["registration"] = ZERO
    (directory / "other.answers.json").write_bytes(canonical_json(other))
    case.detail("published answers", opened=directory)
    for path in directory.glob("*.answers.json"):
        if path.name != "other.answers.json":
            path.unlink()
    steps = [step for step in case.verify(opened=directory) if step.name == "published answers"]
    assert not steps[0].checked


class Generous(ToyVerifier):
    """Takes one wrong answer for right, as a bribed examiner's would."""

    def judge(self, problem, text):
        found = super().judge(problem, text)
        return self.verdict("correct", answer=found.answer) if found.status == "wrong" else found


def sat_with(root, verifier) -> tuple[Stage, Certificate]:
    task = ToyTask()
    task.verifier = verifier
    stage = make_stage(root, count=8, task=task)
    return stage, stage.certificate(ToyModel(skill=0.5))


def test_grades_that_the_verifier_never_gave_are_found_by_grading_again(tmp_path):
    """Everything is committed, signed and consistent; only asking the task again shows it."""
    stage, certificate = sat_with(tmp_path, Generous())
    case = Case(stage, certificate)
    directory = case.open()
    case.publish()
    assert all(step.ok for step in case.verify(opened=directory))  # by the same generous grader
    name, detail = case.failure(opened=directory, task=ToyTask())
    assert name == "published answers"
    assert "the verdict on record is 'correct', but the task's verifier says 'wrong'" in detail


class Broken(ToyVerifier):
    """Cannot grade what ends in an odd number here."""

    def judge(self, problem, text):
        found = super().judge(problem, text)
        if found.answer and int(found.answer) % 2:
            raise RuntimeError("time limit")
        return found


@pytest.mark.parametrize("then", [True, False])
def test_what_could_not_be_graded_then_or_now_is_told_and_proves_nothing(tmp_path, then):
    stage, certificate = sat_with(tmp_path, Broken() if then else ToyVerifier())
    case = Case(stage, certificate)
    directory = case.open()
    case.publish()
    other = ToyTask()
    other.verifier = ToyVerifier() if then else Broken()
    said = case.detail("published answers", opened=directory, task=other)
    assert "could not be graded then or now" in said


class Newer(ToyVerifier):
    """The toy verifier of today, which is handed answers without their thoughts."""

    version, earlier = "2", "1"


def test_a_paper_of_the_version_before_is_sat_and_graded_again_by_that_version(tmp_path):
    newer = ToyTask()
    newer.verifier = Newer()
    stage = make_stage(tmp_path, count=8, task=newer.before_thoughts())
    assert stage.paper.header.verifier == "toy/1"
    stage.task = newer
    case = Case(stage, stage.certificate(ToyModel(skill=0.5)))
    directory = case.open()
    opened = OpenedSitting.from_json(json.loads(case.publish().read_bytes()))
    assert {answer.verdict["version"] for answer in opened.answers} == {"1"}
    said = case.detail("published answers", opened=directory, task=newer)
    assert said.endswith("8 graded again by toy/1: the same")
    assert newer.verifier.version == "2"  # the caller's task is as it was


def test_a_task_that_is_not_here_is_told(case):
    directory = case.open()
    case.publish()
    said = case.detail("published answers", opened=directory, task=None)
    assert "cannot be graded again here: " in said
    assert "toy" in said
    said = case.detail("published answers", opened=directory, task=ToyTask(version="2"))
    assert "The paper was sealed with" in said


def test_an_answer_to_another_problem_is_found(case):
    directory = case.open()
    opened = OpenedSitting.from_json(json.loads(case.publish().read_bytes()))
    problems = list(load_opened(directory, paper=case.stage.paper).problems)
    assert regrade(opened, problems, case.stage.task).num_graded == 24
    problems[3], problems[4] = problems[4], problems[3]
    with pytest.raises(IntegrityError, match="problem 3: it answers another problem"):
        regrade(opened, problems, case.stage.task)


def test_a_status_that_does_not_follow_from_the_committed_verdict_is_found(case):
    """The commitment is over attempt and verdict: a certificate could still say otherwise of them."""
    case.open()
    opened = OpenedSitting.from_json(json.loads(case.publish().read_bytes()))
    outcomes = list(case.certificate.result.outcomes)
    at = next(k for k, outcome in enumerate(outcomes) if outcome.status == "wrong")
    outcomes[at] = outcomes[at].model_copy(update={"status": "correct", "score": 1.0})
    result = case.certificate.result.model_copy(update={"outcomes": tuple(outcomes)})
    forged = case.certificate.model_copy(update={"result": result})
    with pytest.raises(IntegrityError, match="does not follow from"):
        check_answers(opened, "It", certificate=forged)
    check_answers(opened, "It", certificate=case.certificate)


def test_what_an_outcome_follows_from(case):
    case.open()
    opened = OpenedSitting.from_json(json.loads(case.publish().read_bytes()))
    outcome, answer = case.certificate.result.outcomes[0], opened.answers[0]
    assert follows(outcome, answer.attempt, answer.verdict)
    for change in ({"num_tokens": 6}, {"num_prompt_tokens": 8}, {"score": 0.5}, {"status": "refused", "score": 0.0}):
        assert not follows(outcome.model_copy(update=change), answer.attempt, answer.verdict)
    refused = outcome.model_copy(update={"status": "refused", "score": 0.0})
    assert not follows(refused, answer.attempt, None)  # it was answered, and not graded
    assert follows(refused, {**answer.attempt, "finish_reason": "refused"}, None)


def test_an_exam_of_a_shipped_task_is_graded_again_by_the_installed_verifier(tmp_path):
    stage = make_stage(tmp_path, count=4, task=load_task("arith:sums?terms=2&digits=1-2"))
    case = Case(stage, stage.certificate(ToyModel()))
    directory = case.open()
    case.publish()
    steps = verify(case.path, paper=stage.papers, ledger=stage.ledger.path, opened=directory / "paper.json")
    said = next(step.detail for step in steps if step.name == "published answers")
    assert "4 graded again by" in said
