from __future__ import annotations

import math

import numpy as np
import pytest
from pool_parts import drawn_pool

from spiritsafe.rollouts.test_time.equal_cost import (
    Contender,
    _first_reaching,
    differences_at_equal_cost,
    tokens_to_reach,
)
from spiritsafe.rollouts.test_time.pool import Pool
from spiritsafe.rollouts.test_time.scaling import ScaledMethod, scale_methods
from spiritsafe.stats.bootstrap import ClusterBootstrap

BOOT = ClusterBootstrap(60, seed=0)


def contender(pool: Pool) -> Contender:
    return Contender(
        name=pool.model, num_parameters=pool.num_parameters, grown=scale_methods(pool, sorted(pool.attempts), "mean", 0)
    )


def flat(name: str, scores: list[float], tokens: float, num_parameters: int | None = None) -> Contender:
    """Sixty problems alike."""
    grown = ScaledMethod(scores_PK=np.tile(scores, (60, 1)), tokens_P=np.full(60, tokens))
    return Contender(name=name, num_parameters=num_parameters, grown={"majority": grown})


def test_differences_are_taken_at_the_same_cost_by_hand() -> None:
    short = flat("short", [0.2, 0.4, 0.5, 0.6], 10.0, 100)
    long = flat("long", [0.5, 0.9], 20.0, 200)
    found = differences_at_equal_cost("tokens", long, short, BOOT)
    # both can spend 20 to 40 tokens: one long attempt against two short ones, two against four, √2 against 2.83
    middle = (0.5 + (math.sqrt(2) - 1) * 0.4) - (0.4 + (2 * math.sqrt(2) - 2) * 0.1)
    assert [one.cost for one in found] == pytest.approx([20.0, math.sqrt(800), 40.0])
    assert [one.difference.value for one in found] == pytest.approx([0.1, middle, 0.3])
    assert {(one.first, one.second, one.method, one.axis) for one in found} == {("long", "short", "majority", "tokens")}
    operations = differences_at_equal_cost("flops", long, short, BOOT)
    # an attempt of the long one is 8,000 operations, of the short one 2,000 up to 8,000
    assert [(one.cost, one.difference.value) for one in operations] == [(pytest.approx(8000.0), pytest.approx(-0.1))]


def test_where_costs_do_not_meet_nothing_is_compared() -> None:
    assert differences_at_equal_cost("tokens", flat("a", [0.1, 0.2], 10.0), flat("b", [0.5], 21.0), BOOT) == []
    assert differences_at_equal_cost("flops", flat("a", [0.1], 10.0, 5), flat("b", [0.5], 10.0), BOOT) == []
    assert differences_at_equal_cost("tokens", flat("a", [0.1], 0.0), flat("b", [0.5], 0.0), BOOT) == []


def test_pairing_finds_what_separate_intervals_do_not() -> None:
    weak, strong = (contender(drawn_pool(name, skill=skill)) for name, skill in (("w", 0.45), ("s", 0.62)))
    for one in differences_at_equal_cost("tokens", strong, weak, BOOT):
        if one.method == "majority":
            assert one.difference.low > 0
            assert one.difference.high < 0.4
    methods = {one.method for one in differences_at_equal_cost("tokens", strong, weak, BOOT)}
    assert methods == {"majority", "likelihood"}  # the oracle is no method


@pytest.mark.parametrize(
    ("scores", "target", "expected"),
    [([0.2, 0.4, 0.6], 0.5, 2.5), ([0.2, 0.4], 0.1, 1.0), ([0.2, 0.4], 0.4, 2.0), ([0.5, 0.3, 0.6], 0.55, 2 + 5 / 6)],
)
def test_where_a_curve_first_is_as_high(scores: list[float], target: float, expected: float) -> None:
    assert _first_reaching(np.array(scores), target) == pytest.approx(expected)
    assert _first_reaching(np.array(scores), 0.99) == math.inf


def test_tokens_to_reach_the_bases_vote() -> None:
    base, better = (contender(drawn_pool(name, skill=skill)) for name, skill in (("base", 0.5), ("better", 0.62)))
    found = tokens_to_reach(better, base, BOOT)
    assert (found.model, found.base, found.num_samples) == ("better", "base", 16)
    assert found.num_tokens is not None
    assert found.low is not None
    assert 10 < found.low <= found.num_tokens < found.base_tokens
    mean_K = better.grown["majority"].scores_PK.mean(axis=0)
    k = found.num_tokens / better.grown["majority"].mean_tokens
    assert np.interp(k, np.arange(1, 17), mean_K) == pytest.approx(max(found.target.value, mean_K[0]))
    itself = tokens_to_reach(base, base, BOOT)
    assert itself.num_tokens is not None
    assert itself.num_tokens <= itself.base_tokens + 1e-9
    worse = tokens_to_reach(base, better, BOOT)
    assert (worse.num_tokens, worse.low, worse.high) == (None, None, None)


def test_a_small_pool_of_the_base_sets_a_smaller_target() -> None:
    found = tokens_to_reach(flat("a", [0.5, 0.6], 10.0), flat("b", [0.5, 0.55, 0.6], 8.0), BOOT)
    assert (found.num_samples, found.base_tokens, found.num_tokens) == (3, 24.0, pytest.approx(20.0))
