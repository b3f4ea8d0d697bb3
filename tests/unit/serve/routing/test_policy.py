"""Rules on dev problems, beside slow definitions of the same; and the promise of the chosen one, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.serve.routing.policy import (
    THRESHOLDS,
    Played,
    cheapest_within_loss,
    choices,
    gains_over_mixing,
    most_careful_within_cost,
    oracle,
    play_by_prompt,
    play_cascade,
)
from spiritsafe.stats import ClusterBootstrap

COSTS = np.array([1.0, 3.0, 10.0])


def drawn(rng: np.random.Generator, truth_RP: np.ndarray, num_samples: int = 1) -> np.ndarray:
    return (rng.random((*truth_RP.shape, num_samples)) < truth_RP[..., None]).astype(float)


def costs_like(right: np.ndarray) -> np.ndarray:
    return np.broadcast_to(COSTS[: right.shape[0], None, None], right.shape).copy()


def test_rules_do_what_their_definitions_say() -> None:
    rng = np.random.default_rng(0)
    chance, right = rng.random((3, 40)), drawn(rng, rng.random((3, 40)), 2)
    costs = costs_like(right) * rng.uniform(0.5, 2.0, right.shape)
    strange = rng.random(40) < 0.2
    by_prompt = play_by_prompt(chance, strange, right, costs)
    cascade_chance = rng.random((2, 40, 2))
    cascade_chance[0, 3, 1] = np.nan
    cascade = play_cascade(cascade_chance, strange, right, costs)
    for place, threshold in enumerate(THRESHOLDS):
        for problem in range(40):
            rung = 2
            if threshold is not None and not strange[problem]:
                enough = [r for r in range(3) if chance[r, problem] >= threshold * chance[:, problem].max()]
                rung = enough[0]
            assert by_prompt.right_TP[place, problem] == right[rung, problem].mean()
            assert by_prompt.cost_TP[place, problem] == pytest.approx(costs[rung, problem].mean())
            assert by_prompt.asked_TRP[place, rung, problem] == 1.0
            rights, paid = [], []
            for sample in range(2):
                first = 2 if strange[problem] or threshold is None else 0
                rung = first
                while rung < 2 and not (threshold is not None and cascade_chance[rung, problem, sample] >= threshold):
                    rung += 1
                rights.append(right[rung, problem, sample])
                paid.append(costs[first : rung + 1, problem, sample].sum())
            assert cascade.right_TP[place, problem] == pytest.approx(np.mean(rights))
            assert cascade.cost_TP[place, problem] == pytest.approx(np.mean(paid))
    assert np.allclose(cascade.asked_TRP.sum(axis=1), 1.0)
    assert (by_prompt.right_TP[0] == right[2].mean(axis=1)).all()
    assert choices(chance, 0.0, strange & False).tolist() == [0] * 40


def truth_of_two(rng: np.random.Generator, num: int) -> np.ndarray:
    """The small rung is as good on half of the problems, and bad on the others."""
    is_easy = rng.random(num) < 0.5
    return np.array([np.where(is_easy, 0.9, 0.3), np.full(num, 0.9)])


@pytest.mark.parametrize("num_samples", [1, 3])
def test_the_promised_loss_is_kept_in_nineteen_of_twenty_calibrations(num_samples: int) -> None:
    """Chances that are off, so that most thresholds lose more than is allowed; the true loss of each rule is known."""
    broken = used = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = truth_of_two(rng, 300)
        chance = np.clip(truth + rng.normal(0, 0.25, truth.shape), 0.01, 0.99)
        right = drawn(rng, truth, num_samples)
        strange = np.zeros(300, dtype=bool)
        played = play_by_prompt(chance, strange, right, costs_like(right))
        place = cheapest_within_loss(played, right[-1].mean(axis=1), num_samples=num_samples, max_loss=0.05)
        many = np.random.default_rng(seed + 10_000)
        truths = truth_of_two(many, 20_000)
        chances = np.clip(truths + many.normal(0, 0.25, truths.shape), 0.01, 0.99)
        pick = choices(chances, THRESHOLDS[place], np.zeros(20_000, dtype=bool))
        broken += truths[1].mean() - truths[pick, np.arange(20_000)].mean() > 0.05
        used += place > 0
    assert broken <= 10
    assert used >= 20  # and it is no empty promise


def test_a_rule_is_held_against_the_best_rule_too() -> None:
    """The largest rung is the worst; the cheapest rule keeps up with it, and is far below the best."""
    half = np.arange(600) % 2 == 0
    right = np.array([half, ~half, np.zeros(600)], dtype=float)[..., None]
    chance = np.array([np.where(half, 0.9, 0.1), np.where(half, 0.1, 0.9), np.full(600, 0.05)])
    played = play_by_prompt(chance, np.zeros(600, dtype=bool), right, costs_like(right))
    place = cheapest_within_loss(played, right[-1].mean(axis=1), num_samples=1, max_loss=0.02)
    assert played.right_TP[place].mean() == 1.0
    assert played.cost_TP[place].mean() < played.cost_TP[0].mean()


def test_nothing_is_promised_on_few_problems() -> None:
    right = np.ones((2, 60, 1))
    played = play_by_prompt(np.full((2, 60), 0.9), np.zeros(60, dtype=bool), right, costs_like(right))
    assert cheapest_within_loss(played, np.ones(60), num_samples=1, max_loss=0.01) == 0
    assert (
        THRESHOLDS[cheapest_within_loss(played, np.ones(60), num_samples=1, max_loss=0.2)] == 1.0
    )  # the most careful of all that cost the same


def test_mixing_is_the_line_to_beat_and_a_coin_does_not_beat_it() -> None:
    rng = np.random.default_rng(2)
    right = drawn(rng, np.array([[0.3], [0.35], [0.9]]) * np.ones((3, 500)))
    costs = costs_like(right)
    bootstrap = ClusterBootstrap(500, seed=0, num_draws=400)
    problems = np.arange(500)
    perfect = np.where(right[0, :, 0] == 1, 0, 2)
    plays = [
        Played(right_TP=right[p, problems].T, cost_TP=costs[p, problems].T, asked_TRP=np.zeros((1, 3, 500)))
        for p in (perfect, np.ones(500, dtype=int), *(np.where(rng.random(500) < 0.5, 0, 2) for _ in range(100)))
    ]
    found = [gains_over_mixing(each, right[..., 0], costs[..., 0], bootstrap)[0] for each in plays]
    assert found[0].low > 0.1
    assert sum(one.low > 0 for one in found[2:]) <= 8
    accuracies = right.mean(axis=(1, 2))
    line = accuracies[0] + (accuracies[2] - accuracies[0]) * (3 - 1) / (10 - 1)  # the second rung is under the hull
    assert found[1].value == pytest.approx(accuracies[1] - line)


def test_the_oracle_and_a_wanted_cost() -> None:
    right = np.array([[[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]]])
    costs = np.array([[[1.0]] * 3, [[5.0]] * 3])
    share, paid = oracle(right, costs)
    assert (share.tolist(), paid.tolist()) == ([1.0, 1.0, 0.0], [1.0, 5.0, 1.0])
    bootstrap = ClusterBootstrap(50, seed=0)
    table = np.array([np.full(50, 9.0), np.linspace(3, 5, 50), np.linspace(1, 3, 50)])
    assert most_careful_within_cost(table, bootstrap, max_cost=4.5) == 1
    assert most_careful_within_cost(table, bootstrap, max_cost=3.9) == 2
    assert most_careful_within_cost(table, bootstrap, max_cost=0.5) is None
