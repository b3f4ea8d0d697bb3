"""The audit passes sound tasks and names what is wrong with unsound ones."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from table_parts import write_rows

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.tasks.answers.extract import extract_answer
from spiritsafe.tasks.grading.audit import AuditReport, audit_task
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.task import Draft, Task, Verifier


@pytest.mark.parametrize("kind", ["sums", "products", "linear", "words", "countdown"])
def test_arith_passes(kind: str) -> None:
    report = audit_task(load_task(f"arith:{kind}"), count=30)
    assert report.passed, report.reasons
    assert report.gold_accepted == report.solution_accepted == report.spelled_accepted == 1.0
    assert report.floor_score <= 0.2
    assert AuditReport.from_json(report.to_json()) == report


@dataclass
class Flaw:
    """How a verifier cheats."""

    name: str
    version: str = "1"

    def __str__(self) -> str:
        return self.name


class FlawedVerifier(Verifier):
    version = "1"
    isolated = False

    def __init__(self, flaw: str) -> None:
        self.name = flaw
        self.flaw = flaw

    def judge(self, problem: Problem, text: str) -> Verdict:
        gold = str(problem.facts["answer"])
        found = extract_answer(text, "number")
        if self.flaw == "generous" and text.strip():
            return self.verdict("correct")
        if self.flaw == "empty" and not text.strip():
            return self.verdict("correct")
        if self.flaw == "strict":
            return self.verdict("correct" if text == gold else "wrong")
        if self.flaw == "fragile" and not text.strip():
            raise ValueError("empty")
        if self.flaw == "near" and found and found.value is not None and abs(found.value - int(gold)) <= 1:
            return self.verdict("correct")
        if self.flaw == "blind":
            return self.verdict("wrong")
        if found and found.text == gold:
            return self.verdict("correct", answer=found.text)
        return self.verdict("wrong")


class FlawedTask(Task):
    def __init__(self, flaw: str, *, answers: int = 1000, size: int | None = None) -> None:
        super().__init__(name=f"flawed:{flaw}", version="1", verifier=FlawedVerifier(flaw))
        self.answers, self.size, self.draws = answers, size, 0

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        self.draws += 1
        shift = self.draws * 1000 if self.verifier.name == "moody" else 0
        for index in itertools.count() if self.size is None else range(self.size):
            text = f"problem {index + shift}"
            yield Draft(text, lambda text=text, index=index: self._one(text, str(7 + index % self.answers)))

    def _one(self, text: str, answer: str) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=text,
            messages=(Message(role="user", content=text + " or so"),),
            facts={"answer": answer},
        )


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("generous", "word salad accepted"),
        ("empty", "empty accepted"),
        ("strict", "respelled gold accepted in"),
        ("fragile", "the verifier broke on empty"),
        ("near", "near miss accepted"),
        ("blind", "gold accepted in 0% of cases only"),
        ("moody", "the same seed gave other problems"),
    ],
)
def test_flaws_are_found(flaw: str, reason: str) -> None:
    report = audit_task(FlawedTask(flaw), count=20)
    assert not report.passed
    assert any(reason in found for found in report.reasons), report.reasons


def test_where_no_right_answer_is_known_none_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlawedTask, "gold", lambda self, problem: "")
    report = audit_task(FlawedTask("none"), count=20)
    assert report.reasons == ("no right answer is known, so nothing shows that right ones are accepted",)
    assert report.right_rejected == (0, 0)
    assert report.wrong_accepted[0] == 0 < report.wrong_accepted[1]


def test_a_task_with_one_answer_has_no_meaning() -> None:
    report = audit_task(FlawedTask("none", answers=1), count=20)
    assert report.floor_score == 1.0
    assert any("a trivial answer scores 100%" in reason for reason in report.reasons)


def test_a_small_task_is_audited_on_what_it_has() -> None:
    """Thirty-eight rows are a small data set, not a bad one."""
    report = audit_task(FlawedTask("none", size=50), count=100)
    assert report.passed, report.reasons
    assert 30 <= report.num_problems <= 50
    assert report.num_asked == 100
    flawed = audit_task(FlawedTask("generous", size=50), count=100)
    assert not flawed.passed
    with pytest.raises(TaskError, match="makes no problems"):
        audit_task(FlawedTask("none", size=0))


def test_of_a_handful_a_constant_answer_says_nothing() -> None:
    assert audit_task(FlawedTask("none", answers=1, size=8), count=100).passed
    assert not audit_task(FlawedTask("none", answers=1, size=50), count=100).passed


def test_a_bad_row_is_no_end_of_the_data(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(60)]
    write_rows(tmp_path / "good.jsonl", rows)
    write_rows(tmp_path / "bad.jsonl", [*rows, {"prompt": "What is this?"}])
    assert audit_task(load_task(f"math:{tmp_path / 'good.jsonl'}"), count=200).passed
    with pytest.raises(TaskError, match='row 61 has no text in the field "question"'):
        audit_task(load_task(f"math:{tmp_path / 'bad.jsonl'}"), count=200)
