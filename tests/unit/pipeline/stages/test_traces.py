from __future__ import annotations

from pathlib import Path

import pytest
from finished_run import make_context
from pipeline_parts import context_after

from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import NullSink
from spiritsafe.pipeline.context import read_traces
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.traces import (
    cut_to_answers,
    student_traces,
    train_problems,
    worked_traces,
    write_worked_traces,
)
from spiritsafe.tasks import load_task


def test_parts_of_the_train_bucket_are_disjoint(tiny_run: Path) -> None:
    parts = {path.stem: {t.problem.id for t in read_traces(path)} for path in tiny_run.glob("stages/*-traces/*.jsonl")}
    sampled = {t.problem.id for t in read_traces(next(tiny_run.glob("stages/*-sample/traces.jsonl")))}
    assert set(parts) == {"teach", "students"}
    assert not parts["teach"] & parts["students"]
    assert not sampled & (parts["teach"] | parts["students"])


def test_only_verified_answers_are_kept(tiny_run: Path) -> None:
    for path in [*tiny_run.glob("stages/*-traces/*.jsonl"), *tiny_run.glob("stages/*-sample/traces.jsonl")]:
        for trace in read_traces(path):
            task = load_task(trace.problem.task)
            assert task.grade(trace.problem, trace.text).status == "correct"


def test_a_student_that_wants_fewer_gets_a_part_of_what_another_gets(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    many, few = (student_traces(context, ("worked", "sampled"), count) for count in (30, 7))
    assert [t.problem.id for t in few] == [t.problem.id for t in many[:7]]
    assert len(few) == 7


def test_a_longer_order_extends_a_shorter_one(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert train_problems(context, first=2, count=3) == train_problems(context, first=0, count=9)[2:5]


def test_a_task_without_worked_solutions_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "q.jsonl"
    data.write_text("".join(f'{{"question": "Say {n}.", "answer": "{n}"}}\n' for n in range(200)))
    context = make_context(tmp_path, f'task.spec="math:{data}"', "teach.problems=5", "students.0.problems=2")
    with pytest.raises(TaskError, match="worked solutions"):
        write_worked_traces(context, StageDirectory(tmp_path / "stage", {}), NullSink())


def test_a_share_of_the_solutions_can_be_cut_to_the_answer_alone(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    whole, task = worked_traces(context, "teach"), load_task(context.recipe.task.spec)
    some, same, other = (list(cut_to_answers(task, whole, 0.25, seed=seed)) for seed in (1, 1, 2))
    assert some == same != other
    changed = [(before, after) for before, after in zip(whole, some, strict=True) if before != after]
    assert len(changed) == round(0.25 * len(whole))
    for before, after in changed:
        assert (after.problem, after.text) == (before.problem, f"#### {task.gold(before.problem)}")
        assert task.grade(after.problem, after.text).status == "correct"
