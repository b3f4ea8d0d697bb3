"""The randomisation test: is the public half better than a random cut of one bank explains?

In: right answers of the two halves. Out: a one-sided p-value. The cut was drawn at random, so the test needs no model
of the problems: every other cut was as likely as the real one. Cuts within strata are held against cuts within strata.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from spiritsafe.stats.intervals import Counts, refuse_counts

Labels = Sequence[Hashable]
"""One a problem: the stratum that it was drawn and cut in."""

_BLOCK_VALUES = 1 << 22  # random numbers held at once by the Monte Carlo test (32 MiB)


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> npt.NDArray[np.float64]:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def _hypergeometric_tail(observed: int, num_right: int, num_public: int, num_total: int) -> float:
    """P(at least ``observed`` of the right answers fall into a random public half)."""
    most = min(num_right, num_public)
    hits = np.arange(observed, most + 1)
    hits = hits[num_public - hits <= num_total - num_right]
    logs = _log_choose(num_right, hits) + _log_choose(num_total - num_right, num_public - hits)
    return min(1.0, float(np.exp(logs - _log_choose(num_total, num_public)).sum()))


def _hypergeometric_chances(num_right: int, num_public: int, num_total: int) -> npt.NDArray[np.float64]:
    """P(0, 1, … of the right answers fall into a random public half)."""
    hits = np.arange(min(num_right, num_public) + 1)
    possible = num_public - hits <= num_total - num_right
    chances = np.zeros(hits.size)
    logs = _log_choose(num_right, hits[possible]) + _log_choose(num_total - num_right, num_public - hits[possible])
    chances[possible] = np.exp(logs - _log_choose(num_total, num_public))
    return chances


def randomisation_test(
    public: Counts, sealed: Counts, *, seed: int, num_draws: int, strata: tuple[Labels, Labels] | None = None
) -> tuple[float, int]:
    """One-sided p of sum(public) under random re-splits of the same bank; (p, random draws used).

    Exact for 0/1 values; otherwise (k + 1) / (m + 1) over m seeded splits (Phipson & Smyth 2010). PCG64's raw stream
    is fixed by numpy's compatibility policy, so another machine draws the same splits.

    Args:
        public: One value a public problem.
        sealed: One value a sealed problem.
        strata: Labels of the public and of the sealed problems; only splits within strata are counted then.

    Raises:
        NumericalError: Labels and values differ in number.
    """
    if strata is None:
        pairs = [(public, sealed)]
    else:
        if (len(strata[0]), len(strata[1])) != (public.size, sealed.size):
            raise refuse_counts("strata that do not name each problem")
        numbers: dict[Hashable, int] = {}
        of_public, of_sealed = (np.array([numbers.setdefault(name, len(numbers)) for name in half]) for half in strata)
        pairs = [(public[of_public == k], sealed[of_sealed == k]) for k in range(len(numbers))]
    banks = [np.concatenate(pair) for pair in pairs]
    whole = np.concatenate(banks)
    observed = int(public.sum())
    if whole.min() >= 0 and whole.max() <= 1:
        if strata is None:
            return _hypergeometric_tail(observed, int(whole.sum()), public.size, whole.size), 0
        chances = np.ones(1)
        for bank, (mine, _) in zip(banks, pairs, strict=True):
            chances = np.convolve(chances, _hypergeometric_chances(int(bank.sum()), mine.size, bank.size))
        return min(1.0, float(chances[observed:].sum())), 0
    return _monte_carlo(banks, [mine.size for mine, _ in pairs], observed, seed=seed, num_draws=num_draws), num_draws


def _monte_carlo(banks: Sequence[Counts], sizes: Sequence[int], observed: int, *, seed: int, num_draws: int) -> float:
    """Share of seeded splits, each bank split by itself, whose public sum is at least the observed one."""
    stream = np.random.PCG64(seed)
    num_total = sum(bank.size for bank in banks)
    at_least = 0
    rows_left = num_draws
    while rows_left:
        rows = min(rows_left, max(1, _BLOCK_VALUES // num_total))
        sums = np.zeros(rows, dtype=np.int64)
        for bank, size in zip(banks, sizes, strict=True):
            draws = stream.random_raw(rows * bank.size).reshape(rows, bank.size)
            if size == bank.size:
                sums += bank.sum()
            elif size:
                order = np.argpartition(draws, size - 1, axis=1)
                sums += bank[order[:, :size]].sum(axis=1)
        at_least += int((sums >= observed).sum())
        rows_left -= rows
    return (at_least + 1) / (num_draws + 1)
