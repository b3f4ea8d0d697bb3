"""Statistics of exams: intervals that hold for few problems and extreme scores, and comparisons that are paired.

In: counts of right answers, one for each problem (``0..trials`` when each problem is asked ``trials`` times). Out:
:class:`Estimate`, :class:`PairedDifference`, :class:`GapTest`. Nothing here compares two models by looking whether
their intervals overlap, and an Estimate has no order: two models are compared problem by problem or not at all.
Deterministic, so that a stranger recomputes the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import (
    INTERVALS,
    Counts,
    Estimate,
    IntervalRule,
    check_counts,
    gather,
    mover_bounds,
    refuse_counts,
    share_bounds,
)
from spiritsafe.stats.sequential.score_statistics import difference_bounds

_LEVEL = 0.05  # of the gap tests
_BLOCK_VALUES = 1 << 22  # random numbers held at once by the bootstrap (32 MiB)


class PairedDifference(Record):
    """First model minus second model on the same problems.

    Attributes:
        p_value: Two-sided mid-p of the exchange test (McNemar's when each problem is asked once).
        num_first_better: Problems (or clusters) that the first model answered right more often.
        num_second_better: The same for the second.
    """

    difference: Estimate
    p_value: float
    num_first_better: int
    num_second_better: int
    test: str


def _correlation(first_c: Counts, second_c: Counts, asked_c: Counts) -> float:
    """Correlation of two models' right answers over clusters, shrunk as Newcombe's method 10 shrinks phi."""
    asked = asked_c.astype(np.float64)
    a = first_c - asked * float(first_c.sum() / asked.sum())
    b = second_c - asked * float(second_c.sum() / asked.sum())
    scale = math.sqrt(float(a @ a) * float(b @ b))
    if scale == 0.0:
        return 0.0
    product = float(a @ b)
    if product > 0:  # the n/2 continuity correction of phi's numerator, written for sums of products: 1/2
        product = max(0.0, product - 0.5)
    return product / scale


def _exchange_test(differences: Counts, *, share_of_seen: float = 0.5) -> float:
    """Two-sided p of what was seen: each difference could as well have had the other sign. Exact, by convolution.

    Args:
        differences: One a problem.
        share_of_seen: Of the chance of exactly what was seen that counts: a half for the mid-p, 1 for the exact p.
    """
    sizes = np.abs(differences[differences != 0])
    reach = int(sizes.sum())
    if reach == 0:
        return 1.0
    distribution = np.zeros(2 * reach + 1)
    distribution[reach] = 1.0
    done = 0
    for size in sizes.tolist():
        inner = distribution[reach - done : reach + done + 1].copy()
        distribution[reach - done : reach + done + 1] = 0.0
        distribution[reach - done - size : reach + done - size + 1] += 0.5 * inner
        distribution[reach - done + size : reach + done + size + 1] += 0.5 * inner
        done += size
    observed = reach + abs(int(differences.sum()))
    upper = float(distribution[observed + 1 :].sum()) + share_of_seen * float(distribution[observed])
    return min(1.0, 2 * upper)


def exchange_p_value(first: Sequence[int], second: Sequence[int], *, trials: int = 1) -> float:
    """Exact two-sided p of the exchange test, without mid-p: errs in no more cases than its level says, in any sample.

    With one answer a problem this is McNemar's exact test: the binomial one of the discordant problems.

    Args:
        first: Right answers of the first model, one count in 0..trials a problem.
        second: The same problems in the same order, second model.

    Raises:
        NumericalError: The counts are impossible or the lists differ in length.
    """
    a, b = check_counts(first, trials), check_counts(second, trials)
    if a.size != b.size:
        raise refuse_counts(f"{a.size} problems against {b.size}")
    return _exchange_test(a - b, share_of_seen=1.0)


def paired_difference(
    first: Sequence[int],
    second: Sequence[int],
    *,
    trials: int = 1,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    intervals: IntervalRule = INTERVALS,
) -> PairedDifference:
    """First minus second on the same problems.

    Interval: the differences that the score test of paired claims does not reject (Tango 1998;
    :func:`spiritsafe.stats.sequential.score_statistics.difference_z`). By rule 1, and for clusters of several problems,
    Newcombe's (1998, method 10) on effective sample sizes: where one model solves all that the other does it can miss
    in 9 % of papers with one try, in a third with several. Test: exact distribution under exchange of the two models,
    mid-p; with one answer a problem this is McNemar's (Fagerland, Lydersen & Laake 2013 recommend its mid-p).

    Args:
        first: Right answers of the first model, one count in 0..trials a problem.
        second: The same problems in the same order, second model.
        clusters: One name a problem, equal for problems that stand or fall together.

    Raises:
        NumericalError: The counts are impossible or the lists differ in length.
    """
    a, b = check_counts(first, trials), check_counts(second, trials)
    if a.size != b.size:
        raise refuse_counts(f"{a.size} problems against {b.size}")
    a_c, asked_c = gather(a, clusters, trials)
    b_c, _ = gather(b, clusters, trials)
    single = trials == 1 and clusters is None
    if intervals == 1 or clusters is not None:
        bounds_a, bounds_b = (share_bounds(side_c, asked_c, confidence, intervals) for side_c in (a_c, b_c))
        low, high = mover_bounds(bounds_a, bounds_b, _correlation(a_c, b_c, asked_c))
        value = bounds_a[0] - bounds_b[0]
        method = "Newcombe paired" if single else "Newcombe paired on effective sample size"
    else:
        low, high = difference_bounds(np.bincount(a - b + trials, minlength=2 * trials + 1), confidence)
        value = float((a - b).sum()) / (a.size * trials)
        low, high, method = min(low, value), max(high, value), "paired score interval"
    return PairedDifference(
        difference=Estimate(
            value=value, low=low, high=high, confidence=confidence, n=int(asked_c.sum()), method=method
        ),
        p_value=_exchange_test(a_c - b_c),
        num_first_better=int((a_c > b_c).sum()),
        num_second_better=int((b_c > a_c).sum()),
        test="McNemar mid-p" if single else "exact exchange test by cluster, mid-p",
    )


def _difference_bounds(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Bounds of a difference of two independent gains; each lies in [-1, 1], so their difference in [-2, 2]."""
    low = first[0] - second[0] - math.hypot(first[0] - first[1], second[2] - second[0])
    high = first[0] - second[0] + math.hypot(first[2] - first[0], second[0] - second[1])
    return low, high


def gain_kept(
    student: Sequence[int],
    teacher: Sequence[int],
    base: Sequence[int],
    *,
    seed: int = 0,
    num_draws: int = 9_999,
    confidence: float = 0.95,
) -> Estimate | None:
    """The share of the teacher's gain over the base that a student kept: (student - base) / (teacher - base).

    Interval: percentiles of the ratio when problems are drawn again with replacement, the three models' answers to a
    problem together (Efron & Tibshirani 1993, ch. 13).

    Args:
        teacher: The same problems in the same order.
        base: The same problems in the same order.

    Returns:
        The share; None when there is no gain to keep (the teacher's gain is not above 0 in 97.5 % of the redraws).

    Raises:
        NumericalError: The lists differ in length.
    """
    rows = [np.asarray(values, dtype=np.float64) for values in (student, teacher, base)]
    if len({row.size for row in rows}) != 1 or not rows[0].size:
        raise refuse_counts(f"{[row.size for row in rows]} problems")
    kept, gained = rows[0] - rows[2], rows[1] - rows[2]
    size = kept.size
    generator = np.random.default_rng(seed)
    tops, bottoms = np.empty(num_draws), np.empty(num_draws)
    for start in range(0, num_draws, block := max(1, _BLOCK_VALUES // size)):
        picks = generator.integers(0, size, size=(min(block, num_draws - start), size))
        tops[start : start + picks.shape[0]] = kept[picks].mean(axis=1)
        bottoms[start : start + picks.shape[0]] = gained[picks].mean(axis=1)
    if np.quantile(bottoms, 0.025) <= 0:
        return None
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    value = float(kept.mean() / gained.mean())
    low, high = (float(q) for q in np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        confidence=confidence,
        n=size,
        method="paired bootstrap",
    )
