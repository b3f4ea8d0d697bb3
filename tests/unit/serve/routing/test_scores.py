"""Scores of chances, against their definitions, and an honest null."""

from __future__ import annotations

import numpy as np
import pytest

from spiritsafe.serve.routing.scores import auc, score_chances
from spiritsafe.stats import ClusterBootstrap


def test_scores_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.05, 0.95, (200, 1))
    right = (rng.random((200, 1)) < chance).astype(float)
    constant = np.full((200, 1), right.mean())
    scores = score_chances(right, chance, constant, ClusterBootstrap(200, seed=0))
    assert scores.brier == pytest.approx(np.mean((chance - right) ** 2))
    assert scores.constant_brier == pytest.approx(right.mean() * (1 - right.mean()))
    assert scores.log_loss == pytest.approx(-np.mean(np.log(np.where(right == 1, chance, 1 - chance))))
    assert scores.brier_gain.value == pytest.approx(scores.constant_brier - scores.brier)
    assert scores.says_something
    assert sum(one.num_problems for one in scores.bins) == 200
    assert [one.chance for one in scores.bins] == sorted(one.chance for one in scores.bins)
    pairs = [(a > b) + (a == b) / 2 for a in chance[right == 1] for b in chance[right == 0]]
    assert scores.auc == pytest.approx(np.mean(pairs))


def test_noise_says_nothing() -> None:
    rng = np.random.default_rng(1)
    right = (rng.random((300, 2)) < 0.4).astype(float)
    chance = np.clip(0.4 + rng.normal(0, 0.1, (300, 2)), 0.01, 0.99)
    scores = score_chances(right, chance, np.full((300, 2), 0.4), ClusterBootstrap(300, seed=0))
    assert not scores.says_something


def test_ties_and_one_class() -> None:
    assert auc(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == 0.5
    assert auc(np.ones(3), np.array([0.1, 0.2, 0.3])) is None
