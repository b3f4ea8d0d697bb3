"""Compute curves of made-up pools, for tests of reports."""

from __future__ import annotations

from pool_parts import drawn_pool

from spiritsafe.rollouts.test_time.curve import curve_of_pools
from spiritsafe.rollouts.test_time.records import ComputeCurve


def example_curve() -> ComputeCurve:
    """A base, the same taught, and an endpoint of unknown size."""
    return curve_of_pools(
        [
            drawn_pool("base-135M", skill=0.4, num_parameters=135_000_000, num_problems=40, has_check=True),
            drawn_pool("taught-135M", skill=0.65, num_parameters=135_000_000, num_problems=40, has_check=True),
            drawn_pool("endpoint", skill=0.5, num_problems=40, tokens=(40, 90)),
        ],
        task="arith:countdown",
        num_draws=300,
    )


def lonely_curve() -> ComputeCurve:
    """One model of unknown size, few problems."""
    return curve_of_pools([drawn_pool("m", skill=0.5, num_problems=5, num_samples=2)], task="t", num_draws=100)
