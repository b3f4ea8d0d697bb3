from __future__ import annotations

import pytest
from exam_parts import SAMPLING, ToyModel

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Attempt, Message, Problem, Sampling
from spiritsafe.exam.records.paper import PaperProblem
from spiritsafe.exam.sitting.answers import Answer, ask, conversation, lost_answer, outcome_of, status_of

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


class Announcing(ToyModel):
    """Says when it sends; the sitting listens."""

    def generate_announced(self, prompts, sampling, before, not_asked):
        for prompt in prompts:
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                before(prompt.problem_id, index)
                one = prompt.model_copy(update={"first_sample": index, "num_samples": 1})
                yield from self.generate([one], sampling)


@pytest.mark.parametrize("kind", [Announcing, ToyModel])
def test_each_try_is_announced_before_it_leaves(stage, problems, kind):
    seen = []
    model = kind()
    place_of = {problem.problem.id: index for index, problem in problems.items()}
    model.on_ask = lambda: seen.append(("asks", len(model.asked)))
    registration = stage.register(ToyModel(), num_tries=5)
    wanted = all_tries(problems, 5)
    for _ in ask(problems, registration, wanted, model, stage.task, announce=lambda place: seen.append(place)):
        pass
    asked = [(place_of[problem_id], sample) for problem_id, sample in model.asked]
    assert sorted(asked) == wanted
    for number, place in enumerate(asked):
        assert seen.index(place) < seen.index(("asks", number))
        if kind is Announcing:  # right before; a Generator that does not say so is asked in small batches
            assert seen.index(place) == seen.index(("asks", number)) - 1
        else:
            assert seen.index(("asks", number)) - seen.index(place) <= 2 * 32


def test_tries_are_asked_in_the_order_wanted(stage, problems):
    order = sorted(problems, reverse=True)
    model = ToyModel()
    answers(stage, problems, model, [(index, sample) for index in order for sample in range(2)])
    assert [problem_id for problem_id, _ in model.asked[::2]] == [problems[index].problem.id for index in order]


SYSTEM = Message(role="system", content="Be brief.")
USER, ASSISTANT = Message(role="user", content="1+1?"), Message(role="assistant", content="2")


@pytest.mark.parametrize(
    ("preamble", "own", "expected"),
    [
        ((), (USER,), (USER,)),
        ((SYSTEM,), (USER,), (SYSTEM, USER)),
        ((USER, ASSISTANT), (USER,), (USER, ASSISTANT, USER)),
        ((USER, ASSISTANT), (SYSTEM, USER), (SYSTEM, USER, ASSISTANT, USER)),
        (
            (SYSTEM, USER, ASSISTANT),
            (Message(role="system", content="Mark it."), USER),
            (Message(role="system", content="Be brief.\n\nMark it."), USER, ASSISTANT, USER),
        ),
    ],
)
def test_a_preamble_stands_in_front_and_systems_are_one(preamble, own, expected):
    problem = Problem(task="t", canonical_text="x", messages=own)
    assert conversation(preamble, problem) == expected


def test_a_lost_answer_counts_as_an_error_and_says_so(stage, problems):
    index = min(problems)
    answer = lost_answer((index, 1), problems[index], stage.register(ToyModel()))
    outcome = outcome_of(answer, "sealed", secret=SECRET_HEX, registration=REGISTERED)
    assert (outcome.status, outcome.lost, outcome.score, outcome.num_tokens) == ("error", True, 0.0, 0)
    assert (
        "lost" not in outcome_of(answers(stage, problems)[0], "sealed", secret=SECRET_HEX, registration="r").to_json()
    )


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
