from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks import load_task
from spiritsafe.tasks.task import Task

ROW = {
    "task_id": "one/0",
    "prompt": 'def most(numbers: list) -> int:\n    """The largest number."""\n',
    "canonical_solution": "    return max(numbers)\n",
    "test": "def check(f):\n    assert f([1, 5]) == 5\n    assert f([2, 3, 8]) == 8\n    assert f([0]) == 0\n",
    "entry_point": "most",
}


def task_of(folder: Path, rows: list[dict[str, Any]], knobs: str = "") -> Task:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return load_task(f"programs:{path}{knobs}")


def only_problem(task: Task) -> Problem:
    (problem,) = (*task.problems("train", seed=0, count=None), *task.problems("dev", seed=0, count=None))
    return problem


LAST = "```python\ndef most(numbers):\n    return numbers[-1]\n```"
RIGHT = "```python\ndef most(numbers):\n    return sorted(numbers)[-1]\n```"


@pytest.mark.parametrize(("knobs", "status"), [("", "correct"), ("?more=0", "correct"), ("?more=8", "wrong")])
def test_more_inputs_reject_what_published_tests_let_pass(tmp_path: Path, knobs: str, status: str) -> None:
    task = task_of(tmp_path, [ROW], knobs)
    problem = only_problem(task)
    assert task.grade(problem, LAST).status == status
    assert task.grade(problem, RIGHT).status == "correct"
    assert task.grade(problem, task.gold(problem)).status == "correct"


def test_the_task_is_named_by_how_many_and_the_problem_holds_them(tmp_path: Path) -> None:
    task = task_of(tmp_path, [ROW], "?more=3")
    suite: Any = only_problem(task).facts["suite"]
    assert "more=3" in task.name
    assert len(suite["further"]["calls"]) == 3
    assert "further" not in only_problem(task_of(tmp_path, [ROW])).facts["suite"]  # type: ignore[operator]  # facts are JSON


def test_the_question_is_the_same_with_more_inputs(tmp_path: Path) -> None:
    with_more, without = (only_problem(task_of(tmp_path, [ROW], knobs)) for knobs in ("?more=3", ""))
    assert with_more.messages == without.messages


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "canonical_solution": ""},
        {"prompt": ROW["prompt"], "tests": f"{ROW['test']}\n\ncheck(most)\n", "language": "py"},
    ],
)
def test_where_nothing_tells_results_more_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match="gold"):
        only_problem(task_of(tmp_path, [row], "?more=3"))


def test_more_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="more"):
        task_of(tmp_path, [ROW], "?more=101")
