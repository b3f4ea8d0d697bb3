from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.sequential.betting import bet_on_difference, bet_on_score, is_difference_shown, log_wealth

LEVEL = 0.05


def too_many(rate, num):
    """A rate that a true ``rate`` exceeds about once in thirty thousand simulations."""
    return rate + 4 * math.sqrt(rate * (1 - rate) / num)


def test_expected_wealth_is_one_by_enumeration():
    # Fair game: over all 2^8 sequences of a coin with the hypothetical mean the mean wealth is exactly 1.
    for mean in (0.1, 0.5, 0.9):
        for length in (1, 4, 8):
            sequences = np.array(list(itertools.product((0.0, 1.0), repeat=length)))
            chances = np.prod(np.where(sequences == 1, mean, 1 - mean), axis=1)
            assert chances @ np.exp(log_wealth(sequences, mean)[:, -1]) == pytest.approx(1.0)


def test_expected_wealth_without_replacement_is_one_by_enumeration():
    # Over all orders of a paper whose score is exactly the hypothetical one.
    paper = (1, 1, 0, 0, 0, 1, 0)
    orders = np.array(sorted(set(itertools.permutations(paper))), dtype=float)
    for seen in range(1, len(paper)):
        wealth = np.exp(log_wealth(orders[:, :seen], 3 / 7, population=7)[:, -1])
        assert wealth.mean() == pytest.approx(1.0)


def test_wealth_grows_with_the_answers_and_falls_in_the_mean():
    values = np.array([1.0, 0.5, 0.0, 1.0, 1.0])
    wealth = [float(log_wealth(values, mean)[-1]) for mean in (0.1, 0.3, 0.5, 0.7)]
    assert wealth == sorted(wealth, reverse=True)
    assert log_wealth(np.ones(5), 0.5)[-1] > wealth[2]


def test_a_refuted_score_of_a_finite_paper_is_refuted_for_good():
    wealth = log_wealth(np.array([1.0, 1.0, 1.0, 0.0]), 0.25, population=10)
    assert np.isinf(wealth[2:]).all()  # three right answers are more than a quarter of ten
    assert np.isfinite(wealth[:2]).all()


@pytest.mark.parametrize("discordance", [0.05, 0.3, 1.0])
def test_false_alarms_at_any_moment_stay_below_the_level(discordance):
    rng = np.random.default_rng(round(100 * discordance))
    num = 2000
    values = rng.choice([0.0, 0.5, 1.0], p=[discordance / 2, 1 - discordance, discordance / 2], size=(num, 400))
    ever = (log_wealth(values, 0.5) >= -math.log(LEVEL)).any(axis=1)
    assert ever.mean() <= too_many(LEVEL, num)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_false_alarms_about_a_finite_paper_stay_below_the_level(share):
    rng = np.random.default_rng(round(100 * share))
    num, size = 2000, 100
    paper = (np.arange(size) < round(share * size)).astype(float)
    orders = paper[rng.random((num, size)).argsort(axis=1)]
    ever = (log_wealth(orders, share, population=size) >= -math.log(LEVEL)).any(axis=1)
    assert ever.mean() <= too_many(LEVEL, num)


def test_gross_differences_end_soon():
    rng = np.random.default_rng(2)
    values = rng.choice([0.0, 0.5, 1.0], p=[0.06, 0.68, 0.26], size=(500, 1000))
    above = log_wealth(values, 0.5) >= -math.log(0.025)
    assert above.any(axis=1).mean() > 0.99
    assert above.argmax(axis=1).mean() < 120


def test_confidence_sequence_covers_and_knows_more_of_a_finite_paper():
    rng = np.random.default_rng(8)
    num, misses = 300, 0
    for _ in range(num):
        answers = (rng.random(60) < 0.7).astype(int).tolist()
        found = bet_on_score(answers, 0.5, alpha=LEVEL)
        misses += not found.estimate.low <= 0.7 <= found.estimate.high
    assert misses / num <= too_many(2 * LEVEL, num)
    whole = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1] * 6
    at_large, paper = bet_on_score(whole, 0.9), bet_on_score(whole, 0.9, population=60)
    assert paper.estimate.low > at_large.estimate.low
    assert paper.estimate.high < at_large.estimate.high
    assert paper.estimate.low <= 0.7 <= paper.estimate.high


def test_a_bet_on_a_difference_is_a_bet_on_its_rescaled_mean():
    first, second = [2, 1, 2, 0, 2], [0, 1, 1, 1, 0]
    found = bet_on_difference(first, second, margin=0.1, trials=2)
    values = (np.array(first) - second + 2) / 4
    assert found.e_value == pytest.approx(math.exp(log_wealth(values, 0.55).max()))
    assert found.p_value == pytest.approx(min(1.0, 1 / found.e_value))
    assert found.estimate.value == pytest.approx(0.4)
    assert not found.shown


def test_the_moment_of_showing_is_kept():
    found = bet_on_difference([1] * 40, [0] * 40)
    assert found.shown
    assert found.num_used < 20
    assert found.p_value <= 0.025
    longer = bet_on_difference([1] * 40 + [0] * 40, [0] * 40 + [1] * 40)
    assert longer == found
    assert bet_on_difference([1] * 40, [0] * 40, margin=-0.1).num_used < found.num_used


@pytest.mark.parametrize(
    "call",
    [
        lambda: bet_on_score([1, 0], 1.0),
        lambda: bet_on_score([1, 0], 0.5, alpha=0.0),
        lambda: bet_on_score([1, 0], 0.5, population=1),
        lambda: bet_on_score([], 0.5),
        lambda: bet_on_difference([1], [1, 0]),
    ],
)
def test_impossible_bets_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint


def test_won_or_not_is_the_same_without_the_interval() -> None:
    rng = np.random.default_rng(8)
    answers = []
    for margin in (-0.3, -0.1, 0.0, 0.1):
        first, second = rng.binomial(2, 0.7, 150).tolist(), rng.binomial(2, 0.6, 150).tolist()
        slow = bet_on_difference(first, second, margin=margin, trials=2, alpha=0.05)
        assert is_difference_shown(first, second, margin=margin, trials=2, alpha=0.05) == slow.shown
        answers.append(slow.shown)
    assert set(answers) == {True, False}
    with pytest.raises(NumericalError):
        is_difference_shown([1], [1, 0], margin=0.0)
