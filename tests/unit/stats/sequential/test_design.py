from __future__ import annotations

import pytest
from pydantic import ValidationError
from scipy import stats as reference

from spiritsafe.stats.sequential.boundaries import crossings
from spiritsafe.stats.sequential.design import StopRule, boundaries, detectable_drift, frequent_looks


def test_the_default_is_obrien_fleming_with_five_looks():
    rule = StopRule(num_problems=200)
    assert rule.looks == (40, 80, 120, 160, 200)
    assert (rule.alpha, rule.spending, rule.beta) == (0.025, "obrien-fleming", None)
    assert boundaries(rule).upper_K == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)
    assert boundaries(rule).lower_K is None


def test_the_record_holds_choices_only_and_round_trips():
    rule = frequent_looks(400)
    assert StopRule.from_json(rule.to_json()) == rule
    assert set(rule.to_json()) == {"num_problems", "num_looks", "alpha", "spending", "beta", "futility_spending"}
    assert boundaries(StopRule.from_json(rule.to_json())) is boundaries(rule)


@pytest.mark.parametrize("num_problems", [1, 7, 20, 101])
def test_looks_rise_to_the_whole_paper(num_problems):
    looks = frequent_looks(num_problems).looks
    assert looks[-1] == num_problems
    assert all(a < b for a, b in zip((0, *looks), looks, strict=False))


def test_detectable_drift_is_that_of_a_z_test_for_one_look():
    one = StopRule(num_problems=100, num_looks=1)
    assert detectable_drift(one) == pytest.approx(reference.norm.ppf(0.975) + reference.norm.ppf(0.8), abs=1e-6)
    five, often = StopRule(num_problems=100), frequent_looks(100)
    assert detectable_drift(one) < detectable_drift(five) < detectable_drift(often) < 1.1 * detectable_drift(one)
    found = boundaries(often)
    shown = crossings(found.times_K, found.upper_K, found.lower_K, drift=detectable_drift(often, power=0.9))
    assert shown.up_K.sum() == pytest.approx(0.9, abs=1e-6)


def test_more_looks_than_problems_are_refused():
    with pytest.raises(ValidationError):
        StopRule(num_problems=3)
