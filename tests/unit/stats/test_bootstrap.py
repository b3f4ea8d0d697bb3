from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.bootstrap import BOOTSTRAP, ClusterBootstrap


def test_without_widening_it_would_be_scipys_bca() -> None:
    """SciPy's own BCa at the level that Hesterberg's expansion makes of ours."""
    values = np.random.default_rng(1).beta(0.5, 2.0, size=25)
    confidence = 0.9
    widened = math.sqrt(25 / 24) * stats.t.ppf(0.95, 24)
    level = 2 * special.ndtr(widened) - 1
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=40_000, method="BCa", random_state=5
    ).confidence_interval
    ours = ClusterBootstrap(25, seed=2, num_draws=40_000, confidence=confidence).interval(values)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)
    assert ours.method == BOOTSTRAP
    assert (ours.n, ours.confidence) == (25, confidence)


@pytest.mark.parametrize(("n", "shape", "least"), [(12, (2.0, 2.0), 0.93), (30, (0.3, 1.2), 0.93), (30, None, 0.93)])
def test_it_covers_by_simulation(n: int, shape: tuple[float, float] | None, least: float) -> None:
    """Problems of a beta difficulty, 16 attempts each; or one attempt each (None)."""
    generator = np.random.default_rng(n)
    boots = [ClusterBootstrap(n, seed=seed, num_draws=800) for seed in range(4)]
    truth = shape[0] / sum(shape) if shape else 0.3
    hits = 0
    for number in range(600):
        values = (
            generator.binomial(16, generator.beta(*shape, n)) / 16 if shape else (generator.random(n) < truth) * 1.0
        )
        found = boots[number % 4].interval(values)
        hits += found.low <= truth <= found.high
    assert least - 0.01 <= hits / 600 <= 0.995


@pytest.mark.parametrize("n", [1, 12])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_without_spread_the_bound_is_exact(n: int, value: float) -> None:
    found = ClusterBootstrap(n, seed=0).interval([value] * n)
    unlike = 1 - 0.025 ** (1 / n)  # Clopper-Pearson's bound for 0 of n
    assert found.low == pytest.approx(value - unlike * value)
    assert found.high == pytest.approx(value + unlike * (1 - value))
    difference = ClusterBootstrap(n, seed=0).interval([0.0] * n, least=-1.0)
    assert (difference.low, difference.high) == pytest.approx((-unlike, unlike))


def test_unknown_values_are_left_out() -> None:
    values = np.array([0.0, 1.0, math.nan, 0.5, 0.25, math.nan])
    boot = ClusterBootstrap(6, seed=3)
    found = boot.interval(values)
    assert (found.n, found.value) == (4, pytest.approx(1.75 / 4))
    means = boot.means(np.stack([values, np.ones(6)], axis=1))
    assert means.shape == (2000, 2)
    assert np.nanmin(means[:, 0]) >= 0
    assert (means[:, 1] == pytest.approx(1.0)) is True
    assert np.nanmean(means[:, 0]) == pytest.approx(1.75 / 4, abs=0.03)


def test_the_same_redraws_keep_pairs_together() -> None:
    """A difference of two nearly equal columns is far narrower than either."""
    generator = np.random.default_rng(0)
    first = generator.random(40)
    second = first + 0.01 * generator.random(40)
    boot = ClusterBootstrap(40, seed=1)
    difference = boot.interval(first - second, least=-1.0)
    assert difference.high - difference.low < 0.1 * (boot.interval(first).high - boot.interval(first).low)
    assert difference.high < 0


def test_the_seed_decides_everything() -> None:
    values = np.random.default_rng(0).random(20)
    assert ClusterBootstrap(20, seed=1).interval(values) == ClusterBootstrap(20, seed=1).interval(values)
    assert ClusterBootstrap(20, seed=1).interval(values) != ClusterBootstrap(20, seed=2).interval(values)


def test_the_interval_holds_its_value_and_stays_in_bounds() -> None:
    for seed in range(20):
        values = np.random.default_rng(seed).random(5) ** 8
        found = ClusterBootstrap(5, seed=seed).interval(values)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_impossible_input_is_refused() -> None:
    for arguments in ((0,), (3,)):
        with pytest.raises(NumericalError):
            ClusterBootstrap(*arguments, seed=0, num_draws=0)
    with pytest.raises(NumericalError):
        ClusterBootstrap(3, seed=0, confidence=1.0)
    boot = ClusterBootstrap(3, seed=0)
    for values in ([0.1, 0.2], [0.1, 0.2, 1.5], [math.nan] * 3, [[0.1], [0.2], [0.3]]):
        with pytest.raises(NumericalError):
            boot.interval(values)
