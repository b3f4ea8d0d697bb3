from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.irt import selection as module
from spiritsafe.stats.irt.model import ABILITY_SD, ItemBank, chances, estimate_ability, information
from spiritsafe.stats.irt.selection import follows_adaptively, follows_greedily, next_problem, shorter_paper

SPREAD = np.linspace(-4, 4, 200)
BANK = ItemBank(
    names=tuple(str(i) for i in range(200)),
    difficulties=tuple(SPREAD.tolist()),
    discriminations=(1.2,) * 200,
    model="2pl",
    num_sittings=500,
)


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
        while (place := next_problem(BANK, right, asked, num_fixed=100)) is not None:
            assert not asked[place]
            asked[place] = 1
            right[place] = rng.random() < chances(BANK, ability)[place]
        errors.append(estimate_ability(BANK, right, asked).value - ability)
        lengths.append(asked.sum())
    random_paper = (100 * information(BANK, 0.0).mean() + ABILITY_SD**-2) ** -0.5  # its standard error
    # root mean square of 120 draws: its own standard error is 6.5 %, five of them are allowed
    assert np.sqrt(np.mean(np.square(errors))) < 1.33 * random_paper
    assert np.mean(lengths) < 65


def adaptive_sitting(ability: float, num_fixed: int = 60) -> tuple[list[int], list[float]]:
    """Problems in the order asked, and their answers."""
    rng, places, answers = np.random.default_rng(9), [], []
    right, asked = np.zeros(200), np.zeros(200)
    while (place := next_problem(BANK, right, asked, num_fixed=num_fixed)) is not None:
        asked[place], right[place] = 1, rng.random() < chances(BANK, ability)[place]
        places.append(place)
        answers.append(float(right[place]))
    return places, answers


@pytest.mark.parametrize("ability", [-4.0, -1.0, 0.5, 4.0])
def test_a_sitting_ends_when_a_random_paper_would_tell_no_more(ability: float) -> None:
    """Also at the ends of the bank, where neither tells much; never by the first few answers."""
    places, answers = adaptive_sitting(ability)
    assert 15 < len(places) < 60
    right, asked = np.zeros(200), np.zeros(200)
    asked[places], right[places] = 1, answers
    found = estimate_ability(BANK, right, asked)
    grid = np.linspace(-3, 3, 601)  # the mean over the abilities left open, by brute force
    weights = np.exp(-0.5 * grid**2)
    at = found.value + found.standard_error * grid
    told = (weights @ information(BANK, at).mean(axis=1)) / weights.sum()
    assert found.standard_error == pytest.approx((60 * told + ABILITY_SD**-2) ** -0.5, rel=0.05)


def test_an_adaptive_choice_is_told_from_any_other() -> None:
    places, answers = adaptive_sitting(0.5)

    def follows(places: list[int], answers: list[float], *, is_over: bool = True, num_fixed: int = 60) -> bool:
        return follows_adaptively(BANK, places, answers, num_fixed, is_over=is_over)

    assert follows(places, answers)
    assert not follows(places, answers, is_over=False)
    assert follows(places[:-1], answers[:-1], is_over=False)
    assert not follows(places[:-1], answers[:-1])
    assert follows([], [], is_over=False)
    assert not follows([], [])
    assert not follows([places[1], places[0], *places[2:]], answers)
    assert not follows([*places[:-1], places[0]], answers)
    assert not follows(places, [1 - answers[0], *answers[1:]])
    assert not follows(places, answers, num_fixed=40)
    whole, all_right = adaptive_sitting(0.5, 200)
    assert sorted(whole) == list(range(200))  # nothing tells as much as the whole bank but the whole bank
    assert follows(whole, all_right, num_fixed=200)
    assert not follows(whole, all_right, num_fixed=200, is_over=False)


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
    with pytest.raises(NumericalError):
        next_problem(BANK, np.zeros(200), np.zeros(200), num_fixed=201)
    with pytest.raises(NumericalError):
        follows_adaptively(BANK, [], [], 0, is_over=False)


@pytest.mark.parametrize("seed", range(3))
def test_of_equally_useful_problems_every_machine_takes_the_first(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits of what a problem tells differ by processor; which problems are chosen must not."""
    twice = ItemBank(
        names=tuple(str(n) for n in range(40)),
        difficulties=tuple(np.repeat(np.linspace(-2, 2, 10), 4).tolist()),
        discriminations=(1.0, 1.3) * 20,
        model="2pl",
        num_sittings=100,
    )
    rng = np.random.default_rng(seed)

    def otherwise(bank: ItemBank, abilities: object) -> np.ndarray:
        told = np.asarray(information(bank, abilities))
        return told * (1 + 1e-15 * rng.integers(-3, 4, told.shape))

    def chosen() -> tuple[object, ...]:
        right, asked, order = np.zeros(40), np.zeros(40), []
        while (place := next_problem(twice, right, asked, num_fixed=20)) is not None:
            order.append(place)
            right[place], asked[place] = len(order) % 2, 1
        return shorter_paper(twice, 20, abilities=(-1.0, 0.0, 1.0)).places, order

    expected = chosen()
    monkeypatch.setattr(module, "information", otherwise)
    assert chosen() == expected
