"""What a rule would have done on the dev problems: accuracy against cost, and the cheapest rule that keeps its promise.

In: for each rung and problem whether it was right, what it cost and what chance it was given by a model that had not
seen the problem. Out: :class:`Played` rules, from the most careful to the cheapest.

Rules, for a threshold t:

* by prompt: the cheapest rung whose chance is at least t times the best rung's chance;
* cascade: rungs are asked from the cheapest on; the first answer whose chance is at least t is kept, else the last
  one's; all that were asked are paid;
* None: always the largest rung, which every loss is measured against.

With t = 1 the rule by prompt is the rung whose chance is highest, whatever it costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from spiritsafe.serve.routing.logistic import Mask, Places
from spiritsafe.stats import ClusterBootstrap, Estimate, Floats, is_difference_shown

THRESHOLDS: tuple[float | None, ...] = (None, *(step / 100 for step in range(100, -1, -1)))
"""Fixed before any data are seen, from the most careful rule to the cheapest."""

BEST = 1.0
"""The threshold by prompt with which costs do not matter."""


@final
@dataclass(frozen=True, kw_only=True)
class Played:
    """All rules on the same problems.

    Attributes:
        right_TP: Share of right answers of each rule at each problem, over its samples.
        cost_TP: Mean cost.
        asked_TRP: Share of samples that each rung answered.
    """

    right_TP: Floats
    cost_TP: Floats
    asked_TRP: Floats


def choices(chance_RP: Floats, threshold: float | None, strange_P: Mask) -> Places:
    """The rung of each problem by prompt; strange prompts go to the largest."""
    last = chance_RP.shape[0] - 1
    if threshold is None:
        return np.full(chance_RP.shape[1], last, dtype=np.int64)
    enough = chance_RP >= threshold * chance_RP.max(axis=0)
    picks: Places = np.where(strange_P, last, np.argmax(enough, axis=0)).astype(np.int64)
    return picks


def play_by_prompt(
    chance_RP: Floats,
    strange_P: Mask,
    right_RPS: Floats,
    costs_RPS: Floats,
    thresholds: Sequence[float | None] = THRESHOLDS,
) -> Played:
    """The rules by prompt."""
    right_RP, cost_RP = right_RPS.mean(axis=2), costs_RPS.mean(axis=2)
    problems, num_rungs = np.arange(right_RP.shape[1]), right_RP.shape[0]
    picks = [choices(chance_RP, threshold, strange_P) for threshold in thresholds]
    return Played(
        right_TP=np.array([right_RP[pick, problems] for pick in picks]),
        cost_TP=np.array([cost_RP[pick, problems] for pick in picks]),
        asked_TRP=np.array([[pick == rung for rung in range(num_rungs)] for pick in picks], dtype=np.float64),
    )


def play_cascade(
    chance_RPS: Floats,
    strange_P: Mask,
    right_RPS: Floats,
    costs_RPS: Floats,
    thresholds: Sequence[float | None] = THRESHOLDS,
) -> Played:
    """The cascades. ``chance_RPS`` has no row for the last rung; NaN is not enough."""
    last = right_RPS.shape[0] - 1
    summed = np.cumsum(costs_RPS, axis=0)
    right, cost, asked = [], [], []
    for threshold in thresholds:
        enough = np.zeros(right_RPS.shape, dtype=bool)
        enough[last] = True
        if threshold is not None:
            enough[:last] = np.nan_to_num(chance_RPS, nan=-1.0) >= threshold
        is_direct = np.broadcast_to((strange_P | (threshold is None))[:, None], right_RPS.shape[1:])
        pick = np.where(is_direct, last, np.argmax(enough, axis=0))
        paid = np.where(is_direct, costs_RPS[last], np.take_along_axis(summed, pick[None], axis=0)[0])
        right.append(np.take_along_axis(right_RPS, pick[None], axis=0)[0].mean(axis=1))
        cost.append(paid.mean(axis=1))
        asked.append([(pick == rung).mean(axis=1) for rung in range(last + 1)])
    return Played(right_TP=np.array(right), cost_TP=np.array(cost), asked_TRP=np.array(asked))


def cheapest_within_loss(
    played: Played, largest_P: Floats, *, num_samples: int, max_loss: float, alpha: float = 0.05
) -> int:
    """The place of the cheapest rule that keeps up with the largest rung.

    1. From the most careful rule on, each is tested at level ``alpha`` for losing at most ``max_loss`` of the largest
       rung's accuracy, until one fails: the chance that any rule that passed loses more is at most ``alpha``, however
       many are tried (fixed sequences: Angelopoulos et al. 2021, arXiv 2110.01052). The test bets on the paired
       difference, and holds for few problems and for rare differences.
    2. A rule may be far better than the largest rung. Of those that passed, the cheapest is taken that was seen at most
       ``max_loss`` below the most accurate of them.

    Args:
        played: From the rule that always asks the largest rung to the cheapest.
        num_samples: Attempts at each problem.
    """

    def keeps(mine_P: Floats) -> bool:
        first, second = (np.rint(each * num_samples).astype(int).tolist() for each in (mine_P, largest_P))
        return is_difference_shown(first, second, margin=-max_loss, trials=num_samples, alpha=alpha)

    num_passed = 1
    while num_passed < len(played.right_TP) and keeps(played.right_TP[num_passed]):
        num_passed += 1
    accuracies = played.right_TP[:num_passed].mean(axis=1)
    is_near = accuracies >= accuracies.max() - max_loss
    return int(np.argmin(np.where(is_near, played.cost_TP[:num_passed].mean(axis=1), np.inf)))


def most_careful_within_cost(cost_TP: Floats, bootstrap: ClusterBootstrap, *, max_cost: float) -> int | None:
    """The place of the most careful rule that costs at most so much on average; None where none does."""
    for place, costs in enumerate(cost_TP):
        if bootstrap.interval(costs, most=max(float(costs.max()), max_cost)).high <= max_cost:
            return place
    return None


def oracle(right_RPS: Floats, costs_RPS: Floats) -> tuple[Floats, Floats]:
    """Right answers and costs, by problem, of who knows which rungs will be right and asks the cheapest of them."""
    is_right = right_RPS == 1.0
    pick = np.argmax(is_right, axis=0)  # the cheapest where none is right
    costs = np.take_along_axis(costs_RPS, pick[None], axis=0)[0]
    return is_right.any(axis=0).astype(np.float64).mean(axis=1), costs.mean(axis=1)


def gains_over_mixing(played: Played, right_RP: Floats, cost_RP: Floats, bootstrap: ClusterBootstrap) -> list[Estimate]:
    """Each rule's accuracy minus that of tossing a coin between single rungs at the same mean cost.

    What mixing reaches is the upper hull of the rungs' points; it is drawn anew in each redraw of the problems.
    """
    values = _above_hull(right_RP.mean(axis=1), cost_RP.mean(axis=1), played.right_TP.mean(1), played.cost_TP.mean(1))
    redraws = [bootstrap.means(table.T) for table in (right_RP, cost_RP, played.right_TP, played.cost_TP)]
    drawn = np.array([_above_hull(*row) for row in zip(*redraws, strict=True)])
    tail = (1.0 - bootstrap.confidence) / 2
    bounds = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    return [
        Estimate(
            value=float(value),
            low=min(float(value), float(low)),
            high=max(float(value), float(high)),
            confidence=bootstrap.confidence,
            n=right_RP.shape[1],
            method="percentile cluster bootstrap",
        )
        for value, low, high in zip(values, *bounds, strict=True)
    ]


def _above_hull(right_R: Floats, cost_R: Floats, right_T: Floats, cost_T: Floats) -> Floats:
    hull: list[tuple[float, float]] = []
    best = -1.0
    for cost, right in sorted(zip(cost_R.tolist(), right_R.tolist(), strict=True)):
        if right <= best:
            continue
        best = right
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], (cost, right)):
            hull.pop()
        hull.append((cost, right))
    costs, rights = zip(*hull, strict=True)
    above: Floats = right_T - np.interp(cost_T, costs, rights)
    return above


def _turns_up(one: tuple[float, float], other: tuple[float, float], third: tuple[float, float]) -> bool:
    rise = (other[1] - one[1]) * (third[0] - one[0])
    return rise <= (third[1] - one[1]) * (other[0] - one[0])
