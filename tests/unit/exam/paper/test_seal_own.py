"""Papers of a task of somebody's own: sealed from its bucket, graded only where its code is vouched for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from exam_parts import make_stage
from own_task import write_own_task

from spiritsafe.core.errors import TaskError
from spiritsafe.exam.paper.files import PAPER_FILE, check_task, load_paper, task_of_paper
from spiritsafe.tasks import registry
from spiritsafe.tasks.registry import OWN_TASKS_VARIABLE, build_task


def test_whoever_grades_it_vouches_for_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_task(tmp_path, "examined_task")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    task = build_task("examined_task:make")
    stage = make_stage(tmp_path, count=12, task=task)
    paper = load_paper(stage.root / "paper" / PAPER_FILE)
    assert paper.header.task == task.name
    try:
        assert check_task(paper, task_of_paper(paper)).name == task.name  # this process was told to build it
        registry._built.clear()  # another process was not
        with pytest.raises(TaskError, match="somebody's own task, which is code") as caught:
            task_of_paper(paper)
        monkeypatch.setenv(OWN_TASKS_VARIABLE, caught.value.hint.partition(f"{OWN_TASKS_VARIABLE}=")[2].split()[0])
        assert task_of_paper(paper).name == task.name
        registry._own_module.cache_clear()
        write_own_task(tmp_path, "examined_task", "\n# another verifier\n")
        with pytest.raises(TaskError, match="is not what"):
            task_of_paper(paper)
    finally:
        registry._own_module.cache_clear()
        registry._built.clear()
        sys.modules.pop("examined_task", None)
