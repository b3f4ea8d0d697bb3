from __future__ import annotations

import math

import numpy as np
import pytest
from pool_parts import candidate, drawn_pool, pool_of

from spiritsafe.rollouts.test_time.pool import Pool
from spiritsafe.rollouts.test_time.scaling import ScaledMethod, scale_methods, stopped_early

IDS = ["p0", "p1"]
POOL = pool_of(
    [
        [candidate("8", right=True, tokens=4), candidate("7", tokens=8, mean_logprob=-0.1), candidate("8", right=True)],
        [candidate(None, tokens=20), candidate("1", right=True, tokens=10, mean_logprob=-0.1)],
    ]
)


def test_scores_and_costs_of_each_method() -> None:
    grown = scale_methods(POOL, IDS, "mean", seed=0)
    assert set(grown) == {"majority", "oracle", "likelihood"}
    majority = grown["majority"]
    assert majority.scores_PK[0] == pytest.approx([2 / 3, (1 + 2 * 0.5) / 3, 1.0])
    assert majority.scores_PK[1, :2] == pytest.approx([1 / 2, 1.0])
    assert math.isnan(majority.scores_PK[1, 2])  # only two of its attempts were scored
    assert majority.tokens_P == pytest.approx([22 / 3, 15.0])
    assert (majority.num_samples, majority.largest) == (3, 3)
    assert majority.tokens_at(1) == pytest.approx((22 / 3 + 15) / 2)
    assert majority.tokens_at(3) == pytest.approx(22)  # over the problem that has three
    assert grown["oracle"].scores_PK[0] == pytest.approx([2 / 3, 1.0, 1.0])


def test_likelihood_a_token_or_in_sum() -> None:
    by_token = scale_methods(POOL, IDS, "mean", seed=0)["likelihood"].scores_PK
    in_sum = scale_methods(POOL, IDS, "sum", seed=0)["likelihood"].scores_PK
    assert by_token[0, 2] == 0.0  # -0.1 a token is best, and wrong
    assert in_sum[0, 2] == 0.0  # -0.8 in sum against -4 and -10
    short = pool_of([[candidate("8", right=True, tokens=1, mean_logprob=-0.5), candidate("7", mean_logprob=-0.4)]])
    assert scale_methods(short, ["p0"], "mean", 0)["likelihood"].scores_PK[0, 1] == 0.0
    assert scale_methods(short, ["p0"], "sum", 0)["likelihood"].scores_PK[0, 1] == 1.0


def test_methods_are_offered_only_where_every_attempt_allows() -> None:
    some = pool_of([[candidate("8", mean_logprob=None), candidate("7", passes=True)]])
    assert set(scale_methods(some, ["p0"], "mean", 0)) == {"majority", "oracle"}
    # an attempt without tokens (a refusal) has no log-probabilities and is chosen last
    refused = pool_of([[candidate(None, tokens=0, mean_logprob=None), candidate("8", right=True)]])
    assert scale_methods(refused, ["p0"], "mean", 0)["likelihood"].scores_PK[0].tolist() == [0.5, 1.0]


def test_a_self_check_costs_its_tokens() -> None:
    mine = [candidate("8", right=True, passes=True), candidate("7", passes=False), candidate("6", passes=True)]
    grown = scale_methods(pool_of([mine], check_tokens=5.0), ["p0"], "mean", 0)
    assert grown["self_check"].tokens_at(2) == 30.0
    assert grown["majority"].tokens_at(2) == 20.0
    # pairs: {pass right, fail} 1, {both pass} 1/2, {fail, pass wrong} 0
    assert grown["self_check"].scores_PK[0] == pytest.approx([1 / 3, 0.5, 0.5])


def test_between_whole_numbers_of_attempts_costs_mix() -> None:
    grown = ScaledMethod(scores_PK=np.array([[0.0, 0.5, 1.0]]), tokens_P=np.array([10.0]))
    assert grown.scores_at(10.0) == pytest.approx([0.0])
    assert grown.scores_at(15.0) == pytest.approx([0.25])
    assert grown.scores_at(30.0) == pytest.approx([1.0])


def test_stopped_early_costs_less_and_scores_as_the_full_vote() -> None:
    pool = drawn_pool("m", skill=0.6, num_samples=15)
    ids = sorted(pool.attempts)
    majority = scale_methods(pool, ids, "mean", 0)["majority"]
    tokens, scores = stopped_early(pool, ids, majority, seed=0)
    assert 0.4 * majority.tokens_at(15) < tokens < 0.9 * majority.tokens_at(15)
    assert scores.tolist() == majority.scores_PK[:, 14].tolist()
    assert stopped_early(pool, ids, majority, seed=0)[0] == tokens
    assert stopped_early(pool, ids, majority, seed=1)[0] == pytest.approx(tokens, rel=0.03)


def test_what_an_early_stop_costs_by_hand() -> None:
    """Two votes to one: decided after two attempts in a third of all orders, after three in the others."""
    mine = [candidate("8", right=True), candidate("8", right=True), candidate("7", tokens=20)]
    pool = pool_of([mine] * 60)
    ids = sorted(pool.attempts)
    tokens, _ = stopped_early(pool, ids, scale_methods(pool, ids, "mean", 0)["majority"], seed=0)
    assert tokens == pytest.approx(20 / 3 + 40 * 2 / 3, rel=0.02)


def test_problems_without_scored_attempts_are_unknown() -> None:
    pool: Pool = pool_of([[candidate("8", right=True)], []])
    grown = scale_methods(pool, IDS, "mean", 0)
    assert math.isnan(grown["majority"].scores_PK[1, 0])
    assert math.isnan(grown["majority"].tokens_P[1])
    tokens, scores = stopped_early(pool, IDS, grown["majority"], seed=0)
    assert tokens == 10.0
    assert scores[0] == 1.0
    assert math.isnan(scores[1])
