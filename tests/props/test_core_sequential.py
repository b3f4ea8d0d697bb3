from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.stats.multiple_testing import holm
from spiritsafe.stats.power import smallest_paired_difference
from spiritsafe.stats.sequential.betting import log_wealth
from spiritsafe.stats.sequential.boundaries import crossings, efficacy_boundary, spent
from spiritsafe.stats.sequential.score_statistics import PairedEvidence, ScoreEvidence, restricted_variance

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)
MEANS = st.floats(-0.95, 0.95)
SPENDING = st.sampled_from(["obrien-fleming", "pocock", "quadratic", "cubic"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=8, unique=True), st.floats(0.005, 0.2), SPENDING)
def test_any_looks_spend_exactly_what_they_may(places, alpha, spending):
    times = sorted(place / 100 for place in places)
    upper = efficacy_boundary(times, alpha=alpha, spending=spending)
    allowed = spent(times, alpha, spending)
    assert np.cumsum(crossings(times, upper).up_K) == pytest.approx(allowed, abs=1e-9)


@given(PAIRS, MEANS)
def test_paired_evidence_mirrors_and_orders_its_tails(pairs, mean):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one = PairedEvidence.of(first, second, trials=3, margin=0.0)
    other = PairedEvidence.of(second, first, trials=3, margin=0.0)
    assert one.z(mean, "upper") == pytest.approx(-other.z(-mean, "lower"), abs=1e-6)
    assert one.z(mean, "upper") <= one.z(mean, "middle") <= one.z(mean, "lower")
    assert one.value == pytest.approx(-other.value)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=9).filter(any), MEANS)
def test_restricted_variance_is_that_of_some_value_in_the_range(counts, mean):
    variance = float(restricted_variance(np.array(counts), mean))
    assert -1e-9 <= variance <= 1 - mean * mean + 1e-6


@given(st.integers(1, 200), st.data(), st.floats(0.01, 0.99))
def test_score_evidence_orders_its_tails_and_grows_with_the_score(asked, data, mean):
    right = data.draw(st.integers(0, asked))
    evidence = ScoreEvidence(right / asked, float(asked), asked, float(asked))
    assert evidence.z(mean, "upper") <= evidence.z(mean, "middle") <= evidence.z(mean, "lower")
    if right < asked:
        assert ScoreEvidence((right + 1) / asked, float(asked), asked, float(asked)).z(mean, "upper") >= evidence.z(
            mean, "upper"
        )


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.floats(0.05, 0.9))
def test_wealth_falls_in_the_mean_with_and_without_replacement(values, mean):
    for population in (None, len(values), 2 * len(values)):
        less, more = (log_wealth(np.array(values), m, population=population) for m in (mean, mean + 0.05))
        assert (np.isinf(less) | (more <= less + 1e-9)).all()


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(0, 5))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values, hidden):
    adjusted = holm(p_values, num_tests=len(p_values) + hidden)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 800), st.floats(0.02, 1.0))
def test_the_smallest_difference_is_a_share(num_problems, discordance):
    found = smallest_paired_difference(num_problems, discordance=discordance)
    assert found is None or 0 < found.difference <= 1
