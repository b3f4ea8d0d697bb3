"""What each way of using k attempts scores and costs on every problem, for every k up to the size of the pool.

In: a :class:`~spiritsafe.rollouts.test_time.pool.Pool`. Out: a :class:`ScaledMethod` for each method that the pool
offers. Curves read it at a few k, comparisons at equal cost between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from spiritsafe.core.seeds import derive_seed
from spiritsafe.rollouts.test_time.pool import Candidate, Pool
from spiritsafe.rollouts.test_time.records import SelectionMethod
from spiritsafe.rollouts.test_time.selection import best_of, majority_of, pass_at
from spiritsafe.rollouts.test_time.voting import votes_needed
from spiritsafe.stats import Floats

Likelihood = Literal["mean", "sum"]
"""Rank attempts by log-probability a token, or in sum (which prefers short ones)."""


_ORDERS = 20  # of a pool, for what an early stop costs; problems average them further


@final
@dataclass(frozen=True, kw_only=True)
class ScaledMethod:
    """One model, one method: what each problem scores and costs for every k.

    Attributes:
        scores_PK: Expected score with k attempts in column k - 1; NaN where a problem has fewer scored attempts.
        tokens_P: Mean tokens of one attempt at each problem; NaN without any.
    """

    scores_PK: Floats
    tokens_P: Floats

    @property
    def num_samples(self) -> int:
        """Attempts that were asked for at each problem."""
        return int(self.scores_PK.shape[1])

    @property
    def largest(self) -> int:
        """The largest k for which any problem has attempts."""
        return int(np.flatnonzero(~np.isnan(self.scores_PK).all(axis=0))[-1]) + 1

    @property
    def mean_tokens(self) -> float:
        """Tokens of one attempt, averaged over problems."""
        return float(np.nanmean(self.tokens_P))

    def tokens_at(self, k: int) -> float:
        """Tokens a problem, over the problems that have k attempts."""
        return k * float(self.tokens_P[~np.isnan(self.scores_PK[:, k - 1])].mean())

    def scores_at(self, tokens: float) -> Floats:
        """Scores when each problem gets so many attempts that ``tokens`` are spent on average."""
        k = tokens / self.mean_tokens
        below = min(max(math.floor(k + 1e-9), 1), self.num_samples)
        share = min(max(k - below, 0.0), 1.0)
        above = min(below + 1, self.num_samples) if share > 1e-9 else below
        values: Floats = (1 - share) * self.scores_PK[:, below - 1] + share * self.scores_PK[:, above - 1]
        return values


def scale_methods(
    pool: Pool, problem_ids: Sequence[str], likelihood: Likelihood, seed: int
) -> dict[SelectionMethod, ScaledMethod]:
    """The methods that the pool offers.

    Args:
        pool: At least one of its problems has a scored attempt.
        problem_ids: Order of the rows.
        likelihood: How "likelihood" ranks attempts; offered when all attempts that have tokens have log-probabilities.
        seed: Of votes over more than 256 attempts.
    """
    rules: dict[SelectionMethod, Callable[[Sequence[Candidate]], Floats]] = {
        "majority": lambda mine: majority_of(
            [one.key for one in mine], [one.is_correct for one in mine], seed=derive_seed(seed, "vote")
        ),
        "oracle": lambda mine: pass_at([one.is_correct for one in mine]),
    }
    everyone = [one for mine in pool.attempts.values() for one in mine]
    if all(one.logprob is not None for one in everyone if one.num_tokens):
        rules["likelihood"] = lambda mine: best_of(
            [_likelihood(one, likelihood) for one in mine], [one.is_correct for one in mine]
        )
    if all(one.passes is not None for one in everyone):
        rules["self_check"] = lambda mine: best_of(
            [float(bool(one.passes)) for one in mine], [one.is_correct for one in mine]
        )
    tokens_P = np.array(
        [
            np.mean([one.num_tokens for one in mine]) if (mine := pool.attempts[name]) else math.nan
            for name in problem_ids
        ]
    )
    grown: dict[SelectionMethod, ScaledMethod] = {}
    for method, rule in rules.items():
        scores_PK = np.full((len(problem_ids), pool.num_samples), math.nan)
        for row, name in enumerate(problem_ids):
            if mine := pool.attempts[name]:
                scores_PK[row, : len(mine)] = rule(mine)
        cost_P = tokens_P + pool.check_tokens if method == "self_check" else tokens_P
        grown[method] = ScaledMethod(scores_PK=scores_PK, tokens_P=cost_P)
    return grown


def _likelihood(one: Candidate, kind: Likelihood) -> float:
    if one.logprob is None:
        return -math.inf
    return one.logprob / one.num_logprobs if kind == "mean" else one.logprob


def stopped_early(pool: Pool, problem_ids: Sequence[str], majority: ScaledMethod, seed: int) -> tuple[float, Floats]:
    """Tokens a problem when the whole pool's vote stops once it is decided, and each problem's score.

    The score is the full vote's, for a decided vote elects the same answer. What it costs depends on the order in which
    the attempts come: the mean over a few seeded orders.
    """
    generator = np.random.default_rng(derive_seed(seed, "orders"))
    spent, scores_P = [], np.full(len(problem_ids), math.nan)
    for row, name in enumerate(problem_ids):
        if not (mine := pool.attempts[name]):
            continue
        scores_P[row] = majority.scores_PK[row, len(mine) - 1]
        for _ in range(_ORDERS):
            order = [mine[place] for place in generator.permutation(len(mine))]
            needed = votes_needed([one.key for one in order])
            spent.append(sum(one.num_tokens for one in order[:needed]))
    return float(np.mean(spent)), scores_P
