"""The share studied: of the public problems that a model would not have solved, how many it knows by heart.

In: right answers of the two halves of one bank. Out: an estimate with its interval. A student that knows a share λ of
the public problems, and solves the others as it solves the sealed ones, fails the public half (1 - λ) times as often:
λ is 1 minus the ratio of two failure rates, and its interval is that of a ratio of proportions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spiritsafe.stats.intervals import INTERVALS, Estimate, IntervalRule, check_counts, gather, share_bounds

Bounds = tuple[float, float, float]
"""A proportion with its lower and upper bound."""


def ratio_bounds(first: Bounds, second: Bounds) -> tuple[float, float]:
    """Bounds of first / second from the bounds of each (Donner & Zou 2012, MOVER-R).

    With Wilson's bounds one of the intervals that Fagerland, Lydersen & Laake (2015) recommend for the ratio of two
    proportions. ``second`` must be above 0.
    """
    (a, low_a, high_a), (b, low_b, high_b) = first, second
    product = a * b

    def bound(of_a: float, of_b: float, sign: int) -> float:
        """Donner & Zou 2012, equation 2, multiplied out so that no denominator is near 0."""
        root = math.sqrt(max(0.0, product * product - of_a * of_b * (2 * a - of_a) * (2 * b - of_b)))
        other = product - sign * root
        if sign * other > 0 or math.isclose(of_b * (2 * b - of_b), 0.0, abs_tol=1e-12):
            return of_a * (2 * a - of_a) / other if other else math.inf
        return (product + sign * root) / (of_b * (2 * b - of_b))

    return max(0.0, bound(low_a, high_b, -1)), bound(high_a, low_b, 1)


def share_studied(
    public: Sequence[int],
    sealed: Sequence[int],
    *,
    trials: int = 1,
    confidence: float = 0.95,
    intervals: IntervalRule = INTERVALS,
) -> Estimate | None:
    """Estimate the share of the otherwise unsolved public problems that were studied.

    Args:
        public: Right answers, one count in 0..trials for each public problem.
        sealed: The same for each sealed problem.
        trials: Times each problem was asked; several are worth fewer independent ones (Korn & Graubard 1998).
        intervals: For what several tries are worth.

    Returns:
        The share, in [0, 1]; None when the sealed half was solved whole: nothing was left to study.

    Raises:
        NumericalError: The counts are impossible.
    """
    a, b = check_counts(public, trials), check_counts(sealed, trials)
    right_public = share_bounds(*gather(a, None, trials), confidence, intervals)
    right_sealed = share_bounds(*gather(b, None, trials), confidence, intervals)
    if right_sealed[0] >= 1.0:
        return None
    fails = [(1 - share, 1 - high, 1 - low) for share, low, high in (right_public, right_sealed)]
    low, high = ratio_bounds(fails[0], fails[1])
    value = min(1.0, max(0.0, 1 - fails[0][0] / fails[1][0]))
    return Estimate(
        value=value,
        low=max(0.0, min(value, 1 - high)),
        high=min(1.0, max(value, 1 - low)),
        confidence=confidence,
        n=(a.size + b.size) * trials,
        method="1 - ratio of failure rates, MOVER-R of Wilson bounds",
    )


def studied_statement(studied: Estimate) -> str:
    """The estimate in plain words."""
    return (
        f"Share studied: {studied.value:.0%} ({studied.low:.0%} to {studied.high:.0%}) of the public problems that it "
        "would not have solved by itself."
    )
