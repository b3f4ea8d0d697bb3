from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as reference
from sequential_parts import exact_chance_shown, latent_answers

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.sequential.boundaries import efficacy_boundary
from spiritsafe.stats.sequential.score_statistics import (
    PairedEvidence,
    ScoreEvidence,
    difference_z,
    held_back,
    restricted_variance,
)

# Shares of problems on which the models differ, from as few as the margin allows.
EXTRA_DISCORDANCE = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
MARGINS = (-0.25, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.25)


def triples(num):
    return np.array([(loss, num - win - loss, win) for win in range(num + 1) for loss in range(num + 1 - win)])


@pytest.mark.parametrize("mean", [-0.3, -0.05, 0.04, 0.5])
def test_one_try_is_tangos_closed_form(mean):
    loss, tie, win = triples(17).T.astype(float)
    n = 17
    b = -win - loss + (2 * n - win + loss) * mean
    q = (np.sqrt(b * b + 8 * n * loss * mean * (1 - mean)) - b) / (4 * n)  # restricted share of losses, Tango 1998
    variance = 2 * q + mean - mean * mean
    assert restricted_variance(triples(17), mean) == pytest.approx(variance, abs=1e-9)
    z = (win - loss - n * mean - (1 + max(0.0, -mean))) / np.sqrt(n * variance)
    assert difference_z(triples(17), mean, "upper") == pytest.approx(np.clip(z, -40, 40), abs=1e-7)
    assert (win + tie + loss == n).all()


def test_without_margin_and_correction_it_is_mcnemars_score():
    loss, _, win = triples(12).T
    differ = win + loss > 0
    z = difference_z(triples(12), 0.0, "middle")
    assert z[differ] == pytest.approx(((win - loss) / np.sqrt(np.maximum(1, win + loss)))[differ])
    assert z[~differ] == pytest.approx(0.0)


def test_two_values_give_wilsons_variance():
    # Values -1 and 1 with share p of the upper: mean 2 p - 1, variance 4 p (1 - p), whatever was seen.
    assert restricted_variance(np.array([[9, 1], [0, 4]]), 0.2) == pytest.approx([4 * 0.6 * 0.4] * 2)


@pytest.mark.parametrize("counts", [[3, 0, 5, 2, 7], [0, 0, 9, 4, 0], [0, 2, 0, 0, 0], [0, 0, 0, 0, 3]])
@pytest.mark.parametrize("mean", [-0.6, 0.0, 0.3])
def test_restricted_variance_equals_a_constrained_maximisation(counts, mean):
    values = np.linspace(-1, 1, 5)
    total = sum(counts)

    def loss(p):
        return -sum(c * math.log(max(x, 1e-300)) for c, x in zip(counts, p, strict=True) if c)

    def tilted(slope):
        weights = np.exp(slope * values)
        return weights / weights.sum()

    start = tilted(optimize.brentq(lambda slope: tilted(slope) @ values - mean, -20, 20))
    constraints = [{"type": "eq", "fun": lambda p: p.sum() - 1}, {"type": "eq", "fun": lambda p: p @ values - mean}]
    best = optimize.minimize(
        loss, start, bounds=[(1e-12, 1)] * 5, constraints=constraints, options={"ftol": 1e-10, "maxiter": 500}
    )
    found = float(restricted_variance(np.array(counts), mean))
    # Several distributions can be equally likely where nothing was seen; ours must reach the likelihood of the best.
    assert best.success
    if sum(c > 0 for c in counts) > 1:
        assert found == pytest.approx(float(best.x @ (values - mean) ** 2), abs=2e-3)
    assert 0 <= found <= 1 - mean * mean + 1e-9
    assert total > 0


def test_tails_mirror():
    counts = np.array([3, 10, 8])
    assert difference_z(counts, 0.1, "lower") == -difference_z(counts[::-1], -0.1, "upper")
    assert difference_z(counts, 0.1, "lower") > difference_z(counts, 0.1, "middle") > difference_z(counts, 0.1, "upper")


def test_what_is_held_back_is_one_step_of_the_differences_that_were_seen() -> None:
    assert held_back(np.array([3, 10, 8]), 0.0, "upper") == 1.0
    assert held_back(np.array([3, 10, 8]), -0.2, "upper") == pytest.approx(1.2)
    assert held_back(np.array([3, 10, 8]), 0.2, "upper") == 1.0
    assert held_back(np.array([0, 5, 0]), 0.0, "lower") == 1.0  # nothing was seen: a whole problem
    assert held_back(np.array([2, 0, 4, 0, 3]), 0.0, "upper") == 2.0  # both tries go alike
    assert held_back(np.array([0, 2, 4, 3, 0]), 0.0, "upper") == 1.0


def test_score_statistic_falls_in_the_mean():
    for counts in ([3, 10, 8], [0, 10, 0], [0, 0, 5], [1, 2, 30]):
        # up to what was observed: that is where limits are looked for
        means = np.linspace(-0.99, (counts[2] - counts[0]) / sum(counts), 199)[:-1]
        z = [float(difference_z(np.array(counts), mean, answers=0.5)) for mean in means]
        assert (np.diff(z) <= 1e-9).all()


def worst_rate(looks, upper, margin):
    statistic = partial(difference_z, mean=margin, tail="upper")
    rates = []
    for extra in EXTRA_DISCORDANCE:
        discordance = abs(margin) + extra
        if discordance <= 1:
            win, loss = (discordance + margin) / 2, (discordance - margin) / 2
            rates.append(exact_chance_shown(looks, upper, statistic, win, loss))
    return max(rates)


@pytest.mark.parametrize("num_problems", [10, 20, 30, 60])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize(("num_looks", "spending"), [(1, "cubic"), (5, "obrien-fleming"), (10, "cubic")])
def test_the_level_holds_exactly_for_small_papers_and_any_discordance(num_problems, margin, num_looks, spending):
    looks = [round(num_problems * look / num_looks) for look in range(1, num_looks + 1)]
    upper = efficacy_boundary([look / num_problems for look in looks], alpha=0.025, spending=spending)
    assert worst_rate(looks, upper, margin) <= 0.0251


def test_without_its_correction_the_level_would_not_hold():
    upper = [reference.norm.ppf(0.975)]
    uncorrected = partial(difference_z, mean=0.02, tail="middle")
    assert exact_chance_shown([200], upper, uncorrected, 0.03, 0.01) > 0.03
    corrected = partial(difference_z, mean=0.02, tail="upper")
    assert exact_chance_shown([200], upper, corrected, 0.03, 0.01) <= 0.025


@pytest.mark.parametrize("trials", [2, 4])
def test_the_level_holds_for_several_tries(trials):
    # Simulated: 4000 repeats of a true .025 exceed .033 less than once in a thousand.
    rng = np.random.default_rng(trials)
    for shares in ((0.5, 0.5), (0.95, 0.95), (0.97, 0.8), (0.8, 0.97), (0.05, 0.3)):
        first, second = latent_answers(rng, 40, trials, shares, 4000)
        counts = np.stack([(first - second == value).sum(axis=1) for value in range(-trials, trials + 1)], axis=-1)
        z = difference_z(counts, shares[0] - shares[1], "upper")
        assert np.mean(z >= 1.959964) <= 0.033, shares


@pytest.mark.parametrize(("right", "asked"), [(0, 30), (30, 30), (29, 30), (137, 300), (1, 1)])
def test_score_statistic_is_the_exact_binomial_tail(right, asked):
    evidence = ScoreEvidence.of([1] * right + [0] * (asked - right), trials=1)
    for mean in (0.02, 0.5, 0.9):
        at_least, at_most = reference.binom.sf(right - 1, asked, mean), reference.binom.cdf(right, asked, mean)
        assert reference.norm.sf(evidence.z(mean, "upper")) == pytest.approx(at_least, rel=1e-6, abs=1e-300)
        assert reference.norm.cdf(evidence.z(mean, "lower")) == pytest.approx(at_most, rel=1e-6, abs=1e-300)
        middle = reference.norm.sf(evidence.z(mean, "middle"))
        assert middle == pytest.approx(at_least - reference.binom.pmf(right, asked, mean) / 2, rel=1e-6, abs=1e-300)


def test_inverted_score_statistic_is_the_score_interval():
    for right, trials in (([1] * 27 + [0] * 3, 1), ([4, 3, 4, 2, 0, 4] * 5, 4)):
        interval, evidence = score_interval(right, trials=trials), ScoreEvidence.of(right, trials=trials)
        assert evidence.z(interval.low, "upper") == pytest.approx(1.959964, abs=1e-4)
        assert evidence.z(interval.high, "lower") == pytest.approx(-1.959964, abs=1e-4)
        assert evidence.value == pytest.approx(interval.value)


def test_evidence_describes_what_was_seen():
    first, second = [2, 0, 1, 2], [0, 0, 2, 2]
    paired = PairedEvidence.of(first, second, trials=2, margin=0.1)
    assert paired.answers is None
    first_rule = [PairedEvidence.of(first, second, trials=2, margin=m, intervals=1).answers for m in (0.1, 0.0, -0.1)]
    assert first_rule == [1.0, 0.5, 0.5]
    assert paired.counts_J.tolist() == [0, 1, 2, 0, 1]
    assert paired.num_problems == 4
    assert paired.value == pytest.approx((1 - 0.5) / 4)
    assert paired.scale(0.0, 0.0) == pytest.approx(paired.spread(0.0))
    assert paired.scale(0.0, 0.3) > paired.spread(0.3)
    single = ScoreEvidence.of([1, 0, 1, 1], trials=1)
    assert single.spread(0.5) == single.scale(0.5, 0.9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: PairedEvidence.of([1], [1, 0], trials=1, margin=0.0),
        lambda: PairedEvidence.of([2], [1], trials=1, margin=0.0),
        lambda: ScoreEvidence.of([], trials=1),
    ],
)
def test_impossible_counts_are_refused(call):
    with pytest.raises(NumericalError) as caught:
        call()
    assert caught.value.hint


def test_z_is_finite_at_every_extreme():
    for counts, mean in itertools.product(([5, 0, 0], [0, 5, 0], [0, 0, 5]), (-0.999, -0.5, 0.0, 0.5, 0.999)):
        assert all(math.isfinite(difference_z(np.array(counts), mean, tail)) for tail in ("upper", "lower", "middle"))
