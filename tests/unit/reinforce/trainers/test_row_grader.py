"""Rows carry their problems: graded by the task's own verifier, within limits, and no problem of exams among them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest
from parity_task import parity_module

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.reinforce.trainers.row_grader import RowGrader, drawn_problems, short_name, task_to_learn
from spiritsafe.tasks import bucket_of, load_task

SUMS = "arith:sums?terms=2&digits=1-2"
MIX = "mix:arith:sums?terms=2&digits=1-2|arith:products"


@pytest.fixture(scope="module")
def grader() -> Iterator[RowGrader]:
    made = RowGrader(MIX, num_workers=1)
    yield made
    made.close()


def rows(count: int, task: str = MIX) -> list[tuple[Problem, str]]:
    return list(drawn_problems(load_task(task), "train", count=count, seed=3))


def test_verdicts_are_those_of_the_task(grader: RowGrader) -> None:
    task = load_task(MIX)
    drawn = rows(6)
    problems = [text for _, text in drawn for _ in range(3)]
    texts = [reply for problem, _ in drawn for reply in (f"#### {task.gold(problem)}", "#### 1000000", "no idea")]
    verdicts = grader.grade(problems, texts)
    assert [v.status for v in verdicts] == ["correct", "wrong", "unparsed"] * 6
    assert verdicts == [task.grade(p, t) for p, t in zip([p for p, _ in drawn for _ in range(3)], texts, strict=True)]


def test_no_problem_of_exams_is_drawn_or_graded(grader: RowGrader) -> None:
    assert all(bucket_of(problem) < 80 for problem, _ in rows(200, SUMS))
    with pytest.raises(TaskError, match="not a split to study"):
        list(drawn_problems(load_task(SUMS), "exam", count=3, seed=0))  # type: ignore[arg-type]
    (problem, _), *_ = rows(1, SUMS)
    moved = next(
        changed for number in range(100)
        if bucket_of(changed := problem.model_copy(update={"canonical_text": f"{number}"})) >= 90
    )  # fmt: skip
    with pytest.raises(TaskError, match="belongs to exams"):
        grader.grade([moved.canonical().decode()], ["#### 1"])


@pytest.mark.parametrize("junk", ["", "{", "17", '{"task": "x"}', None])
def test_rows_without_a_problem_are_refused(grader: RowGrader, junk: str) -> None:
    with pytest.raises(TaskError):
        grader.grade([junk], ["#### 1"])


def test_problems_of_another_task_are_refused(grader: RowGrader) -> None:
    (_, text), *_ = rows(1, "arith:sums?terms=3&digits=1")
    with pytest.raises(TaskError, match="the reward is of mix:"):
        grader.grade([text], ["#### 1"])


def test_what_has_no_verifier_is_no_reward(tmp_path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"prompt": "Hi", "completion": "Hello"}) + "\n", "utf-8")
    with pytest.raises(TaskError, match="has no verifier"):
        task_to_learn(f"chat:{chats}")


def test_a_verifier_that_hangs_or_breaks_is_unscored_and_the_rest_is_graded() -> None:
    grader = RowGrader(parity_module(), num_workers=1, wall_s=1.0)
    drawn = list(drawn_problems(task_to_learn(parity_module()), "dev", count=1, seed=0))
    verdicts = grader.grade([drawn[0][1]] * 4, ["1234567", "hang", "123", "12"])
    assert [v.status for v in verdicts] == ["correct", "unscored", "unscored", "wrong"]
    assert "three divides it" in verdicts[2].reason
    grader.close()


def test_a_copy_from_another_process_grades_alike(grader: RowGrader) -> None:
    copy = pickle.loads(pickle.dumps(grader))
    (_, text), *_ = rows(1)
    assert copy.grade([text], ["#### 0"]) == grader.grade([text], ["#### 0"])
    copy.close()


def test_names_for_logs() -> None:
    assert [short_name(s) for s in ("gsm8k", SUMS, "math:/data/my set.jsonl?question=q")] == [
        "gsm8k", "arith_sums", "math_data_my_set.jsonl",
    ]  # fmt: skip


def test_the_package_stays_light_and_shows_them() -> None:
    code = """
import sys, spiritsafe
assert not [name for name in ("numpy", "pydantic", "torch", "trl", "verl", "datasets") if name in sys.modules]
reward = spiritsafe.as_trl_reward("arith:sums", num_workers=1)
spiritsafe.as_verl_reward, spiritsafe.trl_dataset, spiritsafe.write_verl_rows
assert {*spiritsafe.__all__} <= {*dir(spiritsafe)}
heavy = {"torch", "transformers", "trl", "verl", "datasets"} & set(sys.modules)
assert not heavy, heavy
reward.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
