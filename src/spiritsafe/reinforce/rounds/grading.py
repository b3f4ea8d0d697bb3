"""Verdicts on attempts while further attempts are still being drawn.

In: attempts, one at a time, as they finish. Out: a verdict for each. A thread hands all that wait to the grader at
once, whenever it is free; so a grader with processes of its own always has work, and one without costs a little of the
time in which the engine waits for its device.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self, final

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Attempt, Problem, Verdict
from spiritsafe.rollouts import Grader, grade_attempt

_Pair = tuple[Problem, Attempt]


class ManyGrader(Protocol):
    """Grades many texts at a time, in processes of its own or elsewhere."""

    def grade_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Verdicts in the order of the pairs; never raises for what a text or a verifier does."""
        ...


@final
class Grading:
    """One draw's grading; use it as a context manager.

    Args:
        task: Whose verifier it is; grades one text at a time where there is no ``graders``.
    """

    def __init__(self, task: Grader, graders: ManyGrader | None = None) -> None:
        self._task = task
        self._graders = graders
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spiritsafe-grading")
        self._waiting: list[_Pair] = []
        self._batches: list[Future[list[tuple[Attempt, Verdict]]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, problem: Problem, attempt: Attempt) -> None:
        """Have an attempt graded; returns at once."""
        self._waiting.append((problem, attempt))
        if not self._batches or self._batches[-1].done():
            self._send()

    def finish(self) -> list[tuple[Attempt, Verdict]]:
        """All attempts so far with their verdicts, in the order in which they were added; waits for them."""
        if self._waiting:
            self._send()
        graded = [pair for batch in self._batches for pair in batch.result()]
        self._batches = []
        return graded

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.append(self._thread.submit(self._grade, batch))

    def _grade(self, batch: Sequence[_Pair]) -> list[tuple[Attempt, Verdict]]:
        if self._graders is None:
            return [(attempt, grade_attempt(self._task, problem, attempt)) for problem, attempt in batch]
        drawn = [attempt.finish_reason != "error" for _, attempt in batch]
        texts = [(problem, attempt.text) for (problem, attempt), is_drawn in zip(batch, drawn, strict=True) if is_drawn]
        verdicts = self._graders.grade_many(texts)
        if len(verdicts) != len(texts):
            raise ProcedureError(
                f"The graders gave {len(verdicts)} verdicts on {len(texts)} texts.",
                hint="Report this to the graders' author.",
            )
        given = iter(verdicts)
        return [
            (attempt, next(given) if is_drawn else grade_attempt(self._task, problem, attempt))
            for (problem, attempt), is_drawn in zip(batch, drawn, strict=True)
        ]
