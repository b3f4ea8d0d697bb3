"""Intervals of means over problems when all that is known is one number a problem: the cluster bootstrap.

In: for each problem (a cluster: its many attempts stand or fall together) one value, such as the expected score of a
vote among k of its attempts; NaN where a problem has none. Out: :class:`~spiritsafe.stats.intervals.Estimate`. All
intervals of one :class:`ClusterBootstrap` rest on the same redraws, so paired quantities stay paired. Use
:func:`spiritsafe.stats.intervals.score_interval` where there are plain counts.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.stats.intervals import Estimate, Floats, refuse_counts

BOOTSTRAP = "BCa cluster bootstrap"
_NO_SPREAD = "exact bound, all problems alike"


@final
class ClusterBootstrap:
    """Redraws of the same problems with replacement, used for every statistic of them.

    Args:
        num_clusters: Problems.

    Raises:
        NumericalError: No problems, or a level outside (0, 1).
    """

    def __init__(self, num_clusters: int, *, seed: int, num_draws: int = 2_000, confidence: float = 0.95) -> None:
        if num_clusters < 1 or num_draws < 1 or not 0.0 < confidence < 1.0:
            raise refuse_counts(f"{num_clusters} clusters, {num_draws} redraws at confidence {confidence}")
        self.confidence = confidence
        picks = np.random.default_rng(seed).integers(0, num_clusters, size=(num_draws, num_clusters))
        weights = np.zeros((num_draws, num_clusters))
        np.add.at(weights, (np.arange(num_draws)[:, None], picks), 1.0)
        self._weights = weights

    def means(self, values: npt.ArrayLike) -> Floats:
        """Mean of each redraw; ``values`` may have further axes behind the problems', each mean is over those known.

        A redraw that holds no problem with a known value gives NaN.
        """
        array = self._checked(values)
        known = ~np.isnan(array)
        with np.errstate(invalid="ignore"):
            top, bottom = self._weights @ np.where(known, array, 0.0), self._weights @ known
            means: Floats = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan)
        return means

    def interval(self, values: npt.ArrayLike, *, least: float = 0.0, most: float = 1.0) -> Estimate:
        """The mean over problems with its interval.

        BCa (Efron 1987): percentiles of the redraws' means, corrected for bias and for skewness (acceleration from
        the jackknife). Their levels are widened as Hesterberg (2015) expands the percentile interval, from
        normal quantiles to ``sqrt(n / (n - 1))`` times Student's, because a bootstrap of n problems has a variance
        (n - 1)/n too small. Where all problems have one value c the redraws have no spread; then at most a share
        ``1 - (tail)^(1/n)`` of all problems can differ from c at this level, each by as much as the bounds allow.

        Args:
            values: One number a problem; NaN: not known, the problem is left out.
            least: Smallest value that a problem can have.

        Raises:
            NumericalError: No problem has a value, or one is outside its bounds.
        """
        array = self._checked(values)
        known = array[~np.isnan(array)]
        if array.ndim != 1 or known.size == 0 or known.min() < least - 1e-9 or known.max() > most + 1e-9:
            raise refuse_counts(f"{known.size} values that should lie in [{least}, {most}]")
        mean = float(known.mean())
        tail = (1 - self.confidence) / 2
        spread = float(known.max() - known.min())
        if known.size == 1 or spread <= 1e-12 * max(1.0, abs(mean)):
            unlike = 1 - tail ** (1 / known.size)
            low, high, method = mean + unlike * (least - mean), mean + unlike * (most - mean), _NO_SPREAD
        else:
            low, high = bca_bounds(known, mean, self.means(array), tail)
            method = BOOTSTRAP
        return Estimate(
            value=mean,
            low=max(least, min(low, mean)),
            high=min(most, max(high, mean)),
            confidence=self.confidence,
            n=known.size,
            method=method,
        )

    def _checked(self, values: npt.ArrayLike) -> Floats:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 0 or array.shape[0] != self._weights.shape[1]:
            raise refuse_counts(f"values of shape {array.shape} for {self._weights.shape[1]} clusters")
        return array


def bca_bounds(values: Floats, mean: float, redrawn: Floats, tail: float) -> tuple[float, float]:
    """Bounds of a statistic by BCa, their levels widened as :meth:`ClusterBootstrap.interval` says.

    Args:
        values: One a cluster, whose mean is the statistic, or is so to first order.
        mean: The statistic.
        redrawn: The statistic of each redraw; NaN where one has none.
        tail: Probability beyond each bound.
    """
    redrawn = redrawn[~np.isnan(redrawn)]
    n = values.size
    tie = 1e-9 * float(values.max() - values.min())  # sums in another order differ in the last bits
    below = float((redrawn < mean - tie).mean()) + 0.5 * float((np.abs(redrawn - mean) <= tie).mean())
    bias = float(special.ndtri(min(max(below, 0.5 / redrawn.size), 1 - 0.5 / redrawn.size)))
    # The jackknife mean without problem i is mean - deviation_i / (n - 1), so its skewness is the values' own.
    deviation = values - mean
    acceleration = float((deviation**3).sum()) / (6 * float((deviation**2).sum()) ** 1.5)
    wide = math.sqrt(n / (n - 1)) * float(special.stdtrit(n - 1, 1 - tail))
    levels = []
    for z in (-wide, wide):
        shifted = bias + z
        scale = 1 - acceleration * shifted
        levels.append(float(special.ndtr(bias + shifted / scale)) if scale > 0 else float(z > 0))
    low, high = np.quantile(redrawn, levels)
    return float(low), float(high)
