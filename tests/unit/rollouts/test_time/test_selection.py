from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from spiritsafe.core.errors import NumericalError
from spiritsafe.rollouts.test_time import selection as selecting
from spiritsafe.rollouts.test_time.selection import best_of, majority_of, pass_at, vote_key


def vote_grade(subset: tuple[int, ...], keys: list[str | None], right: list[bool]) -> Fraction:
    """The grade of one vote, ties shared; written without anything of the module."""
    votes = Counter(keys[i] for i in subset if keys[i] is not None)
    if not votes:
        return Fraction(0)
    leaders = [key for key, count in votes.items() if count == max(votes.values())]
    grades = []
    for leader in leaders:
        mine = [right[i] for i in range(len(keys)) if keys[i] == leader]
        grades.append(Fraction(sum(mine), len(mine)))
    return sum(grades, Fraction(0)) / len(leaders)


def best_grade(subset: tuple[int, ...], scores: list[float], right: list[bool]) -> Fraction:
    best = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
    return Fraction(sum(right[i] for i in best), len(best))


def over_subsets(n: int, grade: object) -> list[float]:
    out = []
    for k in range(1, n + 1):
        grades = [grade(subset) for subset in combinations(range(n), k)]  # type: ignore[operator]
        out.append(float(sum(grades, Fraction(0)) / len(grades)))
    return out


def random_pool(seed: int) -> tuple[list[str | None], list[bool], list[float]]:
    rng = random.Random(seed)
    n, kinds = rng.randint(1, 9), rng.randint(1, 5)
    keys: list[str | None] = [rng.choice([None, *"abcdefg"[:kinds]]) for _ in range(n)]
    golds = set(rng.sample("abcdefg", rng.randint(0, 3)))
    right = [key in golds for key in keys]
    if seed % 7 == 0:  # a verifier that grades one answer in two ways
        right = [key is not None and rng.random() < 0.5 for key in keys]
    scores = [rng.choice([0.0, -1.0, -2.5, rng.random(), -math.inf]) for _ in range(n)]
    return keys, right, scores


@pytest.mark.parametrize("seed", range(120))
def test_expectations_are_the_means_over_all_subsets(seed: int) -> None:
    keys, right, scores = random_pool(seed)
    n = len(keys)
    assert majority_of(keys, right) == pytest.approx(over_subsets(n, lambda s: vote_grade(s, keys, right)), abs=1e-12)
    assert best_of(scores, right) == pytest.approx(over_subsets(n, lambda s: best_grade(s, scores, right)), abs=1e-12)
    assert pass_at(right) == pytest.approx(over_subsets(n, lambda s: Fraction(any(right[i] for i in s))), abs=1e-12)


@pytest.mark.parametrize(("n", "c"), [(1, 0), (5, 5), (16, 3), (256, 7), (256, 250)])
def test_pass_at_k_is_the_papers_formula(n: int, c: int) -> None:
    found = pass_at([i < c for i in range(n)])
    exact = [float(1 - Fraction(math.comb(n - c, k), math.comb(n, k))) for k in range(1, n + 1)]
    assert found == pytest.approx(exact, abs=1e-12)


def test_by_hand() -> None:
    # 2 right "8", 1 wrong "7", 1 without an answer; pairs: {8,8} right, {8,7} ×2 half, {8,-} ×2 right, {7,-} wrong
    curve = majority_of(["8", "8", "7", None], [True, True, False, False])
    assert curve == pytest.approx([2 / 4, (1 + 2 * 0.5 + 2) / 6, (1 + 1 + 2 * 0.5) / 4, 1.0])
    assert majority_of([None, None], [False, False]).tolist() == [0.0, 0.0]
    # the likeliest is wrong: one of two picks it whenever it is there
    assert best_of([-0.1, -0.5], [False, True]).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("n", [64, 256])
@pytest.mark.parametrize("kinds", [1, 2, 16, 1000])
def test_large_pools_agree_with_drawn_subsets_and_stay_quick(n: int, kinds: int) -> None:
    rng = random.Random(n + kinds)
    keys: list[str | None] = [None if rng.random() < 0.1 else str(rng.randrange(kinds)) for _ in range(n)]
    right = [key is not None and int(key) % 3 == 0 for key in keys]
    exact = majority_of(keys, right)
    index = np.array([-1 if key is None else int(key) for key in keys])
    grades = np.array([float(number % 3 == 0) for number in range(kinds)])
    drawn = selecting._drawn_vote(index, grades, seed=3)
    assert exact == pytest.approx(drawn, abs=5 * 0.5 / math.sqrt(1000))
    assert np.isfinite(exact).all()
    assert ((exact >= 0) & (exact <= 1)).all()


def test_beyond_the_exact_limit_the_draws_are_seeded() -> None:
    keys = [str(i % 3) for i in range(300)]
    right = [i % 3 == 0 for i in range(300)]
    first = majority_of(keys, right, seed=1)
    assert first.tolist() == majority_of(keys, right, seed=1).tolist()
    assert first.tolist() != majority_of(keys, right, seed=2).tolist()
    assert first[0] == pytest.approx(1 / 3, abs=0.08)
    assert first[-1] == pytest.approx(1 / 3)  # a three-way tie in every order


@pytest.mark.parametrize(
    ("first", "second"),
    [("8", "8.0"), ("16/2", "8"), ("1,000", "1000"), ("−3", "-3"), ("Yes.", "yes"), ("(1 + 2)*3", "(1+2)*3")],
)
def test_equal_answers_vote_together(first: str, second: str) -> None:
    assert vote_key(first) == vote_key(second)


def test_other_answers_do_not() -> None:
    assert len({vote_key(text) for text in ("8", "80", "-8", "x = 8", "yes", "no")}) == 6
    assert vote_key(None) is None
    assert vote_key(" . ") is None


def test_impossible_input_is_refused() -> None:
    for call in (
        lambda: majority_of([], []),
        lambda: majority_of(["a"], [True, False]),
        lambda: best_of([math.nan], [True]),
        lambda: best_of([1.0], []),
        lambda: pass_at([]),
    ):
        with pytest.raises(NumericalError):
            call()
