"""Chances of being right as a function of features: ridge logistic regression, calibrated and cross-fitted.

In: features X (problems × features), shares of right answers y in [0, 1]. Out: a
:class:`Chance`. Plain numpy: some hundreds of problems, a thousand features. Chances of problems that a model has not
seen come from fitting it on :func:`folds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.core.records import Record
from spiritsafe.stats import Floats

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

RIDGES = (1000.0, 100.0, 10.0, 1.0, 0.1)
"""Of these that with the best cross-fitted log loss is taken; the first is next to a constant."""

NUM_FOLDS = 5
_INNER_FOLDS = 4
_MOST_STEPS = 50
_MOST_HALVINGS = 30
_EDGE = 1e-4
_PRIOR = 1.0
_FREE = 1e-9
"""The intercept's penalty: none, but that problems which are all right have a finite one."""
_LEAST_SPREAD = 0.05
"""Below it a feature is not scaled up: a gram of one problem would weigh as much as one of half of them."""


@final
class Chance(Record):
    """A calibrated logistic regression: ``sigmoid(slope · (weights · x + intercept) + offset)``.

    Attributes:
        slope: Of Platt's calibration, never negative; 0 where the features say nothing, so that all chances are one.
        ridge: Penalty ``ridge / 2 · |standardised weights|²`` that was chosen.
    """

    weights: tuple[float, ...]
    intercept: float
    slope: float
    offset: float
    ridge: float

    def of(self, features_PX: Floats) -> Floats:
        """The chance of each row, kept a little away from 0 and 1."""
        scores = features_PX @ np.asarray(self.weights) + self.intercept
        chances: Floats = np.clip(special.expit(self.slope * scores + self.offset), _EDGE, 1.0 - _EDGE)
        return chances


def log_loss(right_P: Floats, chance_P: Floats) -> Floats:
    """Loss of each problem in nats."""
    chance = np.clip(chance_P, _EDGE, 1.0 - _EDGE)
    losses: Floats = -(right_P * np.log(chance) + (1.0 - right_P) * np.log1p(-chance))
    return losses


def ridge_logistic(features_PX: Floats, right_P: Floats, ridge: float) -> tuple[Floats, float]:
    """Weights and intercept at the minimum of ``Σ log loss + ridge / 2 · |weights|²``; the intercept is free."""
    return ridge_path(features_PX, right_P, (ridge,))[0]


def ridge_path(features_PX: Floats, right_P: Floats, ridges: Sequence[float]) -> list[tuple[Floats, float]]:
    """:func:`ridge_logistic` for each ridge, each from where the last one ended.

    Newton's method on the features' principal axes (iteratively reweighted least squares): a rotation leaves the
    penalty as it is, and there are never more axes than problems.
    """
    left, sizes, axes = np.linalg.svd(features_PX, full_matrices=False)
    keep = sizes > 1e-10 * max(1.0, float(sizes.max(initial=0.0)))
    design = np.column_stack([left[:, keep] * sizes[keep], np.ones(len(right_P))])
    at = np.zeros(design.shape[1])
    path = []
    for ridge in ridges:
        penalty = np.full(design.shape[1], ridge)
        penalty[-1] = _FREE
        at = _newton(design, right_P, penalty, at)
        path.append((at[:-1] @ axes[keep], float(at[-1])))
    return path


def _newton(design: Floats, right_P: Floats, penalty: Floats, at: Floats) -> Floats:
    """The minimum, from a start; a step that does not lower the objective is halved."""

    def objective(place: Floats) -> float:
        scores = design @ place
        return float(np.sum(np.logaddexp(0.0, scores) - right_P * scores) + 0.5 * penalty @ place**2)

    value = objective(at)
    for _ in range(_MOST_STEPS):
        chance = special.expit(design @ at)
        gradient = design.T @ (chance - right_P) + penalty * at
        curvature = (design.T * np.maximum(chance * (1.0 - chance), 1e-10)) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        for _ in range(_MOST_HALVINGS):
            lower = objective(at - step)
            if lower <= value:
                break
            step = step / 2
        else:
            return at
        at, gain, value = at - step, value - lower, lower
        if gain <= 1e-10 * (1.0 + abs(value)):
            break
    return at


def folds(problem_N: Places, num_folds: int, seed: int) -> Iterator[tuple[Mask, Mask]]:
    """Masks of rows that are learnt from and left out; each is left out once, together with all of its problem."""
    names, place_N = np.unique(problem_N, return_inverse=True)
    fold_N = np.random.default_rng(seed).permutation(np.arange(names.size) % num_folds)[place_N]
    for one in range(min(num_folds, names.size)):
        yield fold_N != one, fold_N == one


def fit_chance(features_PX: Floats, right_P: Floats, problem_P: Places | None = None, *, seed: int = 0) -> Chance:
    """Choose the ridge, fit, calibrate.

    The ridge is that whose scores of left-out problems lose least when they are calibrated. Platt's two numbers
    (1999) are fitted to those scores, with one right and one wrong answer added at the mean score as his targets do.

    Args:
        problem_P: Which rows are of one problem; None: each is of its own.
    """
    centre, spread = features_PX.mean(axis=0), np.maximum(features_PX.std(axis=0), _LEAST_SPREAD)
    scaled = (features_PX - centre) / spread
    scores_RP = np.empty((len(RIDGES), len(right_P)))
    for learn, left_out in folds(np.arange(len(right_P)) if problem_P is None else problem_P, _INNER_FOLDS, seed):
        for place, (weights, intercept) in enumerate(ridge_path(scaled[learn], right_P[learn], RIDGES)):
            scores_RP[place, left_out] = scaled[left_out] @ weights + intercept
    calibrated = [(*platt(scores, right_P), scores) for scores in scores_RP]
    losses = [log_loss(right_P, special.expit(slope * scores + offset)).sum() for slope, offset, scores in calibrated]
    best = int(np.argmin(losses))
    ridge, (slope, offset, _) = RIDGES[best], calibrated[best]
    weights, intercept = ridge_logistic(scaled, right_P, ridge)
    return Chance(
        weights=tuple(float(f"{weight:.7g}") for weight in (weights / spread).tolist()),
        intercept=intercept - float(weights @ (centre / spread)),
        slope=slope,
        offset=offset,
        ridge=ridge,
    )


def platt(scores_P: Floats, right_P: Floats) -> tuple[float, float]:
    """Slope and offset that turn scores into chances; a slope below 0 is none."""
    spread = float(scores_P.std())
    shares = np.append(right_P, 0.5 * np.ones(2))  # a right and a wrong answer at the mean
    middle = float(scores_P.mean())
    if spread > 1e-9:
        column = np.append((scores_P - middle) / spread, np.zeros(2))[:, None]
        (slope,), offset = ridge_logistic(column, shares, _PRIOR)
        if slope > 0.0:
            return float(slope) / spread, offset - float(slope) * middle / spread
    share = float(shares.mean())
    return 0.0, float(special.logit(share))
