from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from reinforce_parts import Arbitrary, verdict
from tiny_student import sums_problems, sums_task

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Attempt, FinishReason, Problem, Sampling, Verdict
from spiritsafe.reinforce.rounds.grading import Grading
from spiritsafe.tasks.grading.pool import GraderPool

PROBLEM = Problem(task="arbitrary", canonical_text="x", messages=())


def attempt(number: int, *, finish: FinishReason = "stop") -> Attempt:
    return Attempt(
        problem_id=PROBLEM.id,
        sample_index=number,
        model="m",
        sampling=Sampling(),
        seed=0,
        text=f"text {number}",
        finish_reason=finish,
    )


class Many:
    """Remembers its batches; waits for a sign before the first."""

    def __init__(self, *, lost: int = 0) -> None:
        self.batches: list[int] = []
        self.may_begin = threading.Event()
        self.has_begun = threading.Event()
        self._lost = lost

    def grade_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        self.has_begun.set()
        assert self.may_begin.wait(20)
        self.batches.append(len(pairs))
        return [verdict("correct" if int(text[5:]) % 3 == 0 else "wrong") for _, text in pairs][self._lost :]


def test_the_first_is_graded_while_others_are_drawn_and_the_rest_together() -> None:
    many = Many()
    with Grading(Arbitrary(), many) as grading:
        grading.add(PROBLEM, attempt(0))
        assert many.has_begun.wait(20)
        for number in range(1, 10):
            grading.add(PROBLEM, attempt(number))
        many.may_begin.set()
        graded = grading.finish()
    assert many.batches[0] == 1
    assert sum(many.batches) == 10
    assert len(many.batches) <= 3
    assert [a.sample_index for a, _ in graded] == list(range(10))
    assert [v.status == "correct" for _, v in graded] == [number % 3 == 0 for number in range(10)]


def test_what_was_not_drawn_is_not_shown_to_graders() -> None:
    many = Many()
    many.may_begin.set()
    with Grading(Arbitrary(), many) as grading:
        for number in range(6):
            grading.add(PROBLEM, attempt(number, finish="error" if number in (0, 4) else "stop"))
        statuses = [v.status for _, v in grading.finish()]
    assert statuses == ["unscored", "wrong", "wrong", "correct", "unscored", "wrong"]
    assert sum(many.batches) == 4


def test_a_task_grades_where_there_is_nobody_else() -> None:
    with Grading(Arbitrary()) as grading:
        for number in range(5):
            grading.add(PROBLEM, attempt(number))
        graded = grading.finish()
        assert [v for _, v in graded] == [Arbitrary().grade(PROBLEM, f"text {number}") for number in range(5)]
        assert grading.finish() == []


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_waited_for() -> None:
    many = Many(lost=1)
    many.may_begin.set()
    with Grading(Arbitrary(), many) as grading:
        grading.add(PROBLEM, attempt(0))
        with pytest.raises(ProcedureError, match="0 verdicts on 1 texts"):
            grading.finish()


def test_worker_processes_judge_as_the_task_does() -> None:
    task, problems = sums_task(), sums_problems(3)
    with GraderPool("arith:sums?terms=2&digits=1", num_workers=1) as pool, Grading(task, pool) as grading:
        for number, problem in enumerate(problems):
            for text in (f"#### {task.gold(problem)}", "#### 99", "no"):
                grading.add(problem, attempt(number).model_copy(update={"text": text}))
        graded = grading.finish()
    assert [v.status for _, v in graded] == ["correct", "wrong", "unparsed"] * 3
    assert [v for _, v in graded] == [task.grade(problems[a.sample_index], a.text) for a, _ in graded]
