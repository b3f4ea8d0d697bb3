"""``code:explain``: an explanation is worth what another model can make of it, and of it alone."""

from __future__ import annotations

import pytest
from code_problems import PYTHON, in_fence, tax_facts, tax_problem

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.rollouts.generators.fake import FakeGenerator, FakeReply
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.explain import (
    NEUTRAL,
    ExplainVerifier,
    explain_question,
    labelled_explanations,
    rebuilding_question,
)
from spiritsafe.tasks.families.code.rebuilder import Rebuilder
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS

GOOD = "Up to 100 cents nothing is due; above that a fifth of the amount, rounded down to whole cents."
HALF = in_fence("def tax_of(cents):\n    return 0\n")  # right for four of nine inputs: 0, 1, 100 and 50
EXAM = exam_of(tax_facts())


class Programmer:
    """Writes the right code where the explanation is good, what it likes where there is none, else nothing."""

    def __init__(self, good: str = in_fence(PYTHON), none: str = "", other: str = "") -> None:
        self.replies = {GOOD: good, "": none}
        self.other = other

    def rebuilder(self) -> Rebuilder:
        known = {digest(rebuilding_question(EXAM, words)): reply for words, reply in self.replies.items()}
        fake = FakeGenerator(lambda problem_id, _: known.get(problem_id, self.other))
        return Rebuilder("http://nowhere", "x", max_tokens=4096, opened=lambda: fake)


def judged(text: str, model: Programmer, weaker: Programmer | None = None, goal: float = 1.0) -> Verdict:
    verifier = ExplainVerifier(
        ("python",), rebuilder=model.rebuilder(), weaker=weaker and weaker.rebuilder(), goal=goal
    )
    return verifier.judge(tax_problem(task="code:explain"), text)


def test_a_good_explanation_is_right() -> None:
    verdict = judged(GOOD, Programmer())
    assert (verdict.status, verdict.score) == ("correct", 1.0)
    assert "right for 100% of the inputs, without an explanation for 0%" in verdict.reason
    assert str(verdict.sandbox).partition("+")[0] in SANDBOX_LAYERS


@pytest.mark.parametrize("text", ["It is about tax.", "Nothing is ever due."])
def test_one_that_says_too_little_is_wrong(text: str) -> None:
    assert (judged(text, Programmer()).status, judged(text, Programmer()).score) == ("wrong", 0.0)


def test_what_can_be_written_without_it_is_no_merit_of_it() -> None:
    assert judged(GOOD, Programmer(none=in_fence(PYTHON))).score == 0.0
    some = judged("Nothing is ever due.", Programmer(none=HALF, other=HALF))
    assert (some.status, some.score) == ("wrong", 0.0)
    assert judged(GOOD, Programmer(none=HALF)).status == "correct"  # it gains all that there was to gain
    part = judged(GOOD, Programmer(good=HALF))
    assert part.status == "wrong"
    assert part.score == pytest.approx(4 / 9)
    assert judged(GOOD, Programmer(good=HALF), goal=0.4).status == "correct"


def test_what_a_model_gains_that_cannot_program_shows_a_leak() -> None:
    assert judged(GOOD, Programmer(), Programmer()).score == 0.0
    assert judged(GOOD, Programmer(), Programmer(good="")).status == "correct"
    half = judged(GOOD, Programmer(), Programmer(good=HALF))
    assert half.score == pytest.approx(5 / 9)
    assert "by the weaker model 44% and 0%" in half.reason
    assert judged(GOOD, Programmer(), Programmer(good=HALF, none=HALF)).status == "correct"


def test_the_code_is_no_explanation_and_nobody_is_asked() -> None:
    def refuses(*_: object) -> str:
        raise AssertionError("asked")

    model = Rebuilder("http://nowhere", "x", max_tokens=4096, opened=lambda: FakeGenerator(refuses))
    verifier = ExplainVerifier(("python",), rebuilder=model, weaker=None, goal=1.0)
    verdict = verifier.judge(tax_problem(), in_fence(PYTHON))
    assert (verdict.status, verdict.score) == ("wrong", 0.0)
    assert "a block of code" in verdict.reason
    assert verifier.judge(tax_problem(), " \n").status == "unparsed"


def test_a_model_that_does_not_answer_leaves_it_unscored() -> None:
    task = load_task("code:explain")
    gone = FakeGenerator(lambda *_: FakeReply(finish_reason="error", error="gone"))
    model = Rebuilder("http://nowhere", "x", max_tokens=4096, opened=lambda: gone)
    task.verifier = ExplainVerifier(("python",), rebuilder=model, weaker=None, goal=1.0)
    verdict = task.grade(tax_problem(), GOOD)
    assert verdict.status == "unscored"
    assert "does not answer" in verdict.reason


def test_without_a_rebuilder_it_says_how_to_name_one() -> None:
    task = load_task("code:explain")
    (problem,) = task.problems("train", seed=0, count=1)
    with pytest.raises(TaskError, match="no model that rebuilds") as error:
        task.verifier.check_machine()
    assert "rebuilder=http" in str(error.value.hint)
    assert task.grade(problem, "It adds.").status == "unscored"
    with pytest.raises(TaskError, match="an address and a name"):
        load_task("code:explain?rebuilder=http://127.0.0.1:1/v1")


def test_the_name_of_the_function_says_nothing() -> None:
    task = load_task("code:explain?language=cobol&chosen=false")
    for problem in task.problems("train", seed=0, count=20):
        assert problem.facts["name"] == NEUTRAL
        assert "TASK-FUNCTION" in problem.messages[0].content
        exam = exam_of(problem.facts)
        assert exam.gold.rstrip() in explain_question(exam)
        assert task.gold(problem) not in problem.messages[0].content


def test_labelled_answers_are_what_they_are_called() -> None:
    by_kind = {one.kind: one for one in labelled_explanations(EXAM, GOOD)}
    model = Programmer(other=in_fence(PYTHON))
    for text in by_kind["the code itself"].texts:
        assert judged(text, model).score == 0.0
    assert judged(by_kind["gold with more words"].texts[0], model).status == "correct"
    assert not by_kind["says nothing"].is_right


def test_a_rebuilder_behind_http(fake_endpoint: object) -> None:
    def answer(body: dict[str, object]) -> str:
        (message,) = body["messages"]  # type: ignore[misc]
        asked = str(message["content"])
        return f"Here it is.\n\n{in_fence(PYTHON)}" if GOOD in asked else "I do not know."

    endpoint = fake_endpoint(answer)  # type: ignore[operator]
    task = load_task(f"code:explain?rebuilder={endpoint.url}&rebuilder_model=stranger")
    problem = Problem.from_json(tax_problem(task="code:explain").to_json())
    task.verifier.check_machine()
    assert task.grade(problem, GOOD).status == "correct"
    assert task.grade(problem, "It is about tax.").status == "wrong"
    assert len(endpoint.requests) == 3  # two explanations, and once without one
