from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.stats.irt.model import ItemBank, chances, estimate_ability, fit_items, information
from spiritsafe.stats.irt.short_form import (
    ChosenProblems,
    choose_problems,
    is_adaptive_choice,
    is_choice,
    next_place,
    predict_score,
)

ITEMS = "sha256:" + "0" * 64
SIZE, FIXED = 150, 60


def bank_of(difficulties: np.ndarray) -> ItemBank:
    return ItemBank(
        names=tuple(str(2 * i) for i in range(difficulties.size)),  # a sealed half: places with gaps
        difficulties=tuple(difficulties.tolist()),
        discriminations=(1.2,) * difficulties.size,
        model="rasch",
        num_sittings=40,
    )


BANK = bank_of(np.random.default_rng(8).normal(0.3, 1.8, SIZE))


def choose(bank: ItemBank = BANK, num_fixed: int = FIXED) -> ChosenProblems:
    return choose_problems(bank, num_fixed, lowest=-0.7, highest=0.7, items=ITEMS)


def answers(chosen: ChosenProblems, right: np.ndarray) -> dict[int, int]:
    return {place: int(right[place // 2]) for place in chosen.places}


def test_the_chosen_ones_tell_as_much_as_random_ones_of_the_promised_number() -> None:
    chosen = choose()
    assert len(chosen.places) < 0.85 * FIXED
    told = information(BANK, np.linspace(-0.7, 0.7, 9))
    assert (told[:, [place // 2 for place in chosen.places]].sum(axis=1) >= FIXED * told.mean(axis=1)).all()
    assert is_choice(chosen)
    swapped = next(int(name) for name in BANK.names if int(name) not in chosen.places)
    assert not is_choice(chosen.model_copy(update={"places": (swapped, *chosen.places[1:])}))
    assert not is_choice(chosen.model_copy(update={"num_fixed": FIXED + 20}))
    assert not is_choice(chosen.model_copy(update={"lowest": -3.0}))


def test_the_standard_error_is_not_larger_than_that_of_random_problems() -> None:
    rng, chosen = np.random.default_rng(3), choose()
    ours, random_ones = [], []
    for ability in np.repeat(np.linspace(-0.7, 0.7, 8), 50):
        right = rng.random(SIZE) < chances(BANK, ability)
        ours.append(predict_score(chosen, answers(chosen, right)).ability.standard_error)
        asked = np.zeros(SIZE)
        asked[rng.permutation(SIZE)[:FIXED]] = 1
        random_ones.append(estimate_ability(BANK, right * asked, asked).standard_error)
    # 400 pairs; a standard error varies by some 3 % from paper to paper, its mean by 0.2 %
    assert np.mean(ours) < 1.01 * np.mean(random_ones)


def test_the_interval_covers_the_expected_score_of_the_whole_half() -> None:
    rng, chosen, num = np.random.default_rng(4), choose(), 1500
    covered, measured = 0, []
    for ability in rng.normal(0, 1, num):
        truth = chances(BANK, ability)
        score = predict_score(chosen, answers(chosen, rng.random(SIZE) < truth)).score
        covered += score.low <= truth.mean() <= score.high
        measured.append(score.value - truth.mean())
    # binomial: standard deviation of the share 0.0056; four of them are allowed
    assert covered / num == pytest.approx(0.95, abs=0.0225)
    assert abs(np.mean(measured)) < 0.01


def banks_learned_from_twenty(rng: np.random.Generator, count: int) -> Iterator[tuple[ItemBank, ItemBank]]:
    """True difficulties, and what twenty sittings teach of them."""
    for _ in range(count):
        truth = bank_of(rng.normal(0, 1.5, SIZE))
        past = rng.random((20, SIZE)) < chances(truth, rng.normal(0, 1, 20))
        yield truth, fit_items(past, names=truth.names)


def test_difficulties_from_twenty_sittings_are_good_enough() -> None:
    """Learned, not known: the interval takes them as known, and twenty sittings are where that does little harm."""
    rng, covered, num = np.random.default_rng(6), 0, 0
    for truth, learned in banks_learned_from_twenty(rng, 12):
        chosen = choose(learned)
        for ability in rng.normal(0, 1, 40):
            mean = chances(truth, ability)
            score = predict_score(chosen, answers(chosen, rng.random(SIZE) < mean)).score
            covered += score.low <= mean.mean() <= score.high
            num += 1
    # 480 students of 12 banks: were they independent, four binomial standard deviations below 0.93 would be 0.883
    assert covered / num > 0.88


def sit_adaptively(chosen: ChosenProblems, right: np.ndarray) -> dict[int, int]:
    """Places in the order asked, with their answers."""
    found: dict[int, int] = {}
    while (place := next_place(chosen, found)) is not None:
        found[place] = int(right[place // 2])
    return found


def adaptive(bank: ItemBank = BANK) -> ChosenProblems:
    return choose_problems(bank, FIXED, lowest=-0.7, highest=0.7, items=ITEMS, adaptive=True)


def test_an_adaptive_sitting_covers_as_well_with_fewer_problems() -> None:
    """Of students who are spread wider than those whom problems are chosen for beforehand."""
    rng, chosen, num = np.random.default_rng(14), adaptive(), 200
    covered, lengths, errors, random_ones = 0, [], [], []
    for ability in rng.normal(0, 1.5, num):
        truth = chances(BANK, ability)
        right = rng.random(SIZE) < truth
        found = sit_adaptively(chosen, right)
        assert is_adaptive_choice(chosen, list(found), found, is_over=True)
        predicted = predict_score(chosen, found)
        covered += predicted.score.low <= truth.mean() <= predicted.score.high
        lengths.append(len(found))
        errors.append(predicted.ability.value - ability)
        asked = np.zeros(SIZE)
        asked[rng.permutation(SIZE)[:FIXED]] = 1
        random_ones.append(estimate_ability(BANK, right * asked, asked).value - ability)
    # binomial: standard deviation 0.0154, three are allowed; root mean squares of 200 errors are known to 5 %
    assert covered / num == pytest.approx(0.95, abs=0.046)
    assert np.mean(lengths) < 0.75 * FIXED
    assert np.sqrt(np.mean(np.square(errors))) < 1.2 * np.sqrt(np.mean(np.square(random_ones)))


def test_an_adaptive_sitting_by_difficulties_from_twenty_sittings() -> None:
    """It asks what looks most useful, be it by an error of its difficulty: no harm beyond that of errors."""
    rng, covered, num = np.random.default_rng(16), 0, 0
    for truth, learned in banks_learned_from_twenty(rng, 10):
        chosen = adaptive(learned)
        for ability in rng.normal(0, 1, 20):
            mean = chances(truth, ability)
            score = predict_score(chosen, sit_adaptively(chosen, rng.random(SIZE) < mean)).score
            covered += score.low <= mean.mean() <= score.high
            num += 1
    assert covered / num > 0.85


@pytest.mark.slow
def test_how_often_both_kinds_cover_with_difficulties_from_twenty_sittings() -> None:
    """The figures of docs/exams.md, on the same 1,000 students of 40 banks."""
    rng, covered, num = np.random.default_rng(21), {"before": 0, "adaptive": 0}, 0
    for truth, learned in banks_learned_from_twenty(rng, 40):
        fixed, chosen = choose(learned), adaptive(learned)
        for ability in rng.normal(0, 1, 25):
            mean = chances(truth, ability)
            right = rng.random(SIZE) < mean
            for name, score in (
                ("before", predict_score(fixed, answers(fixed, right)).score),
                ("adaptive", predict_score(chosen, sit_adaptively(chosen, right)).score),
            ):
                covered[name] += score.low <= mean.mean() <= score.high
            num += 1
    assert covered["before"] / num == pytest.approx(0.946, abs=0.001)
    assert covered["adaptive"] / num == pytest.approx(0.931, abs=0.001)


def test_which_choice_is_left_to_the_sitting() -> None:
    chosen = adaptive()
    assert chosen.places == ()
    assert ChosenProblems.from_json(chosen.to_json()) == chosen
    assert "adaptive" not in choose().to_json()  # registrations of chosen problems keep their digests
    for wrong in (chosen.to_json() | {"places": [0]}, choose().to_json() | {"places": []}):
        with pytest.raises(IntegrityError, match="beforehand or by the answers"):
            ChosenProblems.from_json(wrong)
    # several tries count as their mean
    first = next_place(chosen, {})
    assert first is not None
    assert next_place(chosen, {first: 4}, trials=4) == next_place(chosen, {first: 1})
    assert not is_adaptive_choice(chosen, [first], {first: 1, first + 2: 0}, is_over=False)
    assert not is_adaptive_choice(chosen, [1], {1: 1}, is_over=False)  # not of the sealed half
    assert "outside the range" not in predict_score(chosen, {first: 1}).statement
    with pytest.raises(IntegrityError, match="not chosen"):
        predict_score(chosen, {1: 1})


def test_the_plain_share_of_chosen_problems_is_not_the_score() -> None:
    """Why the prediction is made at all: for a strong model the chosen problems are harder than the half."""
    rng, chosen = np.random.default_rng(5), choose(bank_of(np.linspace(-6.0, 2.0, SIZE)))
    bank = chosen.bank
    gaps, errors = [], []
    for _ in range(40):
        truth = chances(bank, 0.3)
        right = answers(chosen, rng.random(SIZE) < truth)
        gaps.append(np.mean(list(right.values())) - truth.mean())
        errors.append(predict_score(chosen, right).score.value - truth.mean())
    assert np.mean(gaps) < -0.08
    assert abs(np.mean(errors)) < 0.02


def test_what_it_says() -> None:
    chosen = choose()
    weak = predict_score(chosen, dict.fromkeys(chosen.places, 0))
    assert "Predicted, not measured" in weak.statement
    assert "40 past sittings" in weak.statement
    assert "lies outside the range" in weak.statement
    middle = predict_score(chosen, {place: k % 2 for k, place in enumerate(chosen.places)})
    assert "lies outside" not in middle.statement
    assert middle.score.n == len(chosen.places)
    # four tries that always agree are worth no more than one
    again = predict_score(chosen, {place: 4 * (k % 2) for k, place in enumerate(chosen.places)}, trials=4)
    assert again == middle
    # a budget may end it early: then less is known
    part = predict_score(chosen, {place: k % 2 for k, place in enumerate(chosen.places[:10])})
    assert part.ability.standard_error > 1.5 * middle.ability.standard_error


def test_what_cannot_be_is_refused() -> None:
    chosen = choose()
    with pytest.raises(IntegrityError, match="was not chosen"):
        predict_score(chosen, {1: 1})
    for update in ({"places": [0, 0]}, {"places": [1]}, {"lowest": 2.0}, {"places": []}):
        with pytest.raises(IntegrityError):
            ChosenProblems.from_json({**chosen.to_json(), **update})
