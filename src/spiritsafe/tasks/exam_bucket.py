"""The only door to the exam buckets, 90 to 99. Only ``spiritsafe.exam`` may import this module: a contract checks it.

In: a task and the examiner's secret seed. Out: problems that no ``Task.problems`` call can ever yield.
"""

from __future__ import annotations

from collections.abc import Iterator

from spiritsafe.core.records import Problem
from spiritsafe.tasks.splits import SPLIT_BUCKETS
from spiritsafe.tasks.task import Task, _draw

__all__ = ["exam_problems"]


def exam_problems(task: Task, *, seed: int, count: int) -> Iterator[Problem]:
    """``count`` problems of the exam buckets, distinct by id; a longer count extends a shorter one.

    Raises:
        TaskError: The family has fewer exam problems; raised after the last one.
    """
    return _draw(task, SPLIT_BUCKETS["exam"], seed=seed, count=count, label="exam", exam=True)
