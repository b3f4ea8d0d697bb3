from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from spiritsafe.core.errors import NumericalError
from spiritsafe.exam.contamination.logprob_tests import auc_interval, lowest_mean, order_test, score_test, standardised


def test_scores_of_one_text() -> None:
    assert lowest_mean([-5.0, -1.0, -3.0, -2.0, -4.0], 0.4) == -4.5
    assert lowest_mean([-1.0, -7.0]) == -7.0  # one token at least
    assert standardised([(-3.0, -2.0, 0.5), (-1.0, -1.0, 0.0)]) == [-2.0, 0.0]
    with pytest.raises(NumericalError):
        lowest_mean([])


def test_rank_sum_as_by_counting_all_cuts() -> None:
    public, sealed = [0.3, 0.9, 0.9, 0.7], [0.1, 0.9, 0.2, 0.65, 0.5]
    found = score_test(public, sealed, method="mean", text="answer", seed=1, num_draws=50_000)
    ranks = stats.rankdata([*public, *sealed])
    observed = ranks[:4].sum()
    cuts = [sum(cut) for cut in itertools.combinations(ranks, 4)]
    exact = sum(total >= observed - 1e-9 for total in cuts) / len(cuts)
    assert found.p_value == pytest.approx(exact, abs=0.006)
    wins = sum((a > b) + 0.5 * (a == b) for a in public for b in sealed)
    assert found.auc.value == pytest.approx(wins / 20)
    assert found.auc.low < found.auc.value < found.auc.high


def test_within_strata_a_difference_between_strata_is_no_sign() -> None:
    """All public problems are of the easy stratum's score; within strata there is no difference."""
    public, sealed = [5.0] * 30 + [1.0] * 10, [5.0] * 10 + [1.0] * 30
    strata = (["a"] * 30 + ["b"] * 10, ["a"] * 10 + ["b"] * 30)
    options = {"method": "mean", "text": "answer", "seed": 1}
    assert score_test(public, sealed, **options).p_value < 0.001
    assert score_test(public, sealed, strata=strata, **options).p_value == 1.0


def test_scores_that_cannot_be_compared() -> None:
    for public, sealed in (([], [1.0]), ([1.0], []), ([float("nan")], [1.0])):
        with pytest.raises(NumericalError):
            score_test(public, sealed, method="mean", text="answer", seed=0)


def test_auc_interval_covers() -> None:
    """Newcombe's method 5 against normal scores with a known AUC."""
    rng = np.random.default_rng(3)
    for shift, sizes in ((0.0, (40, 40)), (1.0, (40, 40)), (2.0, (25, 60))):
        truth = float(stats.norm.cdf(shift / np.sqrt(2)))
        covered = 0
        for _ in range(400):
            first, second = rng.normal(shift, 1, sizes[0]), rng.normal(0, 1, sizes[1])
            share = float((first[:, None] > second).mean())
            found = auc_interval(share, *sizes)
            covered += found.low <= truth <= found.high
        assert covered / 400 > 0.92
    assert auc_interval(1.0, 10, 10).high == 1.0
    assert auc_interval(1.0, 10, 10).low < 0.95


def test_order_as_by_counting_all_orders() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 4))
    values[:, 0] += 0.5
    found = order_test(values, shard_size=4, seed=1, num_draws=100_000)
    totals = [
        sum(values[row, pick] for row, pick in enumerate(picks)) for picks in itertools.product(range(4), repeat=3)
    ]
    exact = sum(total >= values[:, 0].sum() - 1e-9 for total in totals) / len(totals)
    assert found.p_value == pytest.approx(exact, abs=0.006)
    assert found.mean_excess == pytest.approx(float((values[:, 0] - values[:, 1:].mean(axis=1)).mean()))
    assert (found.num_shards, found.num_shuffles, found.shard_size) == (3, 3, 4)


@pytest.mark.parametrize("bad", [[], [[1.0]], [[1.0, float("nan")]]])
def test_orders_that_cannot_be_tested(bad: list[list[float]]) -> None:
    with pytest.raises(NumericalError):
        order_test(bad, shard_size=2, seed=0)


def test_size_and_power_of_the_score_test() -> None:
    """300 clean repeats with heavy tails; then a third of the public problems better known."""
    rng = np.random.default_rng(5)
    alarms = found = 0
    for repeat in range(300):
        values = rng.standard_cauchy(size=80)
        clean = score_test(values[:40].tolist(), values[40:].tolist(), method="m", text="t", seed=repeat, num_draws=499)
        alarms += clean.p_value <= 0.05
        values[:40] += 3.0 * (rng.random(40) < 0.5)
        leaked = score_test(
            values[:40].tolist(), values[40:].tolist(), method="m", text="t", seed=repeat, num_draws=499
        )
        found += leaked.p_value <= 0.05
    assert stats.binomtest(alarms, 300, 0.05).pvalue > 0.01
    assert found / 300 > 0.6


def test_size_and_power_of_the_order_test() -> None:
    """300 clean repeats of 10 shards of very different likelihood; then half a standard deviation in each shard."""
    rng = np.random.default_rng(6)
    alarms = found = 0
    for repeat in range(300):
        values = rng.normal(size=(10, 20)) + rng.normal(-200, 50, size=(10, 1))
        alarms += order_test(values, shard_size=8, seed=repeat, num_draws=499).p_value <= 0.05
        values[:, 0] += 1.0
        found += order_test(values, shard_size=8, seed=repeat, num_draws=499).p_value <= 0.05
    assert stats.binomtest(alarms, 300, 0.05).pvalue > 0.01
    assert found / 300 > 0.8
