from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as reference

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.intervals import (
    clopper_pearson_interval,
    edge_of,
    korn_graubard_interval,
    mover_bounds,
    score_interval,
    wilson_interval,
)

GRID = list(itertools.product((30, 100, 300), (0.5, 0.8, 0.95, 0.98)))


def clustered(rng, clusters, size, share, icc, repeats):
    strength = (1 - icc) / icc
    return rng.binomial(size, rng.beta(share * strength, (1 - share) * strength, (repeats, clusters)))


@pytest.mark.parametrize(("right", "asked"), [(0, 1), (1, 1), (0, 30), (30, 30), (29, 30), (137, 300)])
@pytest.mark.parametrize(("ours", "theirs"), [(clopper_pearson_interval, "exact"), (wilson_interval, "wilson")])
def test_intervals_equal_scipys(right, asked, ours, theirs):
    estimate = ours(right, asked)
    expected = reference.binomtest(right, asked).proportion_ci(0.95, method=theirs)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (estimate.value, estimate.n, estimate.confidence) == (right / asked, asked, 0.95)


@pytest.mark.parametrize(("asked", "share"), GRID)
def test_intervals_cover_on_the_grid(asked, share):
    # Exact: the chance of each count, not a simulation.
    chance = reference.binom.pmf(np.arange(asked + 1), asked, share)
    for interval, least in ((clopper_pearson_interval, 0.95), (wilson_interval, 0.93)):
        bounds = [interval(right, asked) for right in range(asked + 1)]
        covered = sum(p for p, e in zip(chance, bounds, strict=True) if e.low <= share <= e.high)
        assert covered >= least, (interval.__name__, covered)
        assert all(0 <= e.low <= e.value <= e.high <= 1 for e in bounds)


@pytest.mark.parametrize(("clusters", "size", "icc"), [(20, 5, 0.2), (20, 10, 0.3), (30, 4, 0.7), (100, 10, 0.3)])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 0.98])
def test_korn_graubard_covers_clusters(clusters, size, icc, share):
    rng = np.random.default_rng([clusters, size, round(100 * share)])
    counts = clustered(rng, clusters, size, share, icc, 400)
    estimates = [korn_graubard_interval(row.tolist(), [size] * clusters) for row in counts]
    assert np.mean([e.low <= share <= e.high for e in estimates]) >= 0.93


def test_naive_interval_fails_where_korn_graubard_holds():
    rng = np.random.default_rng(5)
    counts = clustered(rng, 20, 10, 0.8, 0.3, 400)
    naive = [wilson_interval(int(row.sum()), 200) for row in counts]
    assert np.mean([e.low <= 0.8 <= e.high for e in naive]) < 0.8


def test_korn_graubard_reduces_to_clopper_pearson_for_single_answers():
    single = korn_graubard_interval([1] * 17 + [0] * 13, [1] * 30)
    exact = clopper_pearson_interval(17, 30)
    assert (single.low, single.high) == pytest.approx((exact.low, exact.high))


def test_perfect_clusters_count_once_each():
    perfect = korn_graubard_interval([4] * 25, [4] * 25)
    assert (perfect.low, perfect.high) == pytest.approx((clopper_pearson_interval(25, 25).low, 1.0))


def test_score_interval_picks_the_method():
    assert score_interval([1, 0, 1]).method == "Clopper-Pearson"
    repeated = score_interval([3, 0, 4], trials=4)
    assert (repeated.method, repeated.n, repeated.value) == (
        "Korn-Graubard, unseen problems allowed for",
        12,
        7 / 12,
    )
    assert score_interval([3, 0, 4], trials=4, intervals=1).method == "Korn-Graubard"
    families = score_interval([1, 0, 1, 1], clusters=["a", "a", "b", "b"])
    by_hand = korn_graubard_interval([1, 2], [2, 2])
    assert families == by_hand


def test_estimates_have_no_order():
    a, b = wilson_interval(3, 10), wilson_interval(9, 10)
    with pytest.raises(TypeError):
        _ = a < b


def test_difference_bounds_of_independent_halves_cover():
    # Exact coverage of Newcombe's interval for two independent shares, over every pair of counts.
    for size, share in ((30, 0.5), (30, 0.95), (80, 0.6)):
        chance = reference.binom.pmf(np.arange(size + 1), size, share)
        bounds = [(e.value, e.low, e.high) for e in (wilson_interval(right, size) for right in range(size + 1))]
        covered = 0.0
        for i, j in itertools.product(np.flatnonzero(chance > 1e-6), repeat=2):
            low, high = mover_bounds(bounds[i], bounds[j], 0.0)
            covered += chance[i] * chance[j] * (low <= 0 <= high)
        assert covered >= 0.94, (size, share)


@pytest.mark.parametrize(
    "call",
    [
        lambda: clopper_pearson_interval(3, 2),
        lambda: wilson_interval(0, 0),
        lambda: wilson_interval(1, 2, confidence=1.0),
        lambda: score_interval([]),
        lambda: score_interval([2]),
        lambda: score_interval([1, 0], clusters=["a"]),
        lambda: korn_graubard_interval([1], [1, 1]),
        lambda: korn_graubard_interval([2], [1]),
    ],
)
def test_impossible_counts_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint


@pytest.mark.parametrize("edge", [0.0, 0.1, 1 / 3, 0.999])
def test_the_edge_is_the_last_value_inside_from_either_side(edge):
    below = edge_of(lambda value: value <= edge, 0.0, 1.0)
    above = edge_of(lambda value: value >= edge, 1.0, 0.0)
    assert below <= edge <= above
    assert above - below < 1e-15
    assert edge_of(lambda value: value <= edge, 0.0, 1.0, num_halvings=4) == int(16 * edge) / 16
