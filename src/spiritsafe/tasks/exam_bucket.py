"""The only door to the exam buckets, 90 to 99. Only ``spiritsafe.exam`` may import this module: a contract checks it.

In: a task and the examiner's secret seed. Out: problems that no ``Task.problems`` call can ever yield, and their twins:
the same problems with new numbers and names.
"""

from __future__ import annotations

from collections.abc import Iterator

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.splits import SPLIT_BUCKETS, bucket_of_text
from spiritsafe.tasks.task import Task, _draw


def exam_problems(task: Task, *, seed: int, count: int) -> Iterator[Problem]:
    """``count`` problems of the exam buckets, distinct by id; a longer count extends a shorter one.

    Raises:
        TaskError: The family has fewer exam problems; raised after the last one.
    """
    return _draw(task, SPLIT_BUCKETS["exam"], seed=seed, count=count, label="exam", exam=True)


def exam_twins(task: Task, problem: Problem, *, seed: int, count: int) -> Iterator[Problem]:
    """``count`` twins of a problem, of the exam buckets too, distinct from it and from each other, likest first.

    Raises:
        TaskError: The task makes no twins, or too few of this problem; the problem is not shown.
    """
    seen = {problem.canonical_text}
    misses = 0
    for draft in task._twins(problem, seed) if count else ():
        text = draft.canonical_text
        if text in seen or bucket_of_text(task.name, text) not in SPLIT_BUCKETS["exam"]:
            misses += 1
            if misses >= task.patience:
                break
            continue
        seen.add(text)
        misses = 0
        yield draft.build()
        if len(seen) > count:
            return
    if len(seen) <= count:
        raise TaskError(
            f"{task.name} gave {len(seen) - 1} of {count} twins of a problem.",
            hint="Leave twins out, or widen the task's knobs; arith tasks make them.",
        )
