from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as reference
from two_models import two_models

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.contamination.gap import public_sealed_gap
from spiritsafe.stats.intervals import score_interval, wilson_interval
from spiritsafe.stats.paired import exchange_p_value, gain_kept, paired_difference


def test_paired_interval_is_newcombes_method_10():
    first = [1] * 12 + [1] * 9 + [0] * 2 + [0] * 21
    second = [1] * 12 + [0] * 9 + [1] * 2 + [0] * 21
    a, b, c, d, n = 12, 9, 2, 21, 44
    one, two = wilson_interval(a + b, n), wilson_interval(a + c, n)
    numerator = a * d - b * c
    numerator = max(numerator - n / 2, 0) if numerator > 0 else numerator
    phi = numerator / math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    down = (one.value - one.low, two.high - two.value)
    up = (one.high - one.value, two.value - two.low)
    low = (b - c) / n - math.sqrt(down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2)
    high = (b - c) / n + math.sqrt(up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2)
    found = paired_difference(first, second, intervals=1)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert (found.num_first_better, found.num_second_better) == (9, 2)
    upper = reference.binom.sf(9, 11, 0.5) + 0.5 * reference.binom.pmf(9, 11, 0.5)
    assert found.p_value == pytest.approx(2 * upper)
    assert found.test == "McNemar mid-p"


@pytest.mark.slow  # together
@pytest.mark.parametrize("problems", [20, 100])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.7), (0.98, 0.9), (0.6, 0.05)])
@pytest.mark.parametrize(("trials", "between"), [(1, 0.0), (1, 0.8), (4, 0.5)])
def test_paired_difference_covers_and_keeps_its_level(problems, shares, trials, between):
    rng = np.random.default_rng([problems, trials, round(100 * shares[0])])
    first, second = two_models(rng, problems, trials, shares, between, 0.6, 150)
    found = [paired_difference(a.tolist(), b.tolist(), trials=trials) for a, b in zip(first, second, strict=True)]
    truth = shares[0] - shares[1]
    # 150 repeats: a true coverage of .95 falls below .9 less than once in a hundred
    assert np.mean([f.difference.low <= truth <= f.difference.high for f in found]) >= 0.9
    if truth == 0:
        assert np.mean([f.p_value <= 0.05 for f in found]) <= 0.09


@pytest.mark.slow
def test_paired_coverage_and_level_over_many_repeats():
    rng = np.random.default_rng(11)
    first, second = two_models(rng, 100, 1, (0.7, 0.7), 0.5, 0.6, 1000)
    found = [paired_difference(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)]
    assert np.mean([f.difference.low <= 0 <= f.difference.high for f in found]) >= 0.93
    assert 0.03 <= np.mean([f.p_value <= 0.05 for f in found]) <= 0.068


def test_paired_test_is_more_powerful_than_overlap_of_intervals():
    rng = np.random.default_rng(3)
    first, second = two_models(rng, 300, 1, (0.75, 0.67), 0.7, 0.8, 200)
    paired = np.mean(
        [paired_difference(a.tolist(), b.tolist()).p_value <= 0.05 for a, b in zip(first, second, strict=True)]
    )
    apart = np.mean(
        [score_interval(a.tolist()).low > score_interval(b.tolist()).high for a, b in zip(first, second, strict=True)]
    )
    assert paired > apart + 0.3


@pytest.mark.parametrize("differences", [[2, -1, 3], [1, 1, 0, -2, 4], [3], [0, 0]])
def test_exchange_test_equals_enumeration(differences):
    trials = 4
    first = [max(d, 0) for d in differences]
    second = [max(-d, 0) for d in differences]
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    observed = abs(sum(differences))
    tail = np.mean([s > observed for s in sums]) + 0.5 * np.mean([s == observed for s in sums])
    assert paired_difference(first, second, trials=trials).p_value == pytest.approx(min(1.0, 2 * tail))
    two_sided = np.mean([abs(s) >= observed for s in sums])
    assert exchange_p_value(first, second, trials=trials) == pytest.approx(two_sided)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (7, 7), (12, 3), (90, 140)])
def test_the_exact_p_is_mcnemars(only_first, only_second):
    first, second = [1] * only_first + [0] * only_second + [1] * 50, [0] * only_first + [1] * only_second + [1] * 50
    total = only_first + only_second
    expected = reference.binomtest(only_first, total).pvalue if total else 1.0
    assert exchange_p_value(first, second) == pytest.approx(expected)


def test_clusters_widen_the_paired_interval():
    first, second = [1, 1, 1, 1, 0, 0, 0, 0] * 5, [0, 0, 0, 0, 0, 0, 0, 1] * 5
    names = [index // 8 for index in range(40)]
    alone, clustered_ = paired_difference(first, second), paired_difference(first, second, clusters=names)
    assert clustered_.p_value > alone.p_value
    assert clustered_.num_first_better == 5


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_difference([1], [1, 0]),
        lambda: exchange_p_value([1], [1, 0]),
        lambda: public_sealed_gap([1], []),
    ],
)
def test_impossible_counts_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint


def test_gain_kept_is_a_ratio_of_paired_gains():
    base, teacher, student = [0] * 60 + [1] * 40, [1] * 90 + [0] * 10, [1] * 75 + [0] * 25
    found = gain_kept(student, teacher, base)
    assert found.value == pytest.approx((75 - 40) / (90 - 40))
    assert found.low < found.value < found.high
    assert gain_kept(base, base, base) is None
    with pytest.raises(NumericalError):
        gain_kept([1], [1, 0], [0, 0])
