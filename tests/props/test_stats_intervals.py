from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.stats.contamination.gap import gain_gap, public_sealed_gap, smallest_leak
from spiritsafe.stats.intervals import clopper_pearson_interval, korn_graubard_interval, score_interval, wilson_interval
from spiritsafe.stats.paired import paired_difference

TRIALS = 4
SCORES = st.lists(st.integers(0, TRIALS), min_size=1, max_size=30)
PAIRS = st.lists(st.tuples(st.integers(0, TRIALS), st.integers(0, TRIALS)), min_size=1, max_size=30)


@given(st.integers(1, 500), st.data())
def test_intervals_hold_their_share_mirror_and_nest(asked, data):
    right = data.draw(st.integers(0, asked))
    for interval in (clopper_pearson_interval, wilson_interval):
        found, mirrored = interval(right, asked), interval(asked - right, asked)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-9)
        wider = interval(right, asked, confidence=0.99)
        assert wider.low <= found.low + 1e-12
        assert wider.high >= found.high - 1e-12


@given(SCORES)
def test_clustered_intervals_hold_their_share_and_forget_the_order(scores):
    found = score_interval(scores, trials=TRIALS)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx(sum(scores) / (TRIALS * len(scores)))
    again = score_interval(scores[::-1], trials=TRIALS)
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    independent = korn_graubard_interval([sum(scores)], [TRIALS * len(scores)])
    assert independent.high - independent.low >= found.high - found.low - 1e-9  # one cluster knows least


@given(PAIRS)
def test_paired_difference_is_antisymmetric_and_bounded(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = paired_difference(first, second, trials=TRIALS)
    mirror = paired_difference(second, first, trials=TRIALS)
    d, m = found.difference, mirror.difference
    assert -1 <= d.low <= d.value <= d.high <= 1
    assert (d.low, d.high) == pytest.approx((-m.high, -m.low))
    assert found.p_value == pytest.approx(mirror.p_value)
    assert 0 < found.p_value <= 1
    assert (found.num_first_better, found.num_second_better) == (mirror.num_second_better, mirror.num_first_better)
    assert paired_difference(first, first, trials=TRIALS).p_value == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=25), st.lists(st.booleans(), min_size=1, max_size=25))
def test_gap_tests_are_probabilities_and_grow_with_the_other_half(public, sealed):
    a, b = [int(x) for x in public], [int(x) for x in sealed]
    found = public_sealed_gap(a, b)
    assert 0 < found.p_value <= 1
    assert found.gap.low <= found.gap.value <= found.gap.high
    better = public_sealed_gap([1] * len(a), b)
    assert better.p_value <= found.p_value + 1e-9
    flat = gain_gap((a, a), (b, b), num_draws=19)
    assert flat.gap.value == 0
    assert flat.p_value == 1


@given(st.integers(2, 2000), st.floats(0, 0.99))
def test_the_smallest_leak_is_a_share(half, score):
    leak = smallest_leak(half, half, score=score)
    assert leak is None or 0 < leak <= 1
