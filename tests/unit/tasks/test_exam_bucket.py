"""The exam door: only exam buckets, deterministic, and not re-exported."""

import re
from pathlib import Path

import pytest

import spiritsafe.tasks
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.exam_bucket import exam_problems, exam_twins
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.splits import bucket_of


def test_only_exam_buckets_in_an_order_set_by_the_seed() -> None:
    task = load_task("arith:sums")
    drawn = list(exam_problems(task, seed=5, count=50))
    assert all(90 <= bucket_of(p) <= 99 for p in drawn)
    assert list(exam_problems(task, seed=5, count=20)) == drawn[:20]
    assert [p.id for p in exam_problems(task, seed=6, count=50)] != [p.id for p in drawn]


def test_not_reachable_from_the_room() -> None:
    assert "exam_problems" not in spiritsafe.tasks.__all__
    assert not hasattr(spiritsafe.tasks, "exam_problems")


def test_runs_dry() -> None:
    with pytest.raises(TaskError, match="problems for exam"):
        list(exam_problems(load_task("arith:sums?terms=2&digits=1"), seed=0, count=500))


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("arith:sums?terms=2-4&digits=1-3", r"\d+|[A-Z][a-z]+"),
        ("arith:products", r"\d+"),
        ("arith:linear?negative=true", r"\d+"),
        ("arith:countdown", r"\d+"),
        ("arith:words", None),
    ],
)
def test_twins_are_the_same_problem_with_new_numbers(spec: str, shape: str | None) -> None:
    task, others = load_task(spec), []
    for problem in exam_problems(task, seed=3, count=12):
        twins = list(exam_twins(task, problem, seed=9, count=3))
        assert len({problem.id, *(twin.id for twin in twins)}) == 4
        for twin in twins:
            assert 90 <= bucket_of(twin) <= 99
            assert task.grade(twin, twin.solution or "").status == "correct"
            questions = [p.messages[-1].content for p in (problem, twin)]
            assert len({len(re.findall(r"\d+", question)) for question in questions}) == 1
            if shape:  # nothing else changed
                assert len({re.sub(shape, "#", question) for question in questions}) == 1
            else:  # the story is the same: its verbs and its last question
                assert (
                    len({tuple(re.findall(r"gets|gives|buys|shares|fewer|more than|costs", q)) for q in questions}) == 1
                )
        assert list(exam_twins(task, problem, seed=9, count=2)) == twins[:2]
        others.append(list(exam_twins(task, problem, seed=10, count=3)) != twins)
    assert sum(others) > 6  # another seed, other twins, but where there are hardly any


def test_the_likest_twin_comes_first() -> None:
    task = load_task("arith:sums?terms=2&digits=1-4")
    for problem in exam_problems(task, seed=1, count=8):
        twin = next(exam_twins(task, problem, seed=2, count=1))
        digits = [[len(n) for n in re.findall(r"\d+", p.messages[-1].content)] for p in (problem, twin)]
        assert sum(abs(a - b) for a, b in zip(*digits, strict=True)) <= 1


def test_families_without_twins_say_so(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("".join(f'{{"question": "Question {n}?", "answer": "{n}"}}\n' for n in range(60)))
    task = load_task(f"math:{data}")
    problem = next(exam_problems(task, seed=0, count=1))
    with pytest.raises(TaskError, match="gave 0 of 1 twins"):
        list(exam_twins(task, problem, seed=0, count=1))
    assert list(exam_twins(task, problem, seed=0, count=0)) == []
