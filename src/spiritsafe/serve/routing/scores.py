"""How good chances are that were given before the answer was known, beside a constant.

In: for each problem the share of right answers, the chance by a model that had not seen the problem, and the constant
(the share of right answers among the problems that this model had seen). Out: :class:`ChanceScores`.
"""

from __future__ import annotations

from typing import final

import numpy as np
from scipy import stats as scipy_stats

from spiritsafe.core.records import Record
from spiritsafe.serve.routing.logistic import log_loss
from spiritsafe.stats import ClusterBootstrap, Estimate, Floats

_NUM_BINS = 10


@final
class ReliabilityBin(Record):
    """Problems whose chances lie beside each other: what was promised, and what came."""

    num_problems: int
    chance: float
    right: float


@final
class ChanceScores(Record):
    """Of one rung's chances.

    Attributes:
        auc: Chance that a right answer was given a higher one than a wrong answer; None where all are right or wrong.
        constant_brier: Of the constant.
        brier_gain: Constant minus model, paired by problem.
        log_loss_gain: The same, in nats.
        says_something: The Brier score is better than the constant's, with 95 % confidence.
        bins: Tenths of the problems, by chance.
    """

    brier: float
    log_loss: float
    constant_brier: float
    constant_log_loss: float
    brier_gain: Estimate
    log_loss_gain: Estimate
    auc: float | None
    says_something: bool
    bins: tuple[ReliabilityBin, ...]


def score_chances(
    right_PS: Floats, chance_PS: Floats, constant_PS: Floats, bootstrap: ClusterBootstrap
) -> ChanceScores:
    """Score chances of every sample of every problem."""
    brier, flat = ((right_PS - chance) ** 2 for chance in (chance_PS, constant_PS))
    loss, flat_loss = (log_loss(right_PS, chance) for chance in (chance_PS, constant_PS))
    gain = bootstrap.interval((flat - brier).mean(axis=1), least=-1.0)
    bound = float(np.abs(flat_loss - loss).max()) + 1e-9
    return ChanceScores(
        brier=float(brier.mean()),
        log_loss=float(loss.mean()),
        constant_brier=float(flat.mean()),
        constant_log_loss=float(flat_loss.mean()),
        brier_gain=gain,
        log_loss_gain=bootstrap.interval((flat_loss - loss).mean(axis=1), least=-bound, most=bound),
        auc=auc(right_PS.ravel(), chance_PS.ravel()),
        says_something=gain.low > 0.0,
        bins=_bins(right_PS.mean(axis=1), chance_PS.mean(axis=1)),
    )


def auc(right_N: Floats, chance_N: Floats) -> float | None:
    """Mann and Whitney's statistic, ties half."""
    positive = right_N == 1.0
    num_right, num_wrong = int(positive.sum()), int((~positive).sum())
    if not num_right or not num_wrong:
        return None
    ranks = scipy_stats.rankdata(chance_N)
    return float((ranks[positive].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def _bins(right_P: Floats, chance_P: Floats) -> tuple[ReliabilityBin, ...]:
    parts = np.array_split(np.argsort(chance_P, kind="stable"), min(_NUM_BINS, len(chance_P)))
    return tuple(
        ReliabilityBin(num_problems=part.size, chance=float(chance_P[part].mean()), right=float(right_P[part].mean()))
        for part in parts
    )
