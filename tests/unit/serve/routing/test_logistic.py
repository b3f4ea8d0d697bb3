"""Chances: the same minimum as a general optimiser finds, and calibrated on data whose chances are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from spiritsafe.serve.routing.logistic import fit_chance, folds, log_loss, platt, ridge_logistic, ridge_path


@pytest.mark.parametrize(("num", "size", "ridge"), [(40, 5, 0.1), (30, 60, 3.0), (50, 3, 1000.0), (12, 12, 1e-3)])
def test_it_finds_the_minimum_that_scipy_finds(num: int, size: int, ridge: float) -> None:
    rng = np.random.default_rng(num)
    features = rng.normal(size=(num, size))
    right = rng.integers(0, 4, num) / 3  # shares of three attempts

    def objective(place: np.ndarray) -> float:
        scores = features @ place[:-1] + place[-1]
        return float(np.sum(np.logaddexp(0, scores) - right * scores) + ridge / 2 * place[:-1] @ place[:-1])

    found = optimize.minimize(objective, np.zeros(size + 1), method="BFGS", options={"gtol": 1e-7, "maxiter": 5000})
    weights, intercept = ridge_logistic(features, right, ridge)
    assert objective(np.append(weights, intercept)) <= found.fun + 1e-7
    assert np.allclose(weights, found.x[:-1], atol=2e-4)
    assert intercept == pytest.approx(found.x[-1], abs=2e-4)
    (again, _), *_ = ridge_path(features, right, (ridge, 1.0))
    assert np.allclose(again, weights)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_right_or_all_wrong_is_near_certain_and_finite(share: float) -> None:
    chance = fit_chance(np.random.default_rng(0).normal(size=(60, 4)), np.full(60, share))
    given = chance.of(np.random.default_rng(1).normal(size=(9, 4)) * 100)
    assert np.isfinite(given).all()
    assert np.abs(given - share).max() < 0.06


def test_separable_problems_have_finite_weights() -> None:
    features = np.linspace(-1, 1, 40)[:, None]
    chance = fit_chance(features, (features[:, 0] > 0).astype(float))
    assert np.isfinite(chance.weights).all()
    assert chance.of(np.array([[-0.9], [0.9]])) == pytest.approx([0.0, 1.0], abs=0.1)


def test_known_chances_come_back_calibrated() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(4000, 6))
    truth = special.expit(features @ np.array([1.5, -1.0, 0.5, 0, 0, 0]) - 0.5)
    right = (rng.random(4000) < truth).astype(float)
    chance = fit_chance(features[:2000], right[:2000])
    given = chance.of(features[2000:])
    assert np.abs(given - truth[2000:]).mean() < 0.03
    for part in np.array_split(np.argsort(given), 5):
        assert given[part].mean() == pytest.approx(truth[2000:][part].mean(), abs=0.04)
    assert log_loss(right[2000:], given).mean() < log_loss(right[2000:], truth[2000:]).mean() + 0.005


def test_where_features_say_nothing_chances_are_nearly_one() -> None:
    rng = np.random.default_rng(5)
    right = (rng.random(300) < 0.3).astype(float)
    given = fit_chance(rng.normal(size=(300, 50)), right).of(rng.normal(size=(200, 50)))
    assert given.mean() == pytest.approx(right.mean(), abs=0.03)
    assert given.std() < 0.08


def test_a_score_that_points_the_wrong_way_is_not_used() -> None:
    scores = np.linspace(-1, 1, 50)
    slope, offset = platt(scores, (scores < 0).astype(float))
    assert slope == 0.0
    assert special.expit(offset) == pytest.approx(0.5, abs=0.01)


def test_a_problem_is_left_out_with_all_its_samples() -> None:
    problems = np.repeat(np.arange(7), 3)
    left = np.zeros(21)
    for learn, out in folds(problems, 4, seed=1):
        assert not set(problems[learn]) & set(problems[out])
        left += out
    assert left.tolist() == [1.0] * 21
