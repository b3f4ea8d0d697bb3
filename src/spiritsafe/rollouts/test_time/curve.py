"""Accuracy against compute, from one pool of attempts a problem for each model.

In: pools of the same problems, the first model's first. Out: a
:class:`~spiritsafe.rollouts.test_time.records.ComputeCurve`: one greedy attempt, one sampled attempt, majority of k,
best of k by likelihood and by self-check, the oracle's pass@k; differences at equal cost; tokens to reach the first
model's vote. Offline and deterministic.

x is the mean number of tokens generated for a problem: k times the mean length of its attempts. Intervals are a cluster
bootstrap over problems, one set of redraws for everything, so what is compared is paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.rollouts.test_time.equal_cost import Contender, differences_at_equal_cost, tokens_to_reach
from spiritsafe.rollouts.test_time.pool import Pool
from spiritsafe.rollouts.test_time.records import (
    METHODS,
    ComputeCurve,
    ComputeLine,
    ComputePoint,
    CostAxis,
    ModelCompute,
    SelectionMethod,
    flops_of,
)
from spiritsafe.rollouts.test_time.scaling import Likelihood, ScaledMethod, scale_methods, stopped_early
from spiritsafe.stats import BOOTSTRAP, ClusterBootstrap, Floats

_AXES: tuple[CostAxis, ...] = ("tokens", "flops")


def sizes_to_show(num_samples: int) -> tuple[int, ...]:
    """1, 2, 4, … and the size of the pool itself."""
    powers = [1 << power for power in range(num_samples.bit_length()) if 1 << power < num_samples]
    return (*powers, num_samples)


def curve_of_pools(
    pools: Sequence[Pool],
    *,
    task: str,
    likelihood: Likelihood = "mean",
    seed: int = 0,
    num_draws: int = 2_000,
    confidence: float = 0.95,
) -> ComputeCurve:
    """All models' curves, and how they compare.

    Args:
        pools: One a model, over the same problems, drawn alike; the first is the base of the comparisons.
        task: Its canonical name.
        likelihood: Rank attempts by log-probability a token, or in sum.
        seed: Of the bootstrap, of orders of the pool, and of votes over more than 256 attempts.

    Raises:
        RecipeError: No pools.
        CompatibilityError: The pools are of other problems, sampling or sizes; or a pool has no scored attempt.
    """
    if not pools:
        raise RecipeError("There is no pool to draw a curve of.", hint="Give at least one.")
    _check_alike(pools)
    problem_ids = sorted(pools[0].attempts)
    boot = ClusterBootstrap(
        len(problem_ids),
        seed=derive_seed(seed, "compute curve", len(problem_ids)),
        num_draws=num_draws,
        confidence=confidence,
    )
    contenders = [
        Contender(
            name=name, num_parameters=pool.num_parameters, grown=scale_methods(pool, problem_ids, likelihood, seed)
        )
        for name, pool in zip(_names(pools), pools, strict=True)
    ]
    return ComputeCurve(
        task=task,
        sampling=pools[0].sampling,
        num_problems=len(problem_ids),
        num_samples=pools[0].num_samples,
        interval=(
            f"{100 * confidence:g} % {BOOTSTRAP} over problems, {num_draws:,} redraws (where all problems agree, an "
            "exact bound)"
        ),
        likelihood=likelihood,
        models=tuple(
            _model(pool, contender, problem_ids, boot, seed) for pool, contender in zip(pools, contenders, strict=True)
        ),
        differences=tuple(
            difference
            for second, first in combinations(contenders, 2)  # a later model against an earlier one: the base is first
            for axis in _AXES
            for difference in differences_at_equal_cost(axis, first, second, boot)
        ),
        reached=tuple(tokens_to_reach(contender, contenders[0], boot) for contender in contenders[1:]),
    )


def _check_alike(pools: Sequence[Pool]) -> None:
    first = pools[0]
    for pool in pools:
        if pool.attempts.keys() != first.attempts.keys():
            raise CompatibilityError(
                f"{pool.model} and {first.model} attempted different problems, so they cannot be compared.",
                hint="Draw the pools with the same task, split, seed and number of problems.",
            )
        if (pool.sampling, pool.num_samples) != (first.sampling, first.num_samples):
            raise CompatibilityError(
                f"The pools of {pool.model} and {first.model} were not drawn alike.",
                hint="Draw them with the same sampling and number of samples.",
            )
        if not any(pool.attempts.values()):
            raise CompatibilityError(
                f"No attempt of {pool.model} has a grade.", hint="Look at the attempts' errors, mend the cause, redraw."
            )


def _names(pools: Sequence[Pool]) -> list[str]:
    """Names that differ: a name that several pools share gets its place in the list."""
    given = [pool.model for pool in pools]
    return [f"{name} ({place})" if given.count(name) > 1 else name for place, name in enumerate(given, start=1)]


def _model(
    pool: Pool, contender: Contender, problem_ids: Sequence[str], boot: ClusterBootstrap, seed: int
) -> ModelCompute:
    def point(k: int, tokens: float, scores_P: Floats) -> ComputePoint:
        return ComputePoint(
            num_samples=k,
            num_tokens=tokens,
            flops=flops_of(tokens, pool.num_parameters),
            accuracy=boot.interval(scores_P),
        )

    def line_of(method: SelectionMethod) -> ComputeLine | None:
        if method == "greedy":
            found = [pool.greedy.get(name) for name in problem_ids]
            scores = np.array([math.nan if one is None else float(one.is_correct) for one in found])
            drawn = [one.num_tokens for one in found if one is not None]
            return ComputeLine(method=method, points=(point(1, float(np.mean(drawn)), scores),)) if drawn else None
        if method == "mean":
            one = contender.grown["oracle"]
            return ComputeLine(method=method, points=(point(1, one.tokens_at(1), one.scores_PK[:, 0]),))
        if method == "majority_early":
            early = stopped_early(pool, problem_ids, contender.grown["majority"], seed)
            return ComputeLine(method=method, points=(point(pool.num_samples, *early),))
        grown = contender.grown.get(method)
        return _scaled_line(method, grown, point, boot) if grown else None

    return ModelCompute(
        name=contender.name,
        digest=pool.digest,
        num_parameters=pool.num_parameters,
        num_attempts=pool.num_samples * len(problem_ids),
        num_unscored=pool.num_unscored,
        num_unparsed=pool.num_unparsed,
        num_truncated=pool.num_truncated,
        lines=tuple(line for method in METHODS if (line := line_of(method)) is not None),
        notes=_notes(pool, contender.grown),
    )


def _scaled_line(
    method: SelectionMethod,
    grown: ScaledMethod,
    point: Callable[[int, float, Floats], ComputePoint],
    boot: ClusterBootstrap,
) -> ComputeLine:
    sizes = [k for k in sizes_to_show(grown.num_samples) if k <= grown.largest]
    last = sizes[-1]
    gains = grown.scores_PK[:, last - 1] - grown.scores_PK[:, 0]
    return ComputeLine(
        method=method,
        points=tuple(point(k, grown.tokens_at(k), grown.scores_PK[:, k - 1]) for k in sizes),
        gain=boot.interval(gains, least=-1.0) if last > 1 else None,
    )


def _notes(pool: Pool, grown: Mapping[SelectionMethod, ScaledMethod]) -> tuple[str, ...]:
    notes = []
    if pool.num_unscored:
        short = sum(len(mine) < pool.num_samples for mine in pool.attempts.values())
        notes.append(
            f"{pool.num_unscored} attempts have no grade and are left out; {short} problems have fewer than "
            f"{pool.num_samples} attempts for it and are missing where k is larger than what they have."
        )
    if "likelihood" not in grown:
        notes.append("Best of k by likelihood is not offered: the source gives no log-probabilities.")
    if pool.num_parameters is None:
        notes.append("The number of parameters is not known, so the model is missing where x is operations.")
    return tuple(notes)
