"""What early stopping promises: the whole paper's decisions, its error rates, intervals that cover."""

from __future__ import annotations

import importlib.util
import math
import sys

import numpy as np
import pytest
from places import ROOT

from spiritsafe.stats.sequential.decision import PairedClaim, decide_difference
from spiritsafe.stats.sequential.design import StopRule, boundaries, frequent_looks
from spiritsafe.stats.sequential.score_statistics import ScoreEvidence

BENCH = ROOT / "bench" / "sequential.py"
MAKERS = [lambda num: StopRule(num_problems=num), frequent_looks]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_sequential", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def four_errors(rate, num):
    """Four standard errors of a simulated rate."""
    return 4 * math.sqrt(rate * (1 - rate) / num)


def pairs(rng, num, win, loss):
    uniform = rng.random(num)
    first, second = uniform < win, (uniform >= win) & (uniform < win + loss)
    return first.astype(int).tolist(), second.astype(int).tolist()


def test_stopping_early_decides_as_the_whole_paper_with_half_the_answers(bench):
    # The simulation of bench/sequential.py, over its grid, with fewer sittings.
    num, num_betting = 1500, 100
    summary = bench.simulate(400, bench.GAPS, 0.0, num, num_betting)["summary"]
    for name, line in summary.items():
        seen = num_betting if "betting" in name else num
        assert line["largest_error_rate"] <= 0.025 + four_errors(0.025, seen), name
    frequent, classic = summary["frequent: 20 looks, cubic, futility"], summary["O'Brien-Fleming, 5 looks"]
    assert frequent["times_fewer"] >= 2
    assert frequent["mean_agreement"] >= 0.94
    # 4000 sittings lost .067 and .028 of power at the worst gap; the difference of two paired rates has error < .01
    assert frequent["largest_loss_of_power"] <= 0.11
    assert classic["largest_loss_of_power"] <= 0.07
    assert 1 < classic["times_fewer"] < frequent["times_fewer"]


def test_the_bench_decides_as_the_rule_does(bench):
    for margin, claim in ((0.0, PairedClaim()), (-0.05, PairedClaim(margin=None, tolerance=0.05))):
        values, rule = bench.draw(0.08, 60, 12, seed=3), frequent_looks(60)
        fast = bench.run_rule(rule, margin, values)
        for row, shown, used in zip(values, fast.shown_R, fast.used_R, strict=True):
            found = decide_difference(rule, claim, (row > 0).astype(int).tolist(), (row < 0).astype(int).tolist())
            assert (found.decision in ("better", "no worse"), found.num_used) == (shown, used)


def test_looking_often_without_a_rule_would_cheat(bench):
    values = bench.draw(0.0, 400, 2000, seed=5)
    wins, losses = np.cumsum(values == 1, axis=1), np.cumsum(values == -1, axis=1)
    at = np.arange(19, 400, 20)
    z = (wins - losses)[:, at] / np.sqrt(np.maximum(1, (wins + losses)[:, at]))
    assert (z >= 1.96).any(axis=1).mean() > 0.08


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("num", "threshold"), [(30, 0.5), (100, 0.9), (150, 0.95), (100, 0.05)])
def test_false_claims_about_a_score_stay_below_the_level_exactly(make, num, threshold):
    # Every path is summed: the walk of right answers with binomial steps.
    rule, going, before, shown = make(num), np.ones(1), 0, 0.0
    for seen, bound in zip(rule.looks, boundaries(rule).upper_K, strict=True):
        size = seen - before
        steps = [math.comb(size, k) * threshold**k * (1 - threshold) ** (size - k) for k in range(size + 1)]
        going, before = np.convolve(going, steps), seen
        z = [
            ScoreEvidence(right / seen, float(seen), seen, float(seen)).z(threshold, "upper")
            for right in range(seen + 1)
        ]
        crossed = np.array(z) >= bound
        shown += float(going[crossed].sum())
        going = np.where(crossed, 0.0, going)
    assert 0 < shown <= 0.025


@pytest.mark.parametrize("make", MAKERS)
def test_decision_p_value_and_interval_agree(make):
    rng = np.random.default_rng(1)
    for gap in (-0.1, 0.0, 0.1, 0.2, 0.3):
        found = decide_difference(make(120), PairedClaim(), *pairs(rng, 120, 0.15 + gap / 2, 0.15 - gap / 2))
        assert (found.decision == "better") == (found.p_value <= 0.025 + 1e-9) == (found.estimate.low >= -1e-9)
        assert found.estimate.low <= found.estimate.value <= found.estimate.high


@pytest.mark.slow
@pytest.mark.parametrize(("win", "loss"), [(0.15, 0.15), (0.1, 0.25), (0.4, 0.05)])
def test_intervals_after_the_stop_cover_and_the_estimate_is_median_unbiased(win, loss):
    rng = np.random.default_rng([round(100 * win), round(100 * loss)])
    num, gap, rule = 60, win - loss, frequent_looks(80)
    found = [decide_difference(rule, PairedClaim(), *pairs(rng, 80, win, loss)).estimate for _ in range(num)]
    assert np.mean([estimate.low > gap for estimate in found]) <= 0.025 + four_errors(0.025, num)
    assert np.mean([estimate.high < gap for estimate in found]) <= 0.025 + four_errors(0.025, num)
    assert abs(np.mean([estimate.value > gap for estimate in found]) - 0.5) <= four_errors(0.5, num)
