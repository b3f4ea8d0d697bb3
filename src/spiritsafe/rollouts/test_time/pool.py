"""Pools: every problem's attempts as selection rules see them, made once, from which all test-time compute is computed.

In: a task, problems, a Generator (or a directory that :func:`spiritsafe.rollouts.attempts.collect` filled). Out: a
:class:`Pool`. Drawing one takes two collections, ``samples`` and ``greedy``, both resumable; the rest is offline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Problem, Sampling, Verdict
from spiritsafe.rollouts.attempts.collect import Grader, collect
from spiritsafe.rollouts.attempts.read import read_attempts
from spiritsafe.rollouts.test_time.selection import vote_key


class SelfChecker(Grader, Protocol):
    """A grader that may also check a text from the question alone; every ``tasks.Task`` is one."""

    def self_check(self, problem: Problem, text: str) -> bool | None:
        """Whether the text passes; None: not offered."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One scored attempt.

    Attributes:
        key: What it votes for; None abstains.
        logprob: Sum of its tokens' log-probabilities; None when they are not known.
        num_logprobs: Tokens in that sum.
        passes: Whether it passes the task's self-check; None where there is none.
    """

    key: str | None
    is_correct: bool
    num_tokens: int
    logprob: float | None
    num_logprobs: int
    passes: bool | None


@final
@dataclass(frozen=True, kw_only=True)
class Pool:
    """One model's attempts at some problems.

    Attributes:
        digest: Of the model.
        num_parameters: None when not known.
        sampling: How the attempts were drawn.
        num_samples: Attempts asked for at each problem.
        attempts: Problem id to its scored attempts, in order of sample.
        greedy: Problem id to its greedy attempt; problems whose greedy attempt is unscored, or was not drawn, are not
            there.
        check_tokens: Tokens that the self-check spends on one attempt; 0 for a program.
        num_unscored: Attempts left out, because they failed or their verifier broke.
    """

    model: str
    digest: str
    num_parameters: int | None
    sampling: Sampling
    num_samples: int
    attempts: dict[str, tuple[Candidate, ...]]
    greedy: dict[str, Candidate] = field(default_factory=dict)
    check_tokens: float = 0.0
    num_unscored: int = 0
    num_unparsed: int = 0
    num_truncated: int = 0


def draw_pool(
    task: SelfChecker,
    problems: Iterable[Problem],
    generator: Generator,
    sampling: Sampling,
    *,
    num_samples: int,
    seed: int,
    directory: Path,
    num_parameters: int | None = None,
    events: EventSink | None = None,
) -> Pool:
    """Draw ``num_samples`` attempts and one greedy attempt at each problem into ``directory``, and read them.

    Repeat the call to go on after an interruption, or to read what is there.

    Args:
        task: Grades, and checks where it offers it.
        sampling: Of the pool; its temperature is above 0.
        seed: Root of the samples' seeds.
        directory: Gets ``samples`` and ``greedy``.
        num_parameters: Of the model, where it is known.

    Raises:
        RecipeError: The temperature is 0, so that all attempts would be one; or a count is not positive.
        TaskError: No problems, or one of them twice.
        CompatibilityError: The directory holds a collection of other inputs.
        EndpointError: The Generator is unusable; what is finished stays.
    """
    if sampling.temperature == 0.0:
        raise RecipeError("A pool at temperature 0 holds one attempt many times.", hint="Sample at temperature 1.")
    todo = list(problems)
    collect(
        task, todo, generator, sampling, num_samples=num_samples, seed=seed, directory=directory / "samples",
        events=events,
    )  # fmt: skip
    collect(
        task, todo, generator, Sampling(temperature=0.0, max_tokens=sampling.max_tokens, stop=sampling.stop),
        num_samples=1, seed=seed, directory=directory / "greedy", events=events,
    )  # fmt: skip
    info = generator.describe()
    return read_pool(
        directory / "samples",
        model=info.name,
        problems=todo,
        greedy=directory / "greedy",
        num_parameters=num_parameters,
        self_check=task.self_check,
    )


def read_pool(
    directory: Path,
    *,
    model: str,
    problems: Sequence[Problem],
    greedy: Path | None = None,
    num_parameters: int | None = None,
    self_check: Callable[[Problem, str], bool | None] | None = None,
    check_tokens: float = 0.0,
) -> Pool:
    """A pool from finished collections.

    Args:
        directory: The collection of sampled attempts.
        problems: Those that were attempted, for the self-check.
        greedy: The collection of greedy attempts, where there is one.
        num_parameters: Of the model.
        self_check: Passes or fails a text without gold; one None, and the pool has no self-check.
        check_tokens: What one such check costs.

    Raises:
        SourceError: A directory holds no finished collection.
        IntegrityError: A file is damaged.
        CompatibilityError: The two collections, or the problems given, do not belong together.
    """
    by_id = {problem.id: problem for problem in problems}
    rows = list(read_attempts(directory))
    greedy_rows = list(read_attempts(greedy)) if greedy is not None else []
    models = {attempt.model for attempt, _ in (*rows, *greedy_rows)}
    attempted = {attempt.problem_id for attempt, _ in (*rows, *greedy_rows)}
    if len(models) != 1 or attempted != by_id.keys():
        raise CompatibilityError(
            f"{directory} and its greedy attempts are of {len(models)} models and {len(attempted)} problems, where one "
            f"model and {len(by_id)} problems were expected.",
            hint="Read collections of the same model and problems together.",
        )
    candidates: dict[str, list[Candidate]] = {problem.id: [] for problem in problems}
    for attempt, verdict in rows:
        if verdict.status != "unscored":
            candidates[attempt.problem_id].append(_candidate(attempt, verdict, by_id, self_check))
    return Pool(
        model=model,
        digest=models.pop(),
        num_parameters=num_parameters,
        sampling=rows[0][0].sampling,
        num_samples=len(rows) // len(by_id),
        attempts={name: tuple(mine) for name, mine in candidates.items()},
        greedy={
            attempt.problem_id: _candidate(attempt, verdict, by_id, None)
            for attempt, verdict in greedy_rows
            if verdict.status != "unscored"
        },
        check_tokens=check_tokens,
        num_unscored=sum(verdict.status == "unscored" for _, verdict in rows),
        num_unparsed=sum(verdict.status == "unparsed" for _, verdict in rows),
        num_truncated=sum(attempt.finish_reason == "length" for attempt, _ in rows),
    )


def _candidate(
    attempt: Attempt,
    verdict: Verdict,
    by_id: dict[str, Problem],
    self_check: Callable[[Problem, str], bool | None] | None,
) -> Candidate:
    return Candidate(
        key=vote_key(verdict.answer) if verdict.status in ("correct", "wrong") else None,
        is_correct=verdict.status == "correct",
        num_tokens=attempt.num_tokens,
        logprob=math.fsum(attempt.logprobs) if attempt.logprobs else None,
        num_logprobs=len(attempt.logprobs),
        passes=None if self_check is None else self_check(by_id[attempt.problem_id], attempt.text),
    )
