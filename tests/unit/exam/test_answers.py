from __future__ import annotations

import json

import pytest
from exam_parts import SAMPLING, ToyModel

from spiritsafe.core.certificates import PaperProblem
from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError
from spiritsafe.core.records import Attempt, Sampling
from spiritsafe.exam.answers import Answer, Journal, ask, outcome_of, status_of

REGISTERED = "sha256:" + "a" * 64
SECRET_HEX = "11" * 32


@pytest.fixture
def problems(stage) -> dict[int, PaperProblem]:
    return {problem.index: problem for problem in stage.paper.problems}


def all_tries(problems, num_tries=1):
    return [(index, sample) for index in sorted(problems) for sample in range(num_tries)]


def answers(stage, problems, model=None, tries=None):
    registration = stage.register(ToyModel(), num_tries=3)
    wanted = tries if tries is not None else all_tries(problems, 3)
    return list(ask(problems, registration, wanted, model or ToyModel(), stage.task))


def test_asks_exactly_what_is_wanted_in_runs(stage, problems):
    first, second, *_ = sorted(problems)
    model = ToyModel()
    wanted = [(first, 0), (first, 2), (second, 1), (second, 2)]
    found = answers(stage, problems, model, wanted)
    assert [(answer.index, answer.sample_index) for answer in found] == wanted
    assert all(answer.verdict is not None for answer in found)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (("The answer is {right}.", "stop"), "correct"),
        (("The answer is 0.", "stop"), "wrong"),
        (("No idea.", "stop"), "unparsed"),
        (("break the verifier", "stop"), "unscored"),
        (("The answer is 0", "length"), "truncated"),
        (("Well, let me", "length"), "truncated"),
        (("The answer is {right}", "length"), "correct"),
        (("break the verifier", "length"), "unscored"),
        (("I cannot help with {right}", "refused"), "refused"),
        (("", "error"), "error"),
    ],
)
def test_statuses(stage, problems, reply, status):
    gold = {problem.problem.id: problem.problem.facts["answer"] for problem in problems.values()}
    model = ToyModel(reply=lambda prompt, _: (reply[0].format(right=gold[prompt.problem_id]), reply[1]))
    (answer, *_) = answers(stage, problems, model)
    outcome = outcome_of(answer, "public", secret=SECRET_HEX, registration=REGISTERED)
    assert (status_of(answer), outcome.status) == (status, status)
    assert (outcome.score == 1.0) == (status == "correct")
    assert (outcome.num_prompt_tokens, outcome.num_tokens) == (7, 5)


def test_commitment_hides_binds_and_ignores_the_clock(stage, problems):
    (answer, *_) = answers(stage, problems)

    def commit(secret=SECRET_HEX, registration=REGISTERED, **changes):
        changed = answer.model_copy(update={"attempt": answer.attempt.model_copy(update=changes)})
        return outcome_of(changed, "public", secret=secret, registration=registration).commitment

    assert commit() == commit(seconds=99.0)
    assert (
        len({commit(), commit(text="else"), commit(secret="22" * 32), commit(registration="sha256:" + "b" * 64)}) == 4
    )


class Rude(ToyModel):
    """Breaks the protocol in one way."""

    way = ""

    def generate(self, prompts, sampling):
        attempts = list(super().generate(prompts, sampling))
        if self.way == "twice":
            attempts.insert(1, attempts[0])
        if self.way == "unknown":
            attempts[1] = attempts[1].model_copy(update={"problem_id": "sha256:0"})
        if self.way == "early":
            attempts.pop()
        if self.way == "sampling":
            attempts[1] = Attempt.from_json({**attempts[1].to_json(), "sampling": Sampling(temperature=0.1).to_json()})
        yield from attempts


@pytest.mark.parametrize(
    ("way", "message"),
    [("twice", "not asked"), ("unknown", "not asked"), ("early", "left 1 of"), ("sampling", "sample as registered")],
)
def test_a_generator_that_breaks_its_protocol(stage, problems, way, message):
    model = Rude()
    model.way = way
    with pytest.raises(EndpointError, match=message) as caught:
        answers(stage, problems, model)
    assert "kept" in caught.value.hint


def journal(stage, tmp_path, **changes) -> Journal:
    options = {"key": stage.examiner, "secret": SECRET_HEX, "registration": REGISTERED, **changes}
    return Journal(tmp_path / "answers.jsonl", **options)


def test_journal_survives_and_shows_nothing(stage, problems, tmp_path):
    found = answers(stage, problems)
    book = journal(stage, tmp_path)
    for answer in found:
        book.record(answer)
    again = journal(stage, tmp_path)
    assert list(again.answers.values()) == found
    data = (tmp_path / "answers.jsonl").read_bytes()
    assert b"answer is" not in data
    assert data.count(b"\n") == len(found)
    with pytest.raises(ProcedureError, match="twice"):
        again.record(found[0])
    assert "answer is" not in repr(found[0])


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_is_asked_again(stage, problems, tmp_path, cut):
    found = answers(stage, problems)[:3]
    book = journal(stage, tmp_path)
    for answer in found:
        book.record(answer)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = journal(stage, tmp_path)
    assert list(again.answers.values()) == found[:2]
    again.record(found[2])
    assert list(journal(stage, tmp_path).answers.values()) == found


def test_forged_doubled_and_foreign_lines_are_refused(stage, problems, tmp_path):
    found = answers(stage, problems)[:2]
    path = tmp_path / "answers.jsonl"
    book = journal(stage, tmp_path)
    book.record(found[0])
    good = path.read_bytes()
    forger = journal(stage, tmp_path, secret="33" * 32) if not good else None
    assert forger is None
    for other in (
        {"registration": "sha256:" + "b" * 64},
        {"secret": "33" * 32},
    ):  # written by someone without the secret
        with pytest.raises(IntegrityError, match="not written by this sitting"):
            journal(stage, tmp_path, **other)
    path.write_bytes(good + good)
    with pytest.raises(IntegrityError, match="not written by this sitting"):
        journal(stage, tmp_path)
    for bad in (b"{}\n", b"not json\n", json.dumps("AAAA").encode() + b"\n"):
        path.write_bytes(good + bad)
        with pytest.raises(IntegrityError):
            journal(stage, tmp_path)


def test_an_attempt_without_text_is_an_answer_too(stage, problems):
    index = min(problems)
    attempt = Attempt(
        problem_id=problems[index].problem.id,
        sample_index=0,
        model="m",
        sampling=SAMPLING,
        seed=1,
        text="",
        finish_reason="stop",
    )
    answer = Answer(index=index, sample_index=0, attempt=attempt, verdict=stage.task.grade(problems[index].problem, ""))
    assert status_of(answer) == "unparsed"
