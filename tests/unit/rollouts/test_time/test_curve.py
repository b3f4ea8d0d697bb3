from __future__ import annotations

import time

import numpy as np
import pytest
from pool_parts import SAMPLING, candidate, drawn_pool, pool_of

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.rollouts.test_time.curve import curve_of_pools, sizes_to_show
from spiritsafe.rollouts.test_time.records import ComputeCurve
from spiritsafe.rollouts.test_time.scaling import scale_methods
from spiritsafe.stats.bootstrap import ClusterBootstrap


@pytest.mark.parametrize(
    ("num_samples", "expected"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_powers_of_two_and_the_whole_pool(num_samples: int, expected: tuple[int, ...]) -> None:
    assert sizes_to_show(num_samples) == expected


def test_one_model_by_hand() -> None:
    right, wrong = candidate("8", right=True, passes=True), candidate("7", tokens=20, mean_logprob=-0.5, passes=False)
    greedy = {"p0": candidate("8", right=True, tokens=6), "p1": candidate("7", tokens=8)}
    pool = pool_of([[right, right, wrong], [wrong, wrong, right]], num_parameters=100, greedy=greedy)
    curve = curve_of_pools([pool], task="t")
    (model,) = curve.models
    found = {
        line.method: [(p.num_samples, p.num_tokens, round(p.accuracy.value, 6)) for p in line.points]
        for line in model.lines
    }
    tokens = (40 / 3 + 50 / 3) / 2
    assert found == {
        "greedy": [(1, 7.0, 0.5)],
        "mean": [(1, tokens, 0.5)],
        "majority": [(1, tokens, 0.5), (2, 2 * tokens, 0.5), (3, pytest.approx(3 * tokens), 0.5)],
        "majority_early": [(3, pytest.approx((100 / 3 + 140 / 3) / 2, rel=0.05), 0.5)],
        "likelihood": [(1, tokens, 0.5), (2, 2 * tokens, round((1 / 3 + 0) / 2, 6)), (3, pytest.approx(3 * tokens), 0)],
        "self_check": [(1, tokens, 0.5), (2, 2 * tokens, round((1 + 2 / 3) / 2, 6)), (3, pytest.approx(3 * tokens), 1)],
        "oracle": [(1, tokens, 0.5), (2, 2 * tokens, round((1 + 2 / 3) / 2, 6)), (3, pytest.approx(3 * tokens), 1)],
    }
    mean = model.line("mean")
    assert mean is not None
    assert mean.points[0].flops == 2 * 100 * tokens
    gains = {line.method: line.gain.value for line in model.lines if line.gain}
    assert gains == pytest.approx({"majority": 0.0, "likelihood": -0.5, "self_check": 0.5, "oracle": 0.5})
    assert (curve.num_problems, curve.num_samples, curve.sampling) == (2, 3, SAMPLING)
    assert model.notes == ()


def test_several_models_and_their_comparisons() -> None:
    pools = [
        drawn_pool("base", skill=0.4, num_parameters=100),
        drawn_pool("taught", skill=0.6, num_parameters=100),
        drawn_pool("endpoint", skill=0.5),
    ]
    curve = curve_of_pools(pools, task="t", seed=3)
    assert [model.name for model in curve.models] == ["base", "taught", "endpoint"]
    pairs = {(one.first, one.second, one.axis) for one in curve.differences}
    assert pairs == {
        ("taught", "base", "tokens"), ("taught", "base", "flops"), ("endpoint", "base", "tokens"),
        ("endpoint", "taught", "tokens"),
    }  # fmt: skip
    assert [(one.model, one.base) for one in curve.reached] == [("taught", "base"), ("endpoint", "base")]
    assert curve.models[2].num_parameters is None
    assert any("parameters" in note for note in curve.models[2].notes)
    for model in curve.models:
        oracle, majority = model.line("oracle"), model.line("majority")
        assert oracle is not None
        assert majority is not None
        for above, below in zip(oracle.points, majority.points, strict=True):
            assert above.accuracy.value >= below.accuracy.value - 1e-9
            assert above.num_tokens == below.num_tokens
    assert ComputeCurve.from_json(curve.to_json()) == curve
    assert curve_of_pools(pools, task="t", seed=3) == curve
    assert curve_of_pools(pools, task="t", seed=4) != curve


def test_unscored_attempts_are_left_out_and_said() -> None:
    right = candidate("8", right=True)
    pool = pool_of([[right, right, right], [right], []], num_unscored=5, num_samples=3)
    (model,) = curve_of_pools([pool], task="t").models
    majority = model.line("majority")
    assert majority is not None
    assert [(p.num_samples, p.accuracy.n) for p in majority.points] == [(1, 2), (2, 1), (3, 1)]
    assert model.notes[0].startswith("5 attempts have no grade")
    assert "2 problems" in model.notes[0]
    assert model.line("greedy") is None
    # k that no problem has is not shown
    (short,) = curve_of_pools([pool_of([[right], [right]], num_samples=3)], task="t").models
    line = short.line("oracle")
    assert line is not None
    assert [p.num_samples for p in line.points] == [1]
    assert line.gain is None


def test_pools_that_were_not_drawn_alike_are_refused() -> None:
    one = drawn_pool("a", skill=0.5, num_problems=3, num_samples=2)
    with pytest.raises(RecipeError):
        curve_of_pools([], task="t")
    with pytest.raises(CompatibilityError, match="different problems"):
        curve_of_pools([one, drawn_pool("b", skill=0.5, num_problems=4, num_samples=2)], task="t")
    with pytest.raises(CompatibilityError, match="drawn alike"):
        curve_of_pools([one, drawn_pool("b", skill=0.5, num_problems=3, num_samples=4)], task="t")
    with pytest.raises(CompatibilityError, match="No attempt"):
        curve_of_pools([pool_of([[], []], num_samples=2)], task="t")


def test_models_of_one_name_are_told_apart() -> None:
    pools = [drawn_pool("a", skill=skill, num_problems=4, num_samples=2) for skill in (0.2, 0.8)]
    assert [model.name for model in curve_of_pools(pools, task="t").models] == ["a (1)", "a (2)"]


def test_intervals_cover_the_truth_of_a_vote() -> None:
    """Pools of 8 drawn anew, 200 times: does the interval hold the expected maj@8 of such problems?"""
    generator = np.random.default_rng(0)
    chances = generator.beta(1.5, 1.0, size=200_000)
    votes = generator.binomial(8, chances)
    truth = float(np.where(votes > 4, 1.0, np.where(votes == 4, 0.5, 0.0)).mean())
    hits = 0
    for number in range(200):
        attempts = [
            [candidate("8" if right else "7", right=bool(right)) for right in generator.random(8) < chance]
            for chance in generator.beta(1.5, 1.0, size=25)
        ]
        pool = pool_of(attempts)
        votes = scale_methods(pool, sorted(pool.attempts), "mean", 0)["majority"].scores_PK[:, -1]
        found = ClusterBootstrap(25, seed=number, num_draws=400).interval(votes)
        hits += found.low <= truth <= found.high
    assert hits / 200 >= 0.92


def test_a_large_pool_takes_seconds() -> None:
    pools = [drawn_pool(name, skill=0.5, num_problems=100, num_samples=64, num_parameters=9) for name in "ab"]
    started = time.perf_counter()
    curve_of_pools(pools, task="t")
    assert time.perf_counter() - started < 20
