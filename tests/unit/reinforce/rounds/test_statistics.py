from __future__ import annotations

from itertools import combinations

import pytest
from reinforce_parts import answer, config, round_of

from spiritsafe.reinforce.rounds.statistics import pass_at_k, statistics

POOL = {"pool_easy": 0.1, "pool_hard": 0.2, "pool_unknown": 0.3}


def test_pass_at_k_is_the_share_of_choices_with_a_right_one() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            attempts = [True] * c + [False] * (n - c)
            for k in range(1, n + 1):
                chosen = list(combinations(attempts, k))
                assert pass_at_k(c, n, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))
    for c, n, k in ((0, 3, 4), (4, 3, 1), (-1, 3, 1), (0, 3, 0)):
        with pytest.raises(ValueError, match="not defined"):
            pass_at_k(c, n, k)


def test_a_rounds_row() -> None:
    answers = [
        answer("p0", 0, 1.0, tokens=2, logprob=-1.0),
        answer("p0", 1, 0.0, tokens=4, logprob=-0.5),
        answer("p1", 0, 0.0, tokens=6, status="unparsed", finish="length", logprob=None),
        answer("p1", 1, 0.0, tokens=8, logprob=-0.25),
        answer("p2", 0, None, tokens=0, finish="error", logprob=None),
        answer("p2", 1, 1.0, tokens=2, logprob=-1.0),
    ]
    round_ = round_of(answers, 4, draws=(2, 1), staleness=3)
    row = statistics(round_, config(prompts_per_round=2, group_size=2), pool=POOL, dev=(8, 0.5))
    assert row == {
        "round": 4,
        "num_prompts": 3,
        "num_draws": 2,
        "num_answers": 6,
        "num_kept_groups": 1,
        "share_without_advantage": 2 / 3,
        "reward_mean": 2 / 5,
        "reward_mean_kept": 1 / 2,
        "pass_at_1": 2 / 5,
        "pass_at_k": 1 / 2,  # the third group has one scored answer, which says nothing of two
        "k": 2,
        "share_parsed": 4 / 5,
        "num_unparsed": 1,
        "num_unscored": 1,
        "num_tokens": 22,
        "num_failed": 1,
        "tokens_mean": 22 / 5,
        "tokens_p95": 8,
        "tokens_mean_correct": 2.0,
        "tokens_mean_wrong": 6.0,
        "share_truncated": 1 / 5,
        "entropy": pytest.approx((2 * 1.0 + 4 * 0.5 + 8 * 0.25 + 2 * 1.0) / 16),
        "staleness": 3,
        "draw_seconds": 1.5,
        "grade_seconds": 0.25,
        **POOL,
        "dev_step": 8,
        "dev_score": 0.5,
    }


def test_what_is_not_known_is_none() -> None:
    failed = [answer("p0", sample, None, tokens=0, finish="error", logprob=None) for sample in range(4)]
    row = statistics(round_of(failed), config(), pool=POOL, dev=None)
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        "reward_mean",
        "reward_mean_kept",
        "pass_at_1",
        "pass_at_k",
        "share_parsed",
        "tokens_mean",
        "tokens_p95",
        "tokens_mean_correct",
        "tokens_mean_wrong",
        "share_truncated",
        "entropy",
        "dev_step",
        "dev_score",
    }


def test_the_95th_percentile_leaves_a_twentieth_above_it() -> None:
    answers = [answer("p0", number, 0.0, tokens=number + 1) for number in range(40)]
    assert statistics(round_of(answers), config(), pool=POOL, dev=None)["tokens_p95"] == 38
