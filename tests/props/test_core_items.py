"""What item response theory promises: the fit is the optimum, abilities err as stated, shorter papers err no more."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from spiritsafe.stats.irt.model import ItemBank, chances, estimate_ability, fit_items, information
from spiritsafe.stats.irt.selection import next_problem


def known_bank(rng, num, spread):
    return ItemBank(
        names=tuple(map(str, range(num))),
        difficulties=tuple(rng.normal(0, spread, num).tolist()),
        discriminations=tuple(np.exp(rng.normal(0.1, 0.35, num)).tolist()),
        model="2pl",
        num_sittings=100,
    )


def test_the_fit_maximises_the_marginal_posterior():
    rng = np.random.default_rng(2)
    right = rng.binomial(2, chances(known_bank(rng, 3, 1.2), rng.standard_normal(40))).astype(float)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def loss(parameters):
        logit = np.exp(parameters[:3]) * nodes[:, None] + parameters[3:]
        logs = right @ special.log_expit(logit).T + (2 - right) @ special.log_expit(-logit).T
        marginal = special.logsumexp(logs, b=weights / weights.sum(), axis=1).sum()
        return -(marginal - (parameters[:3] ** 2).sum() / (2 * 0.25) - (parameters[3:] ** 2).sum() / (2 * 9))

    best = optimize.minimize(loss, np.zeros(6), method="BFGS")
    found = fit_items(right, 2, model="2pl")
    assert np.log(found.discriminations) == pytest.approx(best.x[:3], abs=2e-3)
    assert -np.array(found.discriminations) * found.difficulties == pytest.approx(best.x[3:], abs=2e-3)


def test_information_is_the_expected_squared_score():
    bank, step, at = known_bank(np.random.default_rng(3), 5, 1.2), 1e-5, 0.4
    p, up, down = chances(bank, at), chances(bank, at + step), chances(bank, at - step)
    by_right, by_wrong = np.log(up / down) / (2 * step), np.log((1 - up) / (1 - down)) / (2 * step)
    assert information(bank, at) == pytest.approx(p * by_right**2 + (1 - p) * by_wrong**2, rel=1e-6)


def test_abilities_have_the_error_that_they_state():
    rng = np.random.default_rng(4)
    bank, truths = known_bank(rng, 60, 1.2), rng.uniform(-1.5, 1.5, 300)
    found = [estimate_ability(bank, row) for row in rng.binomial(1, chances(bank, truths))]
    z = [(ability.value - truth) / ability.standard_error for ability, truth in zip(found, truths, strict=True)]
    assert 0.84 < np.std(z) < 1.16  # four errors of the spread of 300 values
    assert abs(np.mean(z)) < 0.25


def test_an_adaptive_paper_has_the_error_of_the_fixed_one_with_fewer_problems():
    rng = np.random.default_rng(1)
    size, num_fixed, used, adaptive, fixed = 300, 60, [], [], []
    bank = known_bank(rng, size, 1.5)
    for truth in rng.uniform(-2, 2, 120):
        answers = (rng.random(size) < chances(bank, truth)).astype(float)
        right, asked = np.zeros(size), np.zeros(size)
        while (place := next_problem(bank, right, asked, num_fixed=num_fixed)) is not None:
            right[place], asked[place] = answers[place], 1
        used.append(asked.sum())
        adaptive.append(estimate_ability(bank, right, asked).value - truth)
        drawn = np.isin(np.arange(size), rng.permutation(size)[:num_fixed]).astype(float)
        fixed.append(estimate_ability(bank, answers * drawn, drawn).value - truth)
    assert np.mean(used) < num_fixed / 2
    # the ratio of two root mean squares of 120 errors is known to about 9 %
    assert np.sqrt(np.mean(np.square(adaptive))) < 1.3 * np.sqrt(np.mean(np.square(fixed)))
