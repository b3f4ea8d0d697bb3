"""Watching a stream of answers without a plan of looks: bets against a claim, valid at every moment.

In: answers one by one, and a mean that they are held against. Out: the wealth of a gambler who bets that it is higher
(an e-process: under the hypothesis it exceeds 1/α with chance at most α, ever), and a confidence sequence. Nothing is
assumed of the answers but that they are bounded and come in random order; the paper may be finite. Slower than
:mod:`spiritsafe.stats.sequential.decision` when differences are small, sooner when they are gross, and needs no largest
number of problems. Waudby-Smith & Ramdas (2024, arXiv 2010.09686).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import scipy

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import Estimate, Floats, check_counts, refuse_counts

_SHARES_G = np.geomspace(0.015, 0.95, 10)
"""Shares of the wealth that are staked, one constant bettor each; their mean is what counts."""

_EDGE = 1e-9
_LARGEST_LOG = 700.0  # exp beyond it is infinite


class BettingResult(Record):
    """Where a stream stands.

    Attributes:
        shown: The wealth has exceeded 1/α at some moment.
        num_used: Values until then, or all so far.
        e_value: Largest wealth so far: evidence against "the mean is at most the margin".
        p_value: Valid at every moment: 1 / e_value, at most 1.
        estimate: Observed mean with the confidence sequence's interval after ``num_used`` values.
    """

    shown: bool
    num_used: int
    e_value: float
    p_value: float
    estimate: Estimate


def log_wealth(values_XN: npt.ArrayLike, mean: float, *, population: int | None = None) -> Floats:
    """Natural log of the wealth after each value when betting that the mean is above ``mean``.

    Each of G bettors stakes a constant share g: wealth Π (1 - g + g x_i / m), a fair game when E x_i = m, a losing one
    below. The mean of the bettors is the diversified capital of Waudby-Smith & Ramdas (2024, appendix B) with
    fixed bets; it falls in m, so that inverting it gives an interval.

    Without replacement from a finite population of N, the mean that the hypothesis leaves for value i is
    (N m - Σ_{j<i} x_j) / (N - i + 1) (their §5); a hypothesis that leaves less than nothing is refuted.

    Args:
        values_XN: In [0, 1], in random order, over any leading axes X.
        mean: In (0, 1).
        population: Size of the finite population that is meant; None: the source of the values is meant.

    Returns:
        Shape of ``values_XN``; infinite where the hypothesis is refuted.
    """
    values = np.asarray(values_XN, dtype=np.float64)
    returns = values / mean
    refuted = np.zeros(values.shape, dtype=bool)
    if population is not None:
        seen = np.cumsum(values, axis=-1)
        left = (population * mean - seen + values) / (population - np.arange(values.shape[-1]))
        # Where the hypothesis leaves nothing there is nothing to bet on: a right answer refutes it outright.
        returns = np.divide(values, left, out=np.ones_like(values), where=left > _EDGE)
        refuted = population * mean - seen < -_EDGE
    bettors = [np.cumsum(np.log1p(share * (returns - 1.0)), axis=-1) for share in _SHARES_G.tolist()]
    wealth = np.logaddexp.reduce(bettors) - math.log(len(bettors))
    return np.where(refuted, np.inf, wealth)


def _check(num: int, mean: float, alpha: float, population: int | None) -> None:
    if not (0 < mean < 1 and 0 < alpha < 1):
        raise NumericalError(
            f"No bet on a mean of {mean} at level {alpha}.",
            hint="Give a margin inside the possible range, a level in (0, 1).",
        )
    if population is not None and num > population:
        raise NumericalError(f"{num} values of a population of {population}.", hint="Pass the size of the whole paper.")


def _lower_bound(values_N: Floats, alpha: float, population: int | None) -> float:
    """Largest mean such that betting against it, and all below, has once made more than 1/α."""

    def excess(mean: float) -> float:
        best = float(log_wealth(values_N, mean, population=population).max())
        return min(best, 1e3) + math.log(alpha)  # brentq needs finite numbers

    if excess(_EDGE) <= 0:
        return 0.0
    return float(scipy.optimize.brentq(excess, _EDGE, 1 - _EDGE, xtol=1e-10))


def _bet(
    values_N: Floats, mean: float, alpha: float, population: int | None, rescale: Callable[[float], float]
) -> BettingResult:
    _check(values_N.size, mean, alpha, population)
    wealth = log_wealth(values_N, mean, population=population)
    above = np.flatnonzero(wealth >= -math.log(alpha))
    used = int(above[0]) + 1 if above.size else values_N.size
    best = float(wealth[:used].max())
    seen = values_N[:used]
    value = float(seen.mean())
    low = min(value, _lower_bound(seen, alpha, population))
    high = max(value, 1 - _lower_bound(1 - seen, alpha, population))
    return BettingResult(
        shown=bool(above.size),
        num_used=used,
        e_value=math.exp(min(best, _LARGEST_LOG)),
        p_value=min(1.0, math.exp(-best)),
        estimate=Estimate(
            value=rescale(value),
            low=rescale(low),
            high=rescale(high),
            confidence=1 - 2 * alpha,
            n=used,
            method="betting confidence sequence" if population is None else "betting confidence sequence, finite paper",
        ),
    )


def bet_on_difference(
    first: Sequence[int],
    second: Sequence[int],
    *,
    margin: float = 0.0,
    trials: int = 1,
    alpha: float = 0.025,
    population: int | None = None,
) -> BettingResult:
    """Bet that the first model is better than the second by more than ``margin`` (negative: not worse by as much).

    Args:
        first: Right answers of the first model, one count in 0..trials a problem, in random order.
        second: The same problems, second model.
        margin: In (-1, 1).
        alpha: One-sided level, over all moments together.
        population: Problems of the whole paper, when the claim is about the paper and not about such problems at large.

    Raises:
        NumericalError: Impossible counts, margin, level or population.
    """
    a, b = check_counts(first, trials), check_counts(second, trials)
    if a.size != b.size:
        raise refuse_counts(f"{a.size} problems against {b.size}")
    return _bet((a - b + trials) / (2 * trials), (1 + margin) / 2, alpha, population, lambda mean: 2 * mean - 1)


def is_difference_shown(
    first: Sequence[int], second: Sequence[int], *, margin: float, trials: int = 1, alpha: float = 0.025
) -> bool:
    """:func:`bet_on_difference`, won or not; for who asks so often that intervals would take long.

    Raises:
        NumericalError: Impossible counts, margin or level.
    """
    a, b = check_counts(first, trials), check_counts(second, trials)
    if a.size != b.size:
        raise refuse_counts(f"{a.size} problems against {b.size}")
    mean = (1 + margin) / 2
    _check(a.size, mean, alpha, None)
    return bool((log_wealth((a - b + trials) / (2 * trials), mean) >= -math.log(alpha)).any())


def bet_on_score(
    right: Sequence[int], threshold: float, *, trials: int = 1, alpha: float = 0.025, population: int | None = None
) -> BettingResult:
    """Bet that the score is above a threshold.

    Args:
        right: Right answers, one count in 0..trials a problem, in random order.
        threshold: In (0, 1).
        alpha: One-sided level, over all moments together.
        population: Problems of the whole paper, when the claim is about the paper and not about such problems at large.

    Raises:
        NumericalError: Impossible counts, threshold, level or population.
    """
    return _bet(check_counts(right, trials) / trials, threshold, alpha, population, lambda mean: mean)
