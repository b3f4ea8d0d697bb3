"""Attacks of the examinee on what grades it: two guesses in one answer, answers taken back, answers that cost hours."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spiritsafe.core.records import Problem
from spiritsafe.tasks import Verifier
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.families.math.task import MathVerifier, ValueVerifier
from spiritsafe.tasks.registry import load_task

HEDGES = [
    "#### {} | {}",
    "#### {} or {}",
    "either {} or {}",
    "#### ${}$ ${}$",
    "\\boxed{{{}}} or \\boxed{{{}}}",
    "**{}** or **{}**",
]


def status(verifier: Verifier, gold: str, text: str) -> str:
    facts = {"answer": gold, "choices": ["Paris", "London", "Rome", "Bern"]}
    return verifier.judge(Problem(task="t:t", canonical_text="x", messages=(), facts=facts), text).status


@pytest.mark.parametrize("hedge", HEDGES)
def test_two_guesses_in_one_answer(hedge: str) -> None:
    for verifier, guesses in (
        (MathVerifier(), ("8", "9")),
        (ValueVerifier(), ("8", "9")),
        (MathVerifier(), ("x+1", "x+2")),
        (LetterVerifier(), ("A", "B")),
    ):
        text = hedge.format(*guesses)
        assert [status(verifier, gold, text) for gold in guesses] == ["unparsed", "unparsed"], (verifier.name, text)


@pytest.mark.parametrize("opening", ["<think>", "<THINK>\n", "done</think><think>", "<|channel|>analysis<|message|>"])
@pytest.mark.parametrize("length", [0, 30_000])
def test_guesses_in_a_thought_that_never_ends(opening: str, length: int) -> None:
    task = load_task("arith:sums?terms=2")
    problem = next(task.problems("train", seed=0, count=1))
    thought = f"{opening}\n{'Or is it? ' * (length // 10)}\n#### {task.gold(problem)}"
    assert task.grade(problem, thought).status == "unparsed"
    assert task.grade(problem, f"{thought}\n</think>\n\n#### {task.gold(problem)}").status == "correct"
    assert task.grade(problem, f"{thought}\n</think>\n\n#### 1000").status == "wrong"


@pytest.mark.parametrize(
    "text", ["not 8", "> 8", "8 ± 100", "8 < x < 10", "8 is wrong", "The answer is not 8.", "#### 8k"]
)
def test_an_answer_that_bounds_its_value_or_takes_it_back(text: str) -> None:
    assert status(MathVerifier(), "8", text) != "correct"


def test_formulas_that_would_keep_the_grader_busy() -> None:
    towers = [r"9^{9^{9^9}}", "999999999!", "(x+1)^{100000}", r"\binom{10^8}{10^7}", "((9^{99})^{99})^{99}"]
    started = time.process_time()
    found = {status(MathVerifier(), gold, rf"\boxed{{{text}}}") for text in towers * 40 for gold in ("8", r"\sqrt{2}")}
    assert found == {"unparsed"}
    assert time.process_time() - started < 10.0  # 400 answers; each took 10 seconds of CPU, and came out unscored


def test_a_stranger_repeats_the_question_as_its_answer(tmp_path: Path) -> None:
    rows = "".join(f'{{"question": "Is it {n} or {n + 1}?", "answer": "{n}"}}\n' for n in range(10, 60))
    path = tmp_path / "rows.jsonl"
    path.write_text(rows, "utf-8")
    task = load_task(f"math:{path}")
    for problem in task.problems("train", seed=0, count=20):
        assert task.grade(problem, problem.messages[-1].content).status != "correct"
        assert task.grade(problem, task.gold(problem)).status == "correct"
