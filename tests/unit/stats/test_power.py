from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference
from sequential_parts import latent_answers

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.power import (
    paired_power,
    score_power,
    smallest_paired_difference,
    smallest_score_gain,
    variance_factor,
)
from spiritsafe.stats.sequential.decision import PairedClaim, decide_difference
from spiritsafe.stats.sequential.design import StopRule, frequent_looks


@pytest.mark.slow
@pytest.mark.parametrize(("num", "gap", "discordance"), [(8, 0.3, 0.5), (11, 0.0, 0.4), (10, 0.9, 0.9)])
def test_paired_power_sums_what_the_test_in_use_decides(num, gap, discordance):
    win, loss = (discordance + gap) / 2, (discordance - gap) / 2
    expected = 0.0
    for wins in range(num + 1):
        for losses in range(num + 1 - wins):
            ties = num - wins - losses
            first, second = [1] * wins + [0] * (losses + ties), [0] * wins + [1] * losses + [0] * ties
            if (
                decide_difference(StopRule(num_problems=num, num_looks=1), PairedClaim(), first, second).decision
                == "better"
            ):
                expected += reference.multinomial.pmf([wins, losses, ties], num, [win, loss, 1 - win - loss])
    assert paired_power(num, gap, discordance) == pytest.approx(expected, abs=1e-12)


def test_score_power_sums_what_the_interval_decides():
    shown = [score_interval([1] * right + [0] * (25 - right)).low >= 0.6 for right in range(26)]
    expected = reference.binom.pmf(np.arange(26), 25, 0.85) @ shown
    assert score_power(25, 0.6, 0.85) == pytest.approx(expected)


@pytest.mark.parametrize("num", [50, 200, 1000])
def test_the_smallest_difference_has_the_stated_power(num):
    found = smallest_paired_difference(num, discordance=0.3)
    assert paired_power(num, found.difference, max(0.3, found.difference)) == pytest.approx(0.8, abs=1e-6)
    assert f"{100 * found.difference:.1f} points or more is shown with 80%" in found.statement
    gain = smallest_score_gain(num, threshold=0.6)
    assert score_power(num, 0.6, 0.6 + gain.difference) == pytest.approx(0.8, abs=1e-6)


def test_larger_papers_more_tries_and_more_agreement_find_less():
    def smallest(num, **options):
        return smallest_paired_difference(num, **{"discordance": 0.3, **options}).difference

    assert smallest(400) < smallest(200) < smallest(100)
    assert smallest(200, trials=4) < smallest(200)
    assert smallest(200, trials=4, noise=0.0) == smallest(200)
    assert smallest(200, discordance=0.1) < smallest(200)
    assert smallest(200) < smallest(200, rule=frequent_looks(200)) < 1.15 * smallest(200)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda num: StopRule(num_problems=num), frequent_looks])
def test_a_rule_finds_its_smallest_difference_with_the_stated_power(make):
    num, repeats = 200, 200
    gap = smallest_paired_difference(num, discordance=0.3, rule=make(num)).difference
    rng = np.random.default_rng(5)
    shown = 0
    for _ in range(repeats):
        uniform = rng.random(num)
        first, second = uniform < (0.3 + gap) / 2, (uniform >= (0.3 + gap) / 2) & (uniform < 0.3)
        rows = first.astype(int).tolist(), second.astype(int).tolist()
        shown += decide_difference(make(num), PairedClaim(), *rows).decision == "better"
    assert abs(shown / repeats - 0.8) < 4 * math.sqrt(0.16 / repeats)


def test_several_tries_are_worth_what_the_noise_says():
    rng = np.random.default_rng(6)
    first, second = latent_answers(rng, 4000, 4, (0.6, 0.5), 20)
    single = rng.binomial(1, first / 4) - rng.binomial(1, second / 4)  # one of the four tries, drawn at random
    means = (first - second) / 4
    noise = (single.var() - means.var()) / (single.var() * 0.75)
    assert means.var() / single.var() == pytest.approx(variance_factor(4, noise))
    assert 0 < noise < 1
    assert variance_factor(1, 0.7) == 1


def test_small_papers_show_nothing():
    assert smallest_paired_difference(4, discordance=0.3) is None
    assert smallest_score_gain(20, threshold=0.95) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_power(10, 0.5, 0.2),
        lambda: score_power(10, 1.0, 0.5),
        lambda: smallest_paired_difference(10, discordance=0.0),
        lambda: variance_factor(0, 0.5),
    ],
)
def test_impossible_plans_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint
