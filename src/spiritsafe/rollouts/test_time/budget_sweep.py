"""What thinking longer is worth: one collection a budget, and s1's three measures (arXiv 2501.19393, §3.2).

In: a task, problems, a Generator that goes on after a given beginning, budgets. Out: a :class:`BudgetSweep`: accuracy
and tokens of each budget, the share of attempts that kept to it (control), the mean slope of accuracy over tokens
(scaling) and the best accuracy (performance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import final

import numpy as np
from pydantic import Field

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Problem, Record, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.rollouts.attempts.collect import Grader, collect
from spiritsafe.rollouts.attempts.read import read_attempts
from spiritsafe.rollouts.test_time.budget_forcing import BudgetForcedGenerator, BudgetForcing
from spiritsafe.stats import ClusterBootstrap, Estimate


@final
class BudgetPoint(Record):
    """One budget.

    Attributes:
        num_tokens: Tokens drawn a problem's attempt, on average.
        control: Share of attempts with at most the budget's tokens (cap and answer together).
        forced: Share of attempts whose thinking was ended at the cap.
        accuracy: Over problems.
    """

    budget: BudgetForcing
    num_tokens: float = Field(ge=0.0)
    control: float = Field(ge=0.0, le=1.0)
    forced: float = Field(ge=0.0, le=1.0)
    accuracy: Estimate


@final
class BudgetSweep(Record):
    """All budgets of one model.

    Attributes:
        control: Share of all attempts that kept to their budget.
        slope: Mean slope of accuracy between any two budgets, per 1,000 tokens; below 0 thinking longer hurts. None
            when all budgets spend the same.
        best: The budget with the highest accuracy, the cheaper one on a tie.
    """

    points: tuple[BudgetPoint, ...] = Field(min_length=1)
    control: float = Field(ge=0.0, le=1.0)
    slope: Estimate | None
    best: BudgetPoint


def budgets(
    caps: Sequence[int], waits: Sequence[int] = (0, 1, 2, 4), *, think_end: str = "</think>"
) -> tuple[BudgetForcing, ...]:
    """Every cap without "Wait", and the largest cap with every number of them.

    Raises:
        RecipeError: No caps.
    """
    if not caps:
        raise RecipeError("There is no cap to think under.", hint="Give at least one number of tokens.")
    plain = [BudgetForcing(cap=cap, think_end=think_end) for cap in sorted(set(caps))]
    longer = [plain[-1].model_copy(update={"num_waits": count}) for count in sorted(set(waits)) if count]
    return (*plain, *longer)


def sweep_budgets(
    task: Grader,
    problems: Iterable[Problem],
    generator: Generator,
    sampling: Sampling,
    settings: Sequence[BudgetForcing],
    *,
    answer_tokens: int,
    num_samples: int,
    seed: int,
    directory: Path,
    events: EventSink | None = None,
    num_draws: int = 2_000,
    confidence: float = 0.95,
) -> BudgetSweep:
    """Collect attempts under each budget and measure them; repeat the call to go on after an interruption.

    Args:
        generator: Goes on after a given beginning.
        sampling: How it draws; its ``max_tokens`` is replaced by each cap plus ``answer_tokens``.
        settings: The budgets, see :func:`budgets`.
        answer_tokens: Tokens that an answer may have behind thinking of the cap's length.
        num_samples: Attempts at each problem under each budget.
        seed: Root of the samples' seeds, the same for all budgets, so that they are compared in pairs.
        directory: Gets a collection a budget.
        num_draws: Redraws of the bootstrap over problems.

    Raises:
        RecipeError: No budgets, one twice, or a count is not positive.
        CompatibilityError: The Generator cannot go on after a given beginning; or a directory holds something else.
        EndpointError: The Generator is unusable; what is finished stays.
    """
    if not settings or len({one.content_digest for one in settings}) < len(settings) or answer_tokens < 1:
        raise RecipeError(
            f"{len(settings)} budgets with {answer_tokens} tokens for the answer.",
            hint="Give each budget once, and the answer at least one token.",
        )
    todo = list(problems)
    boot = ClusterBootstrap(
        max(len(todo), 1), seed=derive_seed(seed, "budgets", len(todo)), num_draws=num_draws, confidence=confidence
    )
    points, scores_AP = [], []
    for one in settings:
        limit = one.cap + answer_tokens
        target = directory / f"cap-{one.cap:05d}-waits-{one.num_waits}-{one.content_digest[7:15]}"
        collect(
            task,
            todo,
            BudgetForcedGenerator(generator, one),
            sampling.model_copy(update={"max_tokens": limit}),
            num_samples=num_samples,
            seed=seed,
            directory=target,
            events=events,
        )
        point, scores_P = _measure(target, one, limit, todo, boot)
        points.append(point)
        scores_AP.append(scores_P)
    return BudgetSweep(
        points=tuple(points),
        control=float(np.mean([point.control for point in points])),
        slope=_slope(points, np.array(scores_AP), boot),
        best=max(points, key=lambda point: (point.accuracy.value, -point.num_tokens)),
    )


def _measure(
    directory: Path, budget: BudgetForcing, limit: int, problems: Sequence[Problem], boot: ClusterBootstrap
) -> tuple[BudgetPoint, np.ndarray]:
    """The budget's figures, and each problem's mean score (NaN where no attempt was scored)."""
    grades: dict[str, list[float]] = {problem.id: [] for problem in problems}
    tokens, forced = [], []
    for attempt, verdict in read_attempts(directory):
        if verdict.status != "unscored":
            grades[attempt.problem_id].append(float(verdict.status == "correct"))
            tokens.append(attempt.num_tokens)
            forced.append(budget.think_end + budget.final in attempt.text)
    scores_P = np.array([np.mean(mine) if mine else math.nan for mine in grades.values()])
    point = BudgetPoint(
        budget=budget,
        accuracy=boot.interval(scores_P),
        num_tokens=float(np.mean(tokens)),
        control=float(np.mean(np.array(tokens) <= limit)),
        forced=float(np.mean(forced)),
    )
    return point, scores_P


def _slope(points: Sequence[BudgetPoint], scores_AP: np.ndarray, boot: ClusterBootstrap) -> Estimate | None:
    """s1's scaling: the mean over pairs of budgets of (accuracy difference) / (token difference).

    It is linear in the scores, so it is a mean over problems like any other, and has its interval.
    """
    slopes_P, bounds = [], []
    for a, b in combinations(range(len(points)), 2):
        step = (points[b].num_tokens - points[a].num_tokens) / 1_000
        if step:
            slopes_P.append((scores_AP[b] - scores_AP[a]) / step)
            bounds.append(1.0 / abs(step))
    if not slopes_P:
        return None
    most = float(np.mean(bounds))
    return boot.interval(np.mean(slopes_P, axis=0), least=-most, most=most)
