"""Verdicts on problems that a trainer's data set carries along, row by row.

In: a task; then rows, each with its whole problem as JSON, and what a model wrote of each. Out: one Verdict a row. So
whatever process grades needs neither the task's data nor its draw, and a problem of another task, or one that belongs
to exams, is refused and not graded. No torch, and none of the trainers is imported.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, final

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks import GraderPool, MixTask, Task, build_task, split_of

PROBLEM_COLUMN = "spiritsafe_problem"
"""The column that holds a row's whole problem, as the text of its JSON; a column ``problem`` is often another thing."""

_NO_PROBLEM = "Make the data set with spiritsafe.trl_dataset or spiritsafe.write_verl_rows, or keep what they put in."


def task_to_learn(source: Task | str) -> Task:
    """A task whose verifier can be a reward.

    Args:
        source: A task; its spec, such as ``gsm8k`` or ``math:file.jsonl``; or ``module:attribute``.

    Raises:
        TaskError: There is no such task, or it has no verifier.
        SourceError: Its data cannot be read.
    """
    task = build_task(source) if isinstance(source, str) else source
    if not task.verifies:
        raise TaskError(
            f"{task.name} has no verifier, so nothing tells a right answer from a wrong one.",
            hint="Use a task that grades: `spiritsafe tasks list`.",
        )
    return task


def drawn_problems(
    task: Task, bucket: Literal["train", "dev"], *, count: int | None, seed: int
) -> Iterator[tuple[Problem, str]]:
    """Problems to learn from, each with the text of its JSON; those of exams are not to be had.

    Raises:
        TaskError: The bucket is neither "train" nor "dev", or there are fewer problems.
    """
    for problem in task.problems(bucket, seed=seed, count=count):
        yield problem, problem.canonical().decode("utf-8")


def short_name(source: Task | str) -> str:
    """What logs call a task: its spec without knobs, in letters that every tracker takes."""
    spec = source if isinstance(source, str) else source.name
    return re.sub(r"[^\w.-]+", "_", spec.strip().partition("?")[0]).strip("_") or "task"


@final
class RowGrader:
    """Grades rows in worker processes, each answer within limits. It can be pickled: a copy starts workers of its own.

    Args:
        source: See :func:`task_to_learn`.
        num_workers: Answers graded at once; the usable CPU cores when left out.
        wall_s: Seconds that one answer may take; what takes longer is "unscored".

    Raises:
        TaskError: There is no such task, it has no verifier, or other processes cannot build it.
        SourceError: Its data cannot be read.
    """

    def __init__(self, source: Task | str, *, num_workers: int | None = None, wall_s: float = 20.0) -> None:
        self._task = task_to_learn(source)
        self._limits = (num_workers, wall_s)
        self._pool = GraderPool(self._task, num_workers=num_workers, wall_s=wall_s)
        weakref.finalize(self, _end, self._pool, os.getpid())  # trainers do not close their rewards
        self._names = {self._task.name}
        if isinstance(self._task, MixTask):
            self._names |= {part.task.name for part in self._task.parts}

    @property
    def name(self) -> str:
        """The task's canonical name."""
        return self._task.name

    def __reduce__(self) -> tuple[Callable[..., RowGrader], tuple[Any, ...]]:
        return _copy_of, (self._task.name, *self._limits)

    def grade(self, problems: Sequence[str], texts: Sequence[str]) -> list[Verdict]:
        """One verdict a row, in their order.

        Args:
            problems: The rows' problems, as JSON.
            texts: What was written of each.

        Raises:
            TaskError: A row holds no problem, one of another task, or one that belongs to exams.
        """
        known = {text: self._problem(text) for text in dict.fromkeys(problems)}  # each prompt has many answers
        return self._pool.grade_many([(known[row], text) for row, text in zip(problems, texts, strict=True)])

    def close(self) -> None:
        """End the worker processes; a later call starts new ones."""
        self._pool.close()

    def _problem(self, text: str) -> Problem:
        problem = None
        with suppress(
            SourceError, ValueError, TypeError
        ):  # an IntegrityError is a ValueError; TypeError: it is no text
            problem = Problem.from_json(parse_json(text, "it"))
        if problem is None:
            raise TaskError(f"A row's {PROBLEM_COLUMN} is none: {str(text)[:80]!r}.", hint=_NO_PROBLEM)
        if problem.task not in self._names:
            raise TaskError(
                f"A row is a problem of {problem.task}, and the reward is of {self._task.name}.",
                hint="Make data set and reward of one task.",
            )
        if split_of(problem) == "exam":
            raise TaskError(
                f"Problem {problem.id} belongs to exams: what is rewarded for it is examined on nothing.",
                hint='Draw the rows from the bucket "train" or "dev".',
            )
        return problem


def _end(pool: GraderPool, pid: int) -> None:
    """End a pool's workers; in a process that was forked from theirs they are another's."""
    if os.getpid() == pid:
        pool.close()


def _copy_of(source: str, num_workers: int | None, wall_s: float) -> RowGrader:
    return RowGrader(source, num_workers=num_workers, wall_s=wall_s)


def missing_problem(what: str) -> TaskError:
    """The error for rows that do not carry their problems."""
    return TaskError(f"{what} carries no problem to grade by.", hint=_NO_PROBLEM)
