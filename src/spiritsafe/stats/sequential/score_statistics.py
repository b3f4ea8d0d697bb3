"""How far what was seen lies above a margin, as a normal score: the statistic that sequential designs look at.

In: right answers, one count a problem. Out: z such that Φ(-z) is a one-sided p-value of "the mean is at most the
margin", for a paired difference of two models or for the score of one. Both hold for few problems and for shares near 0
and 1, and can be inverted into intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

import numpy as np
import numpy.typing as npt
import scipy
from scipy import special

from spiritsafe.stats.intervals import (
    INTERVALS,
    Floats,
    IntervalRule,
    check_counts,
    effective_sizes,
    gather,
    refuse_counts,
)

_BISECTIONS = 60
_EDGE = 1e-9  # means are searched for strictly inside the possible range
_LARGEST_Z = 37.0  # Φ(-37) is 6e-300: tails beyond run out of digits, and of order

Tail = Literal["upper", "lower", "middle"]
"""P(as much or more), P(as much or less), or the former without a correction for discreteness."""


class MarginEvidence(Protocol):
    """What a sequential design asks of the data."""

    @property
    def num_problems(self) -> int:
        """Problems seen."""
        ...

    @property
    def value(self) -> float:
        """What was observed."""
        ...

    @property
    def lowest(self) -> float:
        """Smallest possible mean."""
        ...

    def z(self, mean: float, tail: Tail) -> float:
        """Normal score of what was seen if the mean were this; Φ(-z) is the upper tail, Φ(z) the lower."""
        ...

    def spread(self, mean: float) -> float:
        """Standard deviation of one problem's value if the mean were this."""
        ...

    def scale(self, margin: float, mean: float) -> float:
        """What the statistic of ``margin`` divides one problem's excess by if the mean were ``mean``."""
        ...


def restricted_variance(counts_XJ: npt.NDArray[np.integer], mean: float) -> Floats:
    """Variance of a bounded discrete value, estimated under the restriction that its mean is ``mean``.

    The multinomial likelihood is maximised over all distributions on the J values with that mean (empirical likelihood,
    Owen 2001, §2.9, with the two extreme values always allowed). For one try a problem (J = 3) this is the
    restricted estimate of Tango (1998), for J = 2 the variance of Wilson's score interval.

    Args:
        counts_XJ: How often each of J equally spaced values in [-1, 1] was seen, over any leading axes X.
        mean: In (-1, 1).

    Returns:
        Variances, shape X.
    """
    counts = np.asarray(counts_XJ, dtype=np.float64)
    shifted_J = np.linspace(-1.0, 1.0, counts.shape[-1]) - mean
    total = counts.sum(axis=-1)
    low = np.full(total.shape, -1.0 / shifted_J[-1])
    high = np.full(total.shape, -1.0 / shifted_J[0])
    seen = counts > 0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        scale = 1.0 + middle[..., None] * shifted_J
        slope = np.divide(counts * shifted_J, scale, out=np.zeros_like(counts), where=seen).sum(axis=-1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    scale = 1.0 + ((low + high) / 2)[..., None] * shifted_J
    chances = np.divide(counts, scale * total[..., None], out=np.zeros_like(counts), where=seen)
    # What is missing to 1 sits on the extreme value that was never seen but that the restriction needs.
    missing = np.maximum(0.0, 1.0 - chances.sum(axis=-1))
    extreme = np.where((counts * shifted_J).sum(axis=-1) > 0, shifted_J[0], shifted_J[-1])
    return np.asarray((chances * shifted_J**2).sum(axis=-1) + missing * extreme**2)


def held_back(counts_XJ: npt.NDArray[np.integer], mean: float, tail: Tail) -> Floats:
    """Answers that a paired statistic holds back for discreteness, so that the level holds for few problems too.

    One step of the sum: the differences' own size, averaged with their size as weight. That is a whole problem where
    each is asked once or all its tries go alike, and little where tries differ by luck. Towards the far end of the
    range it is up to twice as much. With it the exact error rate of one try a problem at level .025, enumerated over 3
    to 300 problems, means from -.95 to .95 and all shares of disagreement, is at most .0249; for several tries see
    ``tests/unit/stats/test_intervals_levels.py``. By rule 1 half an answer to one was held back, and it reaches .0366.

    Args:
        counts_XJ: How often each of J differences was seen.
        mean: Hypothetical mean, in (-1, 1).

    Returns:
        In answers, shape X.
    """
    counts = np.asarray(counts_XJ, dtype=np.float64)
    sizes_J = np.abs(np.linspace(-1.0, 1.0, counts.shape[-1]))
    total = counts @ sizes_J
    step = np.divide(counts @ sizes_J**2, total, out=np.ones_like(total), where=total > 0)
    far = {"upper": -mean, "middle": 0.0, "lower": mean}[tail]
    return np.asarray(step * (1.0 + max(0.0, far)) * (counts.shape[-1] - 1) / 2)


def _first_held_back(margin: float) -> float:
    """By rule 1, whatever was seen."""
    return 0.5 if -0.1 <= margin <= 0.0 else 1.0


def difference_z(
    counts_XJ: npt.NDArray[np.integer], mean: float, tail: Tail = "upper", *, answers: float | None = None
) -> Floats:
    """Score statistic of "the mean paired difference is ``mean``" (Tango 1998 for one try), corrected for discreteness.

    Args:
        counts_XJ: How often each difference -1, -1 + 1/T, …, 1 was seen; J = 2T + 1 for T tries a problem.
        mean: Hypothetical mean, in (-1, 1).
        tail: Which tail the score is for.
        answers: Held back in the upper and lower tail; None: :func:`held_back`.

    Returns:
        z, shape X: Φ(-z) is the upper, Φ(z) the lower tail.
    """
    counts = np.asarray(counts_XJ)
    correction = held_back(counts, mean, tail) if answers is None else answers
    sign = {"upper": -1.0, "middle": 0.0, "lower": 1.0}[tail]
    values_J = np.linspace(-1.0, 1.0, counts.shape[-1])
    excess = counts @ values_J - counts.sum(axis=-1) * mean + sign * correction * (values_J[1] + 1.0)
    scale = np.sqrt(counts.sum(axis=-1) * restricted_variance(counts, mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(excess == 0, 0.0, excess / scale)
    return np.clip(z, -_LARGEST_Z, _LARGEST_Z)


def difference_bounds(counts_J: npt.NDArray[np.integer], confidence: float) -> tuple[float, float]:
    """The mean differences that :func:`difference_z` does not reject, in either tail at half of 1 - ``confidence``."""
    critical = float(special.ndtri(0.5 + confidence / 2))

    def below(mean: float) -> float:
        return critical - float(difference_z(counts_J, mean, "upper"))

    def above(mean: float) -> float:
        return -critical - float(difference_z(counts_J, mean, "lower"))

    return _crossing(below), _crossing(above)


def _crossing(excess: Callable[[float], float]) -> float:
    """Where a rising function of the mean passes 0, or the end of the range on which it does not."""
    if excess(-1.0 + _EDGE) >= 0:
        return -1.0
    if excess(1.0 - _EDGE) <= 0:
        return 1.0
    return float(scipy.optimize.brentq(excess, -1.0 + _EDGE, 1.0 - _EDGE, xtol=1e-10))


@final
@dataclass(frozen=True)
class PairedEvidence:
    """Differences of two models, problem by problem.

    Attributes:
        counts_J: How often each difference -1, -1 + 1/T, …, 1 was seen.
        answers: Held back from the statistic by rule 1; None: :func:`held_back`.
    """

    counts_J: npt.NDArray[np.int64]
    answers: float | None
    lowest: float = -1.0

    @classmethod
    def of(
        cls,
        first: Sequence[int],
        second: Sequence[int],
        *,
        trials: int,
        margin: float,
        intervals: IntervalRule = INTERVALS,
    ) -> PairedEvidence:
        """From right answers, one count in 0..trials a problem, for a claim with this margin.

        Raises:
            NumericalError: The counts are impossible or the lists differ in length.
        """
        a, b = check_counts(first, trials), check_counts(second, trials)
        if a.size != b.size:
            raise refuse_counts(f"{a.size} problems against {b.size}")
        counts = np.bincount(a - b + trials, minlength=2 * trials + 1).astype(np.int64)
        return cls(counts, _first_held_back(margin) if intervals == 1 else None)

    @property
    def num_problems(self) -> int:
        """Problems seen."""
        return int(self.counts_J.sum())

    @property
    def value(self) -> float:
        """Mean difference."""
        return float(self.counts_J @ np.linspace(-1.0, 1.0, self.counts_J.size)) / self.num_problems

    def z(self, mean: float, tail: Tail) -> float:
        """See :func:`difference_z`."""
        return float(difference_z(self.counts_J, mean, tail, answers=self.answers))

    def spread(self, mean: float) -> float:
        """Root of :func:`restricted_variance`."""
        return float(np.sqrt(restricted_variance(self.counts_J, mean)))

    def scale(self, margin: float, mean: float) -> float:
        """Root mean square distance from the margin: what the restricted variance estimates at other means."""
        return math.hypot(self.spread(mean), mean - margin)


@final
@dataclass(frozen=True)
class ScoreEvidence:
    """Right answers of one model.

    Attributes:
        share: Of right answers.
        effective: Independent answers that they are worth for a bound from below: the problems when each was asked
            once, :func:`~spiritsafe.stats.intervals.effective_sizes` otherwise.
        effective_above: The same for a bound from above.
    """

    share: float
    effective: float
    num_problems: int
    effective_above: float
    lowest: float = 0.0

    @classmethod
    def of(cls, right: Sequence[int], *, trials: int, intervals: IntervalRule = INTERVALS) -> ScoreEvidence:
        """From right answers, one count in 0..trials a problem.

        Raises:
            NumericalError: The counts are impossible.
        """
        counts = check_counts(right, trials)
        right_c, asked_c = (side.astype(np.float64) for side in gather(counts, None, trials))
        share = float(right_c.sum() / asked_c.sum())
        size = float(counts.size)
        for_low, for_high = (size, size) if trials == 1 else effective_sizes(right_c, asked_c, intervals)
        return cls(share, for_low, counts.size, for_high)

    @property
    def value(self) -> float:
        """Share of right answers."""
        return self.share

    def z(self, mean: float, tail: Tail) -> float:
        """Normal score of the exact binomial tail (Clopper & Pearson 1934); "middle" is the mid-p."""
        effective = self.effective_above if tail == "lower" else self.effective
        right, wrong = self.share * effective, (1 - self.share) * effective
        at_least = float(special.betainc(right, wrong + 1, mean)) if right > 0 else 1.0
        at_most = float(special.betainc(wrong, right + 1, 1 - mean)) if wrong > 0 else 1.0
        upper, lower = -float(special.ndtri(at_least)), float(special.ndtri(at_most))
        # Φ(-middle) is the mid-p: from the smaller tail, that keeps its digits
        if at_least < at_most:
            more = float(special.betainc(right + 1, wrong, mean)) if wrong > 0 else 0.0
            middle = -float(special.ndtri((at_least + more) / 2))
        else:
            fewer = float(special.betainc(wrong + 1, right, 1 - mean)) if right > 0 else 0.0
            middle = float(special.ndtri((at_most + fewer) / 2))
        return float(np.clip({"upper": upper, "lower": lower, "middle": middle}[tail], -_LARGEST_Z, _LARGEST_Z))

    def spread(self, mean: float) -> float:
        """Root of the problems' variance: a coin's, over the answers that a problem is worth."""
        return float(np.sqrt(mean * (1 - mean) * self.num_problems / self.effective))

    def scale(self, margin: float, mean: float) -> float:
        """The margin's own spread: the binomial has no other parameter."""
        return self.spread(margin)
