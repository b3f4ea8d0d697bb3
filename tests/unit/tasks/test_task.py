"""The Task contract: deterministic, distinct, extendable, disjoint, and a grade that never raises."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.families.arith.task import CountdownVerifier, NumberVerifier
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.families.math.task import MathVerifier, ValueVerifier
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.splits import split_of
from spiritsafe.tasks.task import Draft, Task, Verifier

SPEC = "arith:sums?terms=2-3&digits=1-2"


def test_a_longer_count_extends_a_shorter_one_and_nothing_repeats() -> None:
    task = load_task(SPEC)
    long = [p.id for p in task.problems("train", seed=7, count=300)]
    assert [p.id for p in load_task(SPEC).problems("train", seed=7, count=100)] == long[:100]
    assert len(set(long)) == 300
    assert [p.id for p in task.problems("train", seed=8, count=100)] != long[:100]


def test_splits_are_disjoint_across_seeds_and_variants() -> None:
    train = {p.canonical_text for p in load_task("arith:sums?digits=1&terms=2").problems("train", seed=1, count=60)}
    variant = load_task("arith:sums?digits=1&terms=2-3&hint=false")
    assert {split_of(p) for p in variant.problems("dev", seed=2, count=30)} == {"dev"}
    exam = list(exam_problems(variant, seed=3, count=60))
    assert {split_of(p) for p in exam} == {"exam"}
    assert not train & {p.canonical_text for p in exam}


def test_the_exam_split_has_no_door_here() -> None:
    with pytest.raises(TaskError, match="not a split to study"):
        load_task(SPEC).problems("exam", seed=0, count=1)  # type: ignore[arg-type]  # that is the point


def test_runs_dry_with_a_clear_error_after_the_last_problem() -> None:
    drawn = load_task("arith:sums?terms=2&digits=1").problems("dev", seed=0, count=1000)
    got: list[Problem] = []
    with pytest.raises(TaskError, match=r"has only \d+ problems for dev; 1000 were asked for") as caught:
        got.extend(drawn)
    assert f"only {len(got)} problems" in caught.value.message
    assert 3 <= len(got) <= 30


@pytest.mark.parametrize("bad", [{"seed": -1, "count": 1}, {"seed": 0, "count": -1}])
def test_negative_arguments(bad: dict[str, int]) -> None:
    with pytest.raises(TaskError):
        load_task(SPEC).problems("train", **bad)


def test_count_zero() -> None:
    assert list(load_task(SPEC).problems("train", seed=0, count=0)) == []


class Borrowing(Task):
    """Drafts problems of two other tasks that have the same texts."""

    def __init__(self) -> None:
        super().__init__(name="test:borrowing", version="1", verifier=load_task(SPEC).verifier)
        self.num_built = 0

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for number in itertools.count():
            for name in ("test:one", "test:two?knob=1"):
                yield Draft(f"{number}", lambda name=name, number=number: self._build(name, number), task=name)

    def _build(self, name: str, number: int) -> Problem:
        self.num_built += 1
        return Problem(task=name, canonical_text=f"{number}", messages=())


def test_a_draft_of_another_task_has_that_tasks_bucket_and_identity() -> None:
    task = Borrowing()
    problems = list(task.problems("dev", seed=0, count=40))
    assert {split_of(problem) for problem in problems} == {"dev"}
    assert {problem.task for problem in problems} == {"test:one", "test:two?knob=1"}
    assert len({problem.id for problem in problems}) == 40
    assert task.num_built == 40  # only what was taken is built
    assert {problem.canonical_text for problem in problems if problem.task == "test:one"} != {
        problem.canonical_text for problem in problems if problem.task != "test:one"
    }


class Breaking(Verifier):
    name = "breaking"
    version = "3"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        raise RecursionError("deep")


class Tiny(Task):
    def __init__(self) -> None:
        super().__init__(name="tiny:one", version="1", verifier=Breaking())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for index in itertools.count():
            text = f"{exam} {index}"
            yield Draft(
                text, lambda text=text: Problem(task=self.name, canonical_text=text, messages=(), facts={"answer": "1"})
            )


def test_a_broken_verifier_is_unscored_and_says_why() -> None:
    task = Tiny()
    problem = next(task.problems("train", seed=0, count=1))
    verdict = task.grade(problem, "1")
    assert (verdict.status, verdict.score, verdict.verifier, verdict.version) == ("unscored", 0.0, "breaking", "3")
    assert verdict.reason == "RecursionError: deep"
    assert task.gold(problem) == "1"


def test_verdicts_are_bounded_in_size() -> None:
    verdict = Breaking().verdict("wrong", answer="9" * 10_000, reason="r" * 10_000)
    assert len(verdict.answer or "") == 500
    assert len(verdict.reason) == 300


def test_exam_problems_come_from_the_exam_source() -> None:
    assert all(p.canonical_text.startswith("True") for p in exam_problems(Tiny(), seed=0, count=5))
    assert all(p.canonical_text.startswith("False") for p in Tiny().problems("train", seed=0, count=5))


# ---- thoughts

LONG = "So 8 is it, or not. " * 3000  # more than graders look at
RIGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "arith": ("#### 8", {"answer": "8"}),
    "countdown": ("#### 5 + 3", {"numbers": [5, 3], "target": 8}),
    "math": ("#### 8", {"answer": "8"}),
    "math words": ("#### no solution", {"answer": "no solution"}),
    "number": ("#### 8", {"answer": "8"}),
    "choice": ("#### B", {"answer": "B", "choices": ["3", "8"]}),
    "gym": ("", {}),
    "anything": ("#### 8", {"answer": "8"}),
}


class Anything(Verifier):
    """A stranger's: whatever is said, silence too, is right; unless it says 3."""

    name, version, isolated = "anything", "1", False

    def judge(self, problem: Problem, text: str) -> Verdict:
        return self.verdict("wrong" if "3" in text else "correct", answer=text)


class OnlyGrades(Task):
    def __init__(self, verifier: Verifier) -> None:
        super().__init__(name="only:grades", version="1", verifier=verifier)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        return iter(())


def grader(kind: str) -> Task:
    if kind == "gym":
        pytest.importorskip("reasoning_gym")
        return load_task("gym:chain_sum")
    kinds: dict[str, Callable[[], Verifier]] = {
        "arith": NumberVerifier,
        "countdown": CountdownVerifier,
        "math": MathVerifier,
        "math words": MathVerifier,
        "number": ValueVerifier,
        "choice": LetterVerifier,
        "anything": Anything,
    }
    return OnlyGrades(kinds[kind]())


HARMONY = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{right}", "correct"),
        ("<think>\n{other}\n</think>\n\n{right}", "correct"),
        ("{other}\n</think>\n\n{right}", "correct"),  # the prompt's template opened it
        ("<think>{other}</think>{other}<think>{other}</think>{right}", "correct"),
        ("<think>{other}<think>{other}</think>{right}", "correct"),
        ("<think>{other}</think></think>{right}", "correct"),
        ("<THINK>\n{other}\n</THINK>\n\n{right}", "correct"),
        ("{analysis}{other}{final}{right}", "correct"),
        ("<think>\n{long}\n</think>\n\n{right}", "correct"),
        ("<think>\n{right}", "unparsed"),
        ("<Think>\n{right}", "unparsed"),
        ("<think>\n{right}\n{long}\n{right}", "unparsed"),
        ("<think>{other}</think><think>{right}", "unparsed"),
        ("{right}<think>", "unparsed"),
        ("{analysis}{right}", "unparsed"),
        ("<think>{right}</think>", "unparsed"),
    ],
)
def test_only_what_stands_behind_the_thought_is_graded(kind: str, form: str, expected: str) -> None:
    task, (right, facts) = grader(kind), RIGHT[kind]
    problem = Problem(task="t", canonical_text="q", messages=(Message(role="user", content="q"),), facts=facts)
    if kind == "gym":
        problem = next(task.problems("train", seed=0, count=1))
        right = f"#### {task.gold(problem)}"
    other = "#### A" if kind == "choice" else "#### 5 - 3" if kind == "countdown" else "#### 3"
    text = form.format(right=right, other=other, long=LONG, analysis=HARMONY[0], final=HARMONY[1])
    verdict = task.grade(problem, text)
    if kind == "anything" and form == "<think>{right}</think>":
        expected = "correct"  # its thought ended: what it makes of silence is its own affair
    assert verdict.status == expected, (kind, form, verdict)


def test_an_earlier_version_grades_as_it_did_then() -> None:
    problem = Problem(
        task="t", canonical_text="q", messages=(Message(role="user", content="q"),), facts={"answer": "8"}
    )
    now = OnlyGrades(NumberVerifier())
    then = now.before_thoughts()
    assert (now.verifier.version, then.verifier.version) == ("2", "1")
    for text, before in ((f"<think>{LONG}", "correct"), ("<think>8", "unparsed"), ("a</think>8", "correct")):
        verdict = then.grade(problem, text)
        assert (verdict.status, verdict.version) == (before, "1")
    assert now.grade(problem, f"<think>{LONG}").status == "unparsed"
    strange = OnlyGrades(Anything())
    assert strange.before_thoughts().verifier is strange.verifier  # it never had another


def test_a_mix_goes_back_as_a_whole() -> None:
    mixed = load_task("mix:arith:countdown|arith:sums")
    then = mixed.before_thoughts()
    assert mixed.verifier.version == "1:arith.countdown/2,arith.number/2"
    assert then.verifier.version == "1:arith.countdown/1,arith.number/1"
    problem = next(p for p in mixed.problems("train", seed=0, count=9) if p.task.startswith("arith:sums"))
    thought = f"<think>{LONG}{mixed.gold(problem)}"
    assert (then.grade(problem, thought).status, mixed.grade(problem, thought).status) == ("correct", "unparsed")


def test_all_problems_are_asked_of_data_only(tmp_path: Path) -> None:
    for spec in (SPEC, f"mix:{SPEC}|arith:products"):
        with pytest.raises(TaskError, match="without end") as caught:
            load_task(spec).problems("train", seed=0, count=None)
        assert "how many" in caught.value.hint
        with pytest.raises(TaskError, match="without end"):
            load_task(spec).sizes()
    rows = [{"question": f"What is {n % 50} + 1?", "answer": str(n % 50 + 1)} for n in range(70)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(f"math:{tmp_path}/a.jsonl")
    sizes = task.sizes()
    assert sum(sizes.values()) == 50
    for split in ("train", "dev"):
        found = list(task.problems(split, seed=1, count=None))
        assert len(found) == sizes[split]
        assert found == list(task.problems(split, seed=1, count=sizes[split]))
    assert len(list(exam_problems(task, seed=0, count=sizes["exam"]))) == sizes["exam"]


def test_duplicates_without_end_do_not_end_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"question": f"What is {n // 300} + 1?", "answer": "1"} for n in range(3000)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(f"math:{tmp_path}/a.jsonl")
    monkeypatch.setattr(task, "patience", 1)
    assert len(list(task.problems("train", seed=0, count=None))) == task.sizes()["train"]
