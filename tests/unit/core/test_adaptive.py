from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.core.adaptive import fixed_standard_error, follows_greedily, next_problem, shorter_paper
from spiritsafe.core.errors import NumericalError
from spiritsafe.core.items import ABILITY_SD, ItemBank, chances, estimate_ability, information

SPREAD = np.linspace(-4, 4, 200)
BANK = ItemBank(
    names=tuple(str(i) for i in range(200)),
    difficulties=tuple(SPREAD.tolist()),
    discriminations=(1.2,) * 200,
    model="2pl",
    num_sittings=500,
)


def test_error_of_a_random_paper_by_hand() -> None:
    told = 50 * information(BANK, 0.5).mean()
    assert fixed_standard_error(BANK, 0.5, 50) == pytest.approx((told + ABILITY_SD**-2) ** -0.5)


def test_a_shorter_paper_tells_as_much_with_fewer_problems() -> None:
    paper = shorter_paper(BANK, 100, abilities=[1.0])
    told = information(BANK, 1.0)
    assert len(set(paper.places)) == len(paper.places) < 70
    assert told[list(paper.places)].sum() >= 100 * told.mean()
    # nothing shorter does: the best problems but one fall short
    best = np.sort(told)[::-1]
    assert best[: len(paper.places) - 1].sum() < 100 * told.mean()


def test_an_adaptive_sitting_is_shorter_and_as_exact() -> None:
    rng = np.random.default_rng(5)
    errors, lengths = [], []
    for ability in np.repeat([-1.0, 0.0, 1.5], 40):
        right, asked = np.zeros(200), np.zeros(200)
        while (place := next_problem(BANK, right, asked, num_fixed=100)[0]) is not None:
            assert not asked[place]
            asked[place] = 1
            right[place] = rng.random() < chances(BANK, ability)[place]
        errors.append(estimate_ability(BANK, right, asked).value - ability)
        lengths.append(asked.sum())
    allowed = fixed_standard_error(BANK, 0.0, 100)
    # root mean square of 120 draws: its own standard error is 6.5 %, five of them are allowed
    assert np.sqrt(np.mean(np.square(errors))) < 1.33 * allowed
    assert np.mean(lengths) < 75


def test_as_precise_as_the_whole_bank_is_the_whole_bank() -> None:
    paper = shorter_paper(BANK, 200, abilities=[-1.0, 0.3])
    assert sorted(paper.places) == list(range(200))
    assert follows_greedily(BANK, paper.places, 200, abilities=[-1.0, 0.3])


def test_a_greedy_choice_is_told_from_any_other() -> None:
    abilities = [0.0, 0.7]
    places = list(shorter_paper(BANK, 60, abilities=abilities).places)
    assert follows_greedily(BANK, places, 60, abilities=abilities)
    unused = next(place for place in range(200) if place not in places)
    others = (
        [places[1], places[0], *places[2:]],
        places[:-1],
        [*places, unused],
        [unused, *places[1:]],
        [*places[:-1], places[0]],
        places[::-1],
        [],
    )
    for other in others:
        assert not follows_greedily(BANK, other, 60, abilities=abilities)
    assert not follows_greedily(BANK, places, 80, abilities=abilities)
    assert not follows_greedily(BANK, places, 60, abilities=[1.5])


def test_problems_that_tell_the_same_may_change_places() -> None:
    twins = BANK.model_copy(update={"difficulties": (0.5,) * 200})
    places = shorter_paper(twins, 30, abilities=[0.0]).places
    assert len(places) == 30
    assert follows_greedily(twins, places[::-1], 30, abilities=[0.0])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(NumericalError):
        shorter_paper(BANK, 201, abilities=[0.0])
    with pytest.raises(NumericalError):
        shorter_paper(BANK, 20, abilities=[])
