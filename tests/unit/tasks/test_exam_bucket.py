"""The exam door: only exam buckets, deterministic, and not re-exported."""

import pytest

import spiritsafe.tasks
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.exam_bucket import exam_problems
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
