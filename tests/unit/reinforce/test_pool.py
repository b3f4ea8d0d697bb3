from __future__ import annotations

import math
import time
from collections import Counter
from random import Random

import numpy as np
import pytest
from pydantic import ValidationError

from spiritsafe.reinforce.pool import PoolConfig, PromptOutcome, PromptPool

IDS = [f"problem-{number}" for number in range(60)]


def outcome(problem_id: str, solved: float, asked: int = 8) -> PromptOutcome:
    return PromptOutcome(problem_id=problem_id, num_scored=asked, total=solved)


def ask(pool: PromptPool, rates: dict[str, float], *, rounds: int, count: int) -> list[list[str]]:
    """Rounds in which each problem is solved exactly as often as its rate says."""
    asked = []
    for _ in range(rounds):
        chosen = pool.choose(count)
        pool.learn([outcome(problem_id, 8 * rates[problem_id]) for problem_id in chosen])
        asked.append(chosen)
    return asked


def test_problems_come_at_the_pace_of_their_weights_and_each_comes() -> None:
    rates = {problem_id: (0.0, 0.5, 1.0)[number % 3] for number, problem_id in enumerate(IDS)}
    config = PoolConfig(easy_weight=0.2, hard_weight=0.1)
    visits = Counter(i for asked in ask(PromptPool(IDS, config, seed=1), rates, rounds=1300, count=6) for i in asked)
    by_kind = [[visits[i] for i in IDS if rates[i] == rate] for rate in (0.0, 0.5, 1.0)]
    # 7800 questions to 20 problems of each kind: 300 to one of weight 1, and so on
    for counts, expected in zip(by_kind, (30, 300, 60), strict=True):
        assert min(counts) > 0.9 * expected
        assert max(counts) < 1.1 * expected


def test_without_knowledge_all_come_equally_often_in_ever_other_company() -> None:
    rates = dict.fromkeys(IDS, 0.5)
    asked = ask(PromptPool(IDS, PoolConfig(), seed=3), rates, rounds=40, count=15)
    assert {i for chosen in asked[:6] for i in chosen} == set(IDS)
    visits = Counter(i for chosen in asked for i in chosen)
    assert min(visits.values()) >= 8
    assert max(visits.values()) <= 12
    companies = {frozenset(chosen) for chosen in asked}
    assert len(companies) == 40


def test_the_most_urgent_come_first_and_some_may_be_left_out() -> None:
    pool = PromptPool(IDS, PoolConfig(), seed=5)
    whole = pool.choose(60)
    assert sorted(whole) == sorted(IDS)
    assert [IDS[place] for place in np.argsort(pool._due)] == whole
    for count in (0, 1, 7, 59, 60, 100):
        assert pool.choose(count) == whole[:count]
    left_out = set(whole[3:40:2])
    rest = [i for i in whole if i not in left_out]
    assert pool.choose(10, without=left_out) == rest[:10]
    assert pool.choose(100, without=left_out) == rest
    assert pool.choose(5, without=IDS) == []


def test_a_pool_made_again_from_its_rounds_goes_on_the_same() -> None:
    rng = Random(0)
    first = PromptPool(IDS, PoolConfig(), seed=2)
    history = []
    for _ in range(25):
        chosen = first.choose(7)
        assert chosen == first.choose(7)
        history.append([outcome(i, rng.randint(0, 8)) for i in chosen])
        first.learn(history[-1])
    again = PromptPool(IDS, PoolConfig(), seed=2)
    for outcomes in history:
        assert [o.problem_id for o in outcomes] == again.choose(7)
        again.learn(outcomes)
    assert again.choose(60) == first.choose(60)
    assert PromptPool(IDS, PoolConfig(), seed=3).choose(60) != PromptPool(IDS, PoolConfig(), seed=2).choose(60)


def test_pass_rates_fade() -> None:
    pool = PromptPool(["a", "b", "c"], PoolConfig(memory=0.5), seed=0, measured={"a": 0.75}, num_measured=4)
    assert pool.pass_rates().tolist()[0] == 0.75
    assert math.isnan(pool.pass_rates()[1])
    pool.learn([outcome("a", 1, 8), outcome("b", 6, 8), PromptOutcome(problem_id="c", num_scored=0, total=0.0)])
    assert pool.pass_rates().tolist()[:2] == [(0.5 * 3 + 1) / (0.5 * 4 + 8), 0.75]
    assert math.isnan(pool.pass_rates()[2])
    pool.learn([outcome("b", 0, 4)])
    assert pool.pass_rates()[1] == (0.5 * 6) / (0.5 * 8 + 4)


def test_what_was_measured_beforehand_sets_the_pace_from_the_start() -> None:
    measured = {i: (0.0, 0.5, 1.0, 0.9, 0.1)[number % 5] for number, i in enumerate(IDS[:50])}
    pool = PromptPool(IDS, PoolConfig(easy_weight=0.25, hard_weight=0.05), seed=4, measured=measured)
    expected = {0.0: 0.05, 0.5: 1.0, 1.0: 0.25, 0.9: 1.0, 0.1: 1.0, None: 1.0}
    assert pool.weights().tolist() == [expected[measured.get(i)] for i in IDS]
    assert pool.shares() == {"pool_easy": 10 / 60, "pool_hard": 10 / 60, "pool_unknown": 10 / 60}
    first = Counter(measured.get(i) for i in pool.choose(20))
    assert first[0.0] + first[1.0] <= 6


def test_a_hard_problem_comes_back_when_the_model_has_learnt_it() -> None:
    pool = PromptPool(["hard", "other"], PoolConfig(memory=0.5), seed=0, measured={"hard": 0.0})
    assert pool.weights().tolist() == [0.2, 1.0]
    pool.learn([outcome("hard", 5)])
    assert pool.weights().tolist() == [1.0, 1.0]


def test_ten_thousand_problems_cost_little() -> None:
    ids = [str(number) for number in range(10_000)]
    pool = PromptPool(ids, PoolConfig(), seed=1)
    started = time.process_time()
    for _ in range(50):
        pool.learn([outcome(problem_id, 4) for problem_id in pool.choose(64)])
    assert (time.process_time() - started) / 50 < 0.05


def test_a_band_upside_down_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"low is 0\.8, above high"):
        PoolConfig(low=0.8, high=0.2)
