"""Banks: which problems a paper is made of, before anybody knows which of them will be public.

In: a task, a secret, a number. Out: a :class:`Bank`, stratum by stratum: of a ``mix:`` task its parts, of a private
file its labels, of any other task one. Each problem is drawn with a seed of its own, so that whoever reconstructs the
generator's state from the public half learns nothing of the sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import Problem
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.paper.private import PrivateRow, PrivateTask
from spiritsafe.ledger import Signature
from spiritsafe.tasks import MixTask, Task
from spiritsafe.tasks.exam_bucket import exam_problems, exam_twins

_MOST_DRAWS = 20  # for each control wanted; a family that is nearly used up gives fewer
_MOST_TWINS = 1_000  # of one problem that are tried before the family counts as used up


@final
@dataclass(frozen=True, slots=True)
class BankStratum:
    """Problems of one kind; the task draws their twins.

    Attributes:
        name: Empty when the bank is one.
        signoffs: One tuple a problem; empty when there are none at all.
    """

    name: str
    task: Task
    problems: tuple[Problem, ...]
    signoffs: tuple[tuple[Signature, ...], ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Bank:
    """All problems of a paper, stratum by stratum."""

    strata: tuple[BankStratum, ...]

    @property
    def problems(self) -> list[Problem]:
        """In bank order."""
        return [problem for stratum in self.strata for problem in stratum.problems]


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """``count`` shared out by weight: largest remainders, the earlier stratum on a tie."""
    total = sum(weights)
    exact = [count * weight / total for weight in weights]
    shares = [int(value) for value in exact]
    late = sorted(range(len(exact)), key=lambda k: (shares[k] - exact[k], k))
    for k in late[: count - sum(shares)]:
        shares[k] += 1
    return shares


def draw_bank(task: Task, *, secret: str, count: int, events: EventSink) -> Bank:
    """``count`` distinct exam problems, drawn within strata.

    Raises:
        TaskError: The task has too few of them.
    """
    if isinstance(task, PrivateTask):
        return _pick(task, secret, count)
    if isinstance(task, MixTask):
        sizes = apportion(count, [part.share for part in task.parts])
        return Bank(
            tuple(
                BankStratum(part.task.name, part.task, _draw(part.task, secret, size, events))
                for part, size in zip(task.parts, sizes, strict=True)
                if size
            )
        )
    return Bank((BankStratum("", task, _draw(task, secret, count, events)),))


def _draw(task: Task, secret: str, count: int, events: EventSink) -> tuple[Problem, ...]:
    """Each from its own secret seed."""
    drawn: dict[str, Problem] = {}
    repeats, draw = 0, 0
    while len(drawn) < count:
        seed = derive_seed("exam problem", secret, draw)
        draw += 1
        problem = next(iter(exam_problems(task, seed=seed, count=1)))
        if problem.id in drawn:
            repeats += 1
            if repeats > 200 + 20 * count:  # a family of `count` problems is exhausted long before, but for e**-20
                raise TaskError(
                    f"{task.name} gave only {len(drawn)} different exam problems; {count} were asked for.",
                    hint="Ask for fewer, or widen the task's knobs.",
                )
            continue
        repeats = 0
        drawn[problem.id] = problem
        events.progress(len(drawn), count, "problems")
    return tuple(drawn.values())


def draw_controls(task: Task, strata: Sequence[tuple[str, int]], *, secret: str, taken: Collection[str]) -> Bank | None:
    """Problems as the bank's, drawn in the same way, that are not on the paper: as many in each stratum, if there are.

    Training data that were made without the paper are as likely to hold a control as a problem of the paper.

    Args:
        strata: Name and number of problems of each stratum of the bank; of a bank without strata, one without a name.
        taken: Ids of its problems and twins.

    Returns:
        None for a private bank: its problems cannot be drawn again.
    """
    if isinstance(task, PrivateTask):
        return None
    parts = {part.task.name: part.task for part in task.parts} if isinstance(task, MixTask) else {"": task}
    known = set(taken)
    drawn = []
    for name, count in strata:
        problems: dict[str, Problem] = {}
        for draw in range(_MOST_DRAWS * count):
            if len(problems) == count:
                break
            seed = derive_seed("overlap control", secret, name, draw)
            problem = next(iter(exam_problems(parts[name], seed=seed, count=1)))
            if problem.id not in known:
                problems[problem.id] = problem
                known.add(problem.id)
        drawn.append(BankStratum(name, parts[name], tuple(problems.values())))
    return Bank(tuple(drawn))


def _pick(task: PrivateTask, secret: str, count: int) -> Bank:
    """Of a private file: the same share of each stratum, which ones by secret lot."""
    strata: dict[str, list[tuple[Problem, PrivateRow]]] = {}
    for row in task.rows:
        strata.setdefault(task.stratum(row), []).append((task.problem(row), row))
    if count > len(task.rows):
        raise TaskError(
            f"The private file has {len(task.rows)} problems; {count} were asked for.", hint="Ask for fewer."
        )

    def lot(pair: tuple[Problem, PrivateRow]) -> bytes:
        return hashlib.sha256(f"pick/{secret}/{pair[0].id}".encode()).digest()

    names = sorted(strata)
    chosen = []
    for name, size in zip(names, apportion(count, [len(strata[name]) for name in names]), strict=True):
        pairs = sorted(strata[name], key=lot)[:size]
        if pairs:
            problems, rows = zip(*pairs, strict=True)
            chosen.append(BankStratum(name, task, problems, tuple(row.signoffs for row in rows)))
    return Bank(tuple(chosen))


def draw_twins(
    bank: Bank, *, secret: str, events: EventSink, label: str = "exam twin", taken: Collection[str] = ()
) -> tuple[Problem, ...]:
    """One twin for each problem, in bank order, distinct from all of the bank and from each other.

    Args:
        label: Names the seeds.
        taken: Ids that no twin may have either.

    Raises:
        TaskError: The task makes no twins, or too few.
    """
    problems = bank.problems
    known = {*taken, *(problem.id for problem in problems)}
    twins: list[Problem] = []
    for stratum in bank.strata:
        for problem in stratum.problems:
            twin = _twin(stratum.task, problem, derive_seed(label, secret, len(twins)), known)
            known.add(twin.id)
            twins.append(twin)
            events.progress(len(twins), len(problems), "twins")
    return tuple(twins)


def _twin(task: Task, problem: Problem, seed: int, taken: set[str]) -> Problem:
    for twin in exam_twins(task, problem, seed=seed, count=_MOST_TWINS):
        if twin.id not in taken:
            return twin
    raise TaskError(f"{task.name} has too few twins for this bank.", hint="Ask for fewer problems, or no twins.")
