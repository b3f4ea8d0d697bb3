"""What choosing one of k attempts is worth, from a pool of n: exact expectations over all subsets, for every k at once.

In: for one problem the attempts' answers, scores and grades. Out: arrays whose entry ``k - 1`` is the expected score of
the attempt that a rule picks among k of the n, drawn without replacement. Attempts are exchangeable draws, so a subset
of the pool is as good as k fresh attempts, and the mean over all subsets is the unbiased estimate with the least
variance. Rules: the majority's answer (self-consistency, arXiv 2203.11171), the highest score (likelihood, a
self-check), and the oracle that knows the grades (pass@k, arXiv 2107.03374, eq. 1).

Ties are broken at random, in expectation; over exchangeable draws this equals "whichever was drawn first", which is
what :mod:`spiritsafe.rollouts.test_time.voting` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import NumericalError
from spiritsafe.tasks import normalise, parse_number

Curve = npt.NDArray[np.float64]

_MOST_EXACT = 256  # attempts; beyond, the exact vote costs seconds a problem and seeded subsets are drawn instead
_SUBSETS = 1_000


def vote_key(answer: str | None) -> str | None:
    """What an extracted answer votes for, so that equal values vote together; None abstains.

    Numbers are compared as values (8 = 8.0 = 16/2), other answers as text without case, spaces and a final dot. The
    gold plays no part: a rule that used it could not be deployed.
    """
    if answer is None:
        return None
    value = parse_number(answer)
    if isinstance(value, Fraction):
        return str(value)
    return "".join(normalise(answer).casefold().split()).removesuffix(".") or None


@lru_cache(maxsize=8)
def _binomials(n: int) -> Curve:
    """Pascal's triangle up to row n; only sums of positive numbers, so each entry is right to a few last bits."""
    table = np.zeros((n + 1, n + 1))
    table[:, 0] = 1.0
    for row in range(1, n + 1):
        table[row, 1:] = table[row - 1, 1:] + table[row - 1, :-1]
    return table


def _check(n: int, *others: int) -> None:
    if n < 1 or any(other != n for other in others):
        raise NumericalError(
            f"A choice among {n} attempts with {others} entries.", hint="Give one entry for each attempt, at least one."
        )


def best_of(scores: Sequence[float], is_correct: Sequence[bool]) -> Curve:
    """Expected grade of the attempt with the highest score among k.

    With h attempts scored above a group of g equals, the best of k is one of the group in
    ``C(n - h, k) - C(n - h - g, k)`` of the ``C(n, k)`` subsets.

    Args:
        scores: One an attempt; ``-inf`` for attempts to be taken only when there is nothing else.

    Returns:
        Entry ``k - 1`` for k in 1..n.

    Raises:
        NumericalError: No attempts, a score that is no number, or lists of different lengths.
    """
    n = len(scores)
    _check(n, len(is_correct))
    score_n, right_n = np.asarray(scores, dtype=np.float64), np.asarray(is_correct, dtype=np.float64)
    if np.isnan(score_n).any():
        raise NumericalError("A score is not a number.", hint="Leave attempts without a score out, or give -inf.")
    binomials = _binomials(n)
    total = np.zeros(n)
    num_above = 0
    for score in np.unique(score_n)[::-1]:
        group = score_n == score
        size = int(group.sum())
        ways = binomials[n - num_above, 1:] - binomials[n - num_above - size, 1:]
        total += ways * float(right_n[group].mean())
        num_above += size
    return np.minimum(total / binomials[n, 1:], 1.0)


def pass_at(is_correct: Sequence[bool]) -> Curve:
    """Chance that at least one of k attempts is correct: ``1 - C(n - c, k) / C(n, k)``, the oracle's pick.

    Raises:
        NumericalError: No attempts.
    """
    return best_of([float(right) for right in is_correct], is_correct)


def majority_of(keys: Sequence[str | None], is_correct: Sequence[bool], *, seed: int = 0) -> Curve:
    """Expected grade of the answer that most of k attempts give.

    Attempts without an answer abstain; when all abstain, there is no answer and the grade is 0. Should attempts of one
    answer be graded differently, the answer's grade is their mean. Exact for up to 256 attempts, by counting the
    subsets in which an answer wins or shares the win; beyond, over 1,000 seeded orders of the pool.

    Args:
        keys: What each attempt votes for, see :func:`vote_key`.
        seed: Of the orders; unused when exact.

    Returns:
        Entry ``k - 1`` for k in 1..n.

    Raises:
        NumericalError: No attempts, or lists of different lengths.
    """
    n = len(keys)
    _check(n, len(is_correct))
    names = {name: number for number, name in enumerate(dict.fromkeys(key for key in keys if key is not None))}
    if not names:
        return np.zeros(n)
    index_n = np.array([-1 if key is None else names[key] for key in keys])
    voting, right_n = index_n >= 0, np.asarray(is_correct, dtype=np.float64)
    count_a = np.bincount(index_n[voting])
    grade_a = np.bincount(index_n[voting], weights=right_n[voting]) / count_a
    if n <= _MOST_EXACT:
        return np.clip(_exact_vote(n, count_a, grade_a), 0.0, 1.0)
    return _drawn_vote(index_n, grade_a, seed)


def _exact_vote(n: int, count_a: npt.NDArray[np.int64], grade_a: Curve) -> Curve:
    """For every winning count t: subsets in which some answer has t votes and no other more, weighted by its grade.

    A polynomial in z counts subsets by size, its second axis by the number of *other* answers that tie at t. ``ties``
    is the product over answers of (fewer than t) + (exactly t, one more tie), ``won`` the sum over winners of the same
    product with the winner's factor replaced by its C(count, t) z^t. An answer that shares a win with q others gets
    1 / (1 + q) of it. Answers that cannot reach t, and abstentions, join freely: a factor (1 + z) for each.
    """
    binomials = _binomials(n)
    total = np.zeros(n + 1)
    for t in range(1, int(count_a.max()) + 1):
        reaching = np.flatnonzero(count_a >= t)
        ties, won = np.ones((1, 1)), np.zeros((1, 1))
        for place, answer in enumerate(reaching.tolist()):
            ways = binomials[count_a[answer]]
            won = _sum(_with_answer(won, ways, t), grade_a[answer] * ways[t] * _shifted(ties, t, 0))
            if place + 1 < len(reaching):
                ties = _with_answer(ties, ways, t)
        shares = won @ (1.0 / np.arange(1, won.shape[1] + 1))
        num_free = n - int(count_a[reaching].sum())
        subsets = np.convolve(shares, binomials[num_free, : num_free + 1])[: n + 1]
        total[: subsets.size] += subsets
    result: Curve = total[1:] / binomials[n, 1:]
    return result


def _with_answer(subsets: Curve, ways: Curve, t: int) -> Curve:
    """Let one more answer take fewer than t places, or exactly t as one more tie."""
    rows, columns = subsets.shape
    out = np.zeros((rows + t, columns + 1))
    for taken in range(t):
        out[taken : taken + rows, :columns] += ways[taken] * subsets
    out[t:, 1:] += ways[t] * subsets
    return out


def _shifted(subsets: Curve, rows: int, columns: int) -> Curve:
    return np.pad(subsets, ((rows, 0), (columns, 0)))


def _sum(first: Curve, second: Curve) -> Curve:
    rows, columns = np.maximum(first.shape, second.shape)
    out = np.zeros((rows, columns))
    out[: first.shape[0], : first.shape[1]] += first
    out[: second.shape[0], : second.shape[1]] += second
    return out


def _drawn_vote(index_n: npt.NDArray[np.int64], grade_a: Curve, seed: int) -> Curve:
    """The same over seeded orders of the pool: the first k of an order are a uniform subset."""
    n, rows = index_n.size, np.arange(_SUBSETS)
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.broadcast_to(index_n, (_SUBSETS, n)), axis=1)
    votes = np.zeros((_SUBSETS, grade_a.size))
    curve = np.empty(n)
    for k in range(n):
        picked = orders[:, k]
        votes[rows[picked >= 0], picked[picked >= 0]] += 1.0
        most = votes.max(axis=1, keepdims=True)
        leads = (votes == most) & (most > 0)
        curve[k] = float(np.where(most[:, 0] > 0, leads @ grade_a / np.maximum(leads.sum(axis=1), 1), 0.0).mean())
    return curve
