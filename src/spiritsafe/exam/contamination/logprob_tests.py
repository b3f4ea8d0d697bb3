"""Signs of memory in log-probabilities: are the public problems, or their order, less surprising than chance explains?

In: log-probabilities of tokens. Out: scores of single problems (mean, Min-K%, Min-K%++), an exact test of public
against sealed scores, an exact test of the published order against shuffles. The halves are a random cut, so any score
whatever gives a test of the stated size: what a score misses costs power only. Supporting evidence: a model that was
trained on by reward shows little of it (arXiv 2510.02386).

Shapes: S shards, J orders of a shard, the published one first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.generator import TokenSpread
from spiritsafe.exam.records.contamination import OrderTest, ScoreTest
from spiritsafe.stats import Estimate, Labels, edge_of, randomisation_test

_LEAST_DEVIATION = 1e-6  # where one token has all the probability, and the deviation is rounding


def lowest_mean(values: Sequence[float], share: float = 0.2) -> float:
    """Mean of the lowest share of them, one at least: Min-K% of log-probabilities (Shi et al., arXiv 2310.16789).

    Raises:
        NumericalError: There are none.
    """
    if not values:
        raise NumericalError("A text without tokens has no score.", hint="Leave empty answers out.")
    count = max(1, int(len(values) * share))
    return math.fsum(sorted(values)[:count]) / count


def standardised(tokens: Sequence[TokenSpread]) -> list[float]:
    """Each log-probability less its expectation, in standard deviations (Min-K%++, arXiv 2404.02936, equation 3)."""
    return [(own - mean) / max(deviation, _LEAST_DEVIATION) for own, mean, deviation in tokens]


def auc_interval(share: float, num_first: int, num_second: int, *, confidence: float = 0.95) -> Estimate:
    """Interval of the chance that a first value is above a second one (Newcombe 2006, method 5).

    Args:
        share: Of the pairs in which it is; ties count half.
    """
    z = float(special.ndtri(0.5 + confidence / 2))
    half = (num_first + num_second) / 2 - 1

    def near(theta: float) -> bool:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + half * spread) / (num_first * num_second)
        return (theta - share) ** 2 <= z * z * variance

    return Estimate(
        value=share,
        low=edge_of(near, share, 0.0),
        high=edge_of(near, share, 1.0),
        confidence=confidence,
        n=num_first + num_second,
        method="Newcombe 2006, method 5",
    )


def score_test(
    public: Sequence[float],
    sealed: Sequence[float],
    *,
    method: str,
    text: str,
    seed: int,
    num_draws: int = 9_999,
    strata: tuple[Labels, Labels] | None = None,
) -> ScoreTest:
    """Are public scores higher? Rank sum against seeded re-splits of the bank.

    Args:
        public: One score a public problem; higher is better known.
        sealed: One score a sealed problem.
        strata: Stratum of each problem, when each stratum was split by itself.

    Raises:
        NumericalError: A half is empty, or a score is no number.
    """
    values = np.array([*public, *sealed], dtype=np.float64)
    if not public or not sealed or not np.isfinite(values).all():
        raise NumericalError("These scores cannot be compared.", hint="Give finite scores of both halves.")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[place].astype(np.int64)  # twice the ranks; ties have half ones
    p_value, used = randomisation_test(
        doubled[: len(public)], doubled[len(public) :], seed=seed, num_draws=num_draws, strata=strata
    )
    above = doubled[: len(public)].sum() / 2 - len(public) * (len(public) + 1) / 2
    share = float(above) / (len(public) * len(sealed))
    return ScoreTest(
        method=method, text=text, auc=auc_interval(share, len(public), len(sealed)), p_value=p_value, num_draws=used
    )


def order_test(log_likelihoods_SJ: npt.ArrayLike, *, shard_size: int, seed: int, num_draws: int = 9_999) -> OrderTest:
    """Is the published order likelier than shuffles of it?

    The sharded test of Oren et al. (arXiv 2310.17623), made exact: under the null hypothesis the published order could
    have been any of its shard's, independently, so the sum over shards is held against sums of orders drawn at random.

    Args:
        log_likelihoods_SJ: Log-likelihood of each shard in each order; the published one in column 0.
        shard_size: Problems in a shard.

    Raises:
        NumericalError: There is no shard, no shuffle, or a number is missing.
    """
    values = np.asarray(log_likelihoods_SJ, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise NumericalError("No order can be tested.", hint="Give finite log-likelihoods of shards and shuffles.")
    num_shards, num_orders = values.shape
    raw = np.random.PCG64(seed).random_raw(num_draws * num_shards).reshape(num_draws, num_shards)
    picks = (raw % np.uint64(num_orders)).astype(np.int64)  # the remainder's bias is below 2**-50
    totals = values[np.arange(num_shards), picks].sum(axis=1)
    observed = float(values[:, 0].sum())
    # equal sums may differ in their last bits: they count as reached
    reached = int((totals >= observed - 1e-9 * max(1.0, abs(observed))).sum())
    return OrderTest(
        num_shards=num_shards,
        shard_size=shard_size,
        num_shuffles=num_orders - 1,
        mean_excess=float((values[:, 0] - values[:, 1:].mean(axis=1)).mean()),
        p_value=(reached + 1) / (num_draws + 1),
        num_draws=num_draws,
    )
