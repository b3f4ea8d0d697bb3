from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.sequential.boundaries import (
    UNREACHABLE,
    check_times,
    crossings,
    efficacy_boundary,
    futility_boundary,
    spent,
)


def even(num_looks):
    return [look / num_looks for look in range(1, num_looks + 1)]


# Jennison & Turnbull 2000, tables 2.1 and 2.3: two-sided level .05.
POCOCK = {2: 2.178, 3: 2.289, 4: 2.361, 5: 2.413, 10: 2.555, 20: 2.672}
OBRIEN_FLEMING = {2: 1.977, 3: 2.004, 4: 2.024, 5: 2.040, 10: 2.087, 20: 2.126}


@pytest.mark.parametrize("num_looks", sorted(POCOCK))
def test_published_constants_have_the_published_level(num_looks):
    times = even(num_looks)
    pocock = [POCOCK[num_looks]] * num_looks
    obrien_fleming = [OBRIEN_FLEMING[num_looks] / math.sqrt(time) for time in times]
    for upper in (pocock, obrien_fleming):
        found = crossings(times, upper, [-bound for bound in upper])
        # the constants have three decimals, which moves the level by up to 6e-5
        assert found.up_K.sum() + found.down_K.sum() == pytest.approx(0.05, abs=8e-5)
        assert found.up_K == pytest.approx(found.down_K)


def test_lan_demets_boundaries_are_those_of_the_published_programs():
    # to three decimals: ldbounds, gsDesign (sfLDOF, sfLDPocock), five even looks, one-sided .025
    obrien_fleming = efficacy_boundary(even(5), alpha=0.025, spending="obrien-fleming")
    assert obrien_fleming == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)
    pocock = efficacy_boundary(even(5), alpha=0.025, spending="pocock")
    assert pocock == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=6e-4)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock", "quadratic", "cubic"])
def test_spending_begins_at_nothing_rises_and_ends_at_the_level(spending):
    values = spent(np.linspace(0.001, 1, 50), 0.025, spending)
    assert values[0] < 1e-4
    assert (np.diff(values) >= 0).all()
    assert values[-1] == pytest.approx(0.025)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock", "quadratic", "cubic"])
@pytest.mark.parametrize("times", [[0.1, 0.4, 0.5, 1.0], [1.0], [0.3, 0.9]])
def test_boundaries_spend_what_they_may_by_a_multivariate_normal(spending, times):
    upper = efficacy_boundary(times, alpha=0.05, spending=spending)
    cov = np.sqrt([[min(a, b) / max(a, b) for b in times] for a in times])
    for look in range(1, len(times) + 1):
        inside = reference.multivariate_normal(
            np.zeros(look), cov[:look, :look], abseps=1e-8, releps=1e-8, maxpts=1_000_000
        ).cdf(upper[:look])
        assert 1 - inside == pytest.approx(spent(times, 0.05, spending)[look - 1], abs=2e-6)


def test_crossing_chances_equal_a_simulation():
    times, upper, lower, drift = [0.2, 0.5, 0.6, 1.0], [2.5, 2.2, 2.4, 2.0], [-0.5, 0.2, 0.9, 2.0], 2.5
    rng = np.random.default_rng(1)
    num = 200_000
    steps = rng.standard_normal((num, 4)) * np.sqrt(np.diff([0, *times])) + drift * np.diff([0, *times])
    z = np.cumsum(steps, axis=1) / np.sqrt(times)
    found = crossings(times, upper, lower, drift=drift)
    going = np.ones(num, dtype=bool)
    for look in range(4):
        up, down = going & (z[:, look] >= upper[look]), going & (z[:, look] < lower[look])
        for simulated, exact in ((up.mean(), found.up_K[look]), (down.mean(), found.down_K[look])):
            assert abs(simulated - exact) < 4.5 * math.sqrt(exact * (1 - exact) / num) + 1e-9
        going &= ~(up | down)
    assert found.up_K.sum() + found.down_K.sum() == pytest.approx(1.0, abs=1e-9)


def test_quadrature_is_fine_enough_for_many_looks():
    upper = efficacy_boundary(even(100), alpha=0.025, spending="cubic")
    assert crossings(even(100), upper).up_K.sum() == pytest.approx(0.025, abs=1e-8)


def test_where_nothing_is_spent_the_boundary_cannot_be_reached():
    upper = efficacy_boundary(even(20), alpha=0.025, spending="obrien-fleming")
    assert upper[0] == UNREACHABLE
    assert list(upper) == sorted(upper, reverse=True)


@pytest.mark.parametrize("num_looks", [1, 2, 5, 20, 50])
@pytest.mark.parametrize("beta", [0.1, 0.2])
def test_futility_spends_beta_at_the_drift_found_with_the_rest(num_looks, beta):
    times = even(num_looks)
    upper = efficacy_boundary(times, alpha=0.025, spending="cubic")
    lower, drift = futility_boundary(times, upper, beta=beta, spending="quadratic")
    found = crossings(times, upper, lower, drift=drift)
    assert np.cumsum(found.down_K) == pytest.approx(spent(times, beta, "quadratic"), abs=1e-8)
    assert found.up_K.sum() == pytest.approx(1 - beta, abs=1e-8)
    assert lower[-1] == upper[-1]
    if num_looks == 1:
        assert drift == pytest.approx(reference.norm.ppf(0.975) + reference.norm.ppf(1 - beta))


def test_giving_up_or_not_the_level_holds():
    upper = efficacy_boundary(even(5), alpha=0.025, spending="obrien-fleming")
    lower, _ = futility_boundary(even(5), upper, beta=0.1, spending="quadratic")
    assert crossings(even(5), upper, lower).up_K.sum() < crossings(even(5), upper).up_K.sum() <= 0.025 + 1e-9


@pytest.mark.parametrize("times", [[], [0.0, 1.0], [0.5, 0.5], [0.5, 1.1]])
def test_impossible_looks_are_refused(times):
    with pytest.raises(NumericalError) as caught:
        check_times(times)
    assert caught.value.hint


def test_impossible_levels_are_refused():
    with pytest.raises(NumericalError):
        efficacy_boundary([1.0], alpha=0.5, spending="cubic")
    with pytest.raises(NumericalError):
        futility_boundary([1.0], [1.96], beta=0.0, spending="cubic")
