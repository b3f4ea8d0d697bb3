"""Models compared at the same cost, and what a model spends until it is as good as another.

In: what each model's methods score and cost, see :mod:`spiritsafe.rollouts.test_time.scaling`. Out: paired differences
with intervals; tokens to reach another model's vote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from spiritsafe.rollouts.test_time.records import CostAxis, EqualCost, SelectionMethod, TokensToReach, flops_of
from spiritsafe.rollouts.test_time.scaling import ScaledMethod
from spiritsafe.stats import ClusterBootstrap, Floats

_METHODS: tuple[SelectionMethod, ...] = ("majority", "likelihood", "self_check")
_REACH = 16  # maj@16, where the pool is that large
_COSTS = 3  # both ends of what two models can spend alike, and the middle between


@final
@dataclass(frozen=True, kw_only=True)
class Contender:
    """One model: its name, its size where that is known, and its methods."""

    name: str
    num_parameters: int | None
    grown: Mapping[SelectionMethod, ScaledMethod]


def differences_at_equal_cost(
    axis: CostAxis, first: Contender, second: Contender, boot: ClusterBootstrap
) -> list[EqualCost]:
    """First minus second at a few costs that both can spend, for each method that both offer.

    Empty where what one spends on a single attempt is more than the other's whole pool, and for operations where a
    number of parameters is not known.
    """
    pair = (first, second)
    rates = [1.0 if axis == "tokens" else flops_of(1.0, one.num_parameters) or 0.0 for one in pair]
    found: list[EqualCost] = []
    for method in _METHODS:
        lines = [one.grown[method] for one in pair if method in one.grown]
        if len(lines) < 2:
            continue
        each = [rate * line.mean_tokens for rate, line in zip(rates, lines, strict=True)]
        low = max(each)
        high = min(cost * line.num_samples for cost, line in zip(each, lines, strict=True))
        if not 0.0 < low <= high:
            continue
        for cost in np.geomspace(low, high, _COSTS if high > low * (1 + 1e-9) else 1).tolist():
            scores_P = lines[0].scores_at(cost / rates[0]) - lines[1].scores_at(cost / rates[1])
            if not np.isnan(scores_P).all():
                difference = boot.interval(scores_P, least=-1.0)
                names = {"first": first.name, "second": second.name}
                found.append(EqualCost(axis=axis, cost=cost, method=method, difference=difference, **names))
    return found


def tokens_to_reach(model: Contender, base: Contender, boot: ClusterBootstrap) -> TokensToReach:
    """Where the model's vote first is as good as the base's vote of 16, or of its whole pool when that is smaller."""
    mine, theirs = model.grown["majority"], base.grown["majority"]
    k = min(_REACH, theirs.largest)
    target = boot.interval(theirs.scores_PK[:, k - 1])
    means_K = np.nanmean(mine.scores_PK[:, : mine.largest], axis=0)
    found = mine.mean_tokens * _first_reaching(means_K, target.value)
    low = high = math.inf
    if math.isfinite(found):
        targets_B = boot.means(theirs.scores_PK[:, k - 1])
        curves_BK = boot.means(mine.scores_PK[:, : mine.largest])
        crossings = [
            mine.mean_tokens * _first_reaching(row, value) for row, value in zip(curves_BK, targets_B, strict=True)
        ]
        tail = (1 - boot.confidence) / 2
        low, high = min(_order(crossings, tail), found), max(_order(crossings, 1 - tail), found)
    return TokensToReach(
        model=model.name,
        base=base.name,
        num_samples=k,
        target=target,
        base_tokens=theirs.tokens_at(k),
        num_tokens=found if math.isfinite(found) else None,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
    )


def _first_reaching(scores_K: Floats, target: float) -> float:
    """The smallest k, between whole numbers by a straight line, at which the score is as high; inf: none."""
    reached = np.flatnonzero(scores_K >= target - 1e-12)
    if not reached.size:
        return math.inf
    at = int(reached[0])
    low, high = float(scores_K[max(at - 1, 0)]), float(scores_K[at])
    return at + (target - low) / (high - low) if at and low < target else at + 1.0


def _order(values: Sequence[float], level: float) -> float:
    """An order statistic: quantiles between infinite values have no straight line."""
    return sorted(values)[min(int(level * len(values)), len(values) - 1)]
