from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.irt.model import ABILITY_SD, ItemBank, chances, estimate_ability, fit_items, information


def bank_of(difficulties: list[float], discriminations: list[float]) -> ItemBank:
    return ItemBank(
        names=tuple(f"p{i}" for i in range(len(difficulties))),
        difficulties=tuple(difficulties),
        discriminations=tuple(discriminations),
        model="2pl",
        num_sittings=1,
    )


def test_chance_and_information_by_hand() -> None:
    bank = bank_of([0.0, 1.0], [1.0, 2.0])
    assert chances(bank, 1.0) == pytest.approx([1 / (1 + np.exp(-1.0)), 0.5])
    assert information(bank, 1.0) == pytest.approx([0.19661193, 4 * 0.25])


def test_ability_is_the_posterior_of_a_brute_force_sum() -> None:
    bank = bank_of([-1.0, 0.0, 2.0], [0.8, 1.0, 1.5])
    right, asked = np.array([2.0, 1.0, 0.0]), np.array([2.0, 2.0, 1.0])
    grid = np.linspace(-12, 12, 20001)
    p = 1 / (1 + np.exp(-np.array([0.8, 1.0, 1.5]) * (grid[:, None] - np.array([-1.0, 0.0, 2.0]))))
    density = np.prod(p**right * (1 - p) ** (asked - right), axis=1) * np.exp(-0.5 * (grid / ABILITY_SD) ** 2)
    mean = (density * grid).sum() / density.sum()
    sd = np.sqrt((density * (grid - mean) ** 2).sum() / density.sum())
    found = estimate_ability(bank, right, asked)
    assert found.value == pytest.approx(mean, abs=2e-3)
    assert found.standard_error == pytest.approx(sd, abs=2e-3)


@pytest.mark.parametrize(("num_students", "model"), [(60, "rasch"), (1500, "2pl")])
def test_known_parameters_are_found_again(num_students: int, model: str) -> None:
    rng = np.random.default_rng(3)
    difficulties = np.linspace(-2, 2, 25)
    slopes = np.ones(25) if model == "rasch" else np.tile([0.7, 1.0, 1.6, 1.2, 0.9], 5)
    abilities = rng.standard_normal((num_students, 1))
    right = rng.random((num_students, 25)) < 1 / (1 + np.exp(-slopes * (abilities - difficulties)))
    bank = fit_items(right)
    assert bank.model == model
    assert np.corrcoef(bank.difficulties, difficulties)[0, 1] > 0.95
    assert np.abs(np.array(bank.difficulties) - difficulties).mean() < (0.4 if model == "rasch" else 0.2)
    if model == "rasch":
        assert len(set(np.round(bank.discriminations, 6))) == 1
    else:
        assert np.corrcoef(bank.discriminations, slopes)[0, 1] > 0.8


def test_problems_that_all_or_none_solved_stay_finite() -> None:
    right = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]])
    easy, hard, middle = fit_items(right).difficulties
    assert -20 < easy < middle < hard < 20


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(NumericalError):
        fit_items([[2, 0]])
    with pytest.raises(NumericalError):
        fit_items([[1, 0]], names=["one"])
    with pytest.raises(NumericalError):
        estimate_ability(bank_of([0.0], [1.0]), [1, 1])
