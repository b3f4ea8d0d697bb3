"""Against full enumeration of all splits."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.permutation import randomisation_test


def enumerate_p(public: list[int], sealed: list[int], strata: tuple[list[str], list[str]] | None) -> float:
    """Share of all splits (within strata) whose public sum is at least the observed one."""
    labels = (*strata[0], *strata[1]) if strata else ("",) * (len(public) + len(sealed))
    bank = [*public, *sealed]
    sides = []
    for name in dict.fromkeys(labels):
        places = [k for k, label in enumerate(labels) if label == name]
        size = sum(place < len(public) for place in places)
        sides.append([sum(bank[place] for place in chosen) for chosen in combinations(places, size)])
    sums = [sum(parts) for parts in product(*sides)]
    return sum(total >= sum(public) for total in sums) / len(sums)


CASES = [
    ([1, 1, 0, 1], [0, 0, 1, 0], None),
    ([1, 1, 0, 1], [0, 0, 1, 0], (list("aabb"), list("abab"))),
    ([1, 0, 0, 1, 1], [0, 1, 0, 0], (list("aabbb"), list("abbb"))),
    ([1, 1], [0, 0, 1], (list("ab"), list("aac"))),  # one stratum without a public problem
    ([1, 0, 1], [1], (list("aab"), list("a"))),  # one without a sealed one
    ([0, 0], [1, 1], (list("ab"), list("ab"))),
    ([1, 1], [1, 1], (list("aa"), list("bb"))),
]


@pytest.mark.parametrize(("public", "sealed", "strata"), CASES)
def test_exact_for_one_try(public, sealed, strata):
    p, draws = randomisation_test(np.array(public), np.array(sealed), seed=1, num_draws=99, strata=strata)
    assert draws == 0
    assert p == pytest.approx(enumerate_p(public, sealed, strata), abs=1e-12)


@pytest.mark.parametrize("strata", [None, (list("aabb"), list("abab"))])
def test_monte_carlo_for_several_tries(strata):
    public, sealed = [2, 3, 0, 1], [-1, 0, 2, 1]
    p, draws = randomisation_test(np.array(public), np.array(sealed), seed=3, num_draws=20_000, strata=strata)
    assert draws == 20_000
    assert p == pytest.approx(enumerate_p(public, sealed, strata), abs=0.015)
    again = randomisation_test(np.array(public), np.array(sealed), seed=3, num_draws=20_000, strata=strata)
    assert again == (p, draws)


def test_one_stratum_is_no_stratum():
    rng = np.random.default_rng(0)
    public, sealed = rng.integers(0, 2, 30), rng.integers(0, 2, 34)
    plain = randomisation_test(public, sealed, seed=1, num_draws=9)
    within = randomisation_test(public, sealed, seed=1, num_draws=9, strata=(["x"] * 30, ["x"] * 34))
    assert within[0] == pytest.approx(plain[0], abs=1e-12)


def test_size_of_the_test_under_splits_within_strata():
    """Easy and hard stratum, cut by themselves: at most 5 % of the cuts are flagged at 5 %."""
    rng = np.random.default_rng(7)
    bank = {"easy": (rng.random(40) < 0.9).astype(int), "hard": (rng.random(24) < 0.2).astype(int)}
    flagged = 0
    for _ in range(600):
        public, sealed, labels = [], [], ([], [])
        for name, values in bank.items():
            order = rng.permutation(values.size)
            half = values.size // 2
            public += values[order[:half]].tolist()
            sealed += values[order[half:]].tolist()
            labels[0].extend([name] * half)
            labels[1].extend([name] * (values.size - half))
        p, _ = randomisation_test(np.array(public), np.array(sealed), seed=0, num_draws=9, strata=labels)
        flagged += p <= 0.05
    assert flagged / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_labels_must_name_each_problem():
    with pytest.raises(NumericalError):
        randomisation_test(np.array([1]), np.array([0]), seed=0, num_draws=9, strata=(["a"], []))
