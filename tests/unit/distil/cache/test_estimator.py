from __future__ import annotations

import numpy as np
import pytest
import torch

from spiritsafe.distil.cache.config import CaptureConfig
from spiritsafe.distil.cache.estimate import padded_entries
from spiritsafe.distil.cache.estimator import draw_offsets, estimate_chunk, num_roundings, rounding_uniforms

THRESHOLD = CaptureConfig(threshold=0.02)
FIXED = CaptureConfig(num_head=8, num_draws=6)


def _logits(rows: int = 6, vocab: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, vocab, generator=generator) * torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0, 30.0])[:rows, None]


def _dense(config: CaptureConfig, offsets: np.ndarray, vocab: int = 300) -> np.ndarray:
    """Estimates of the six rows, over and over, ``[len(offsets), vocab]``."""
    logits = _logits(vocab=vocab).repeat(len(offsets) // 6, 1)
    ids, probs = padded_entries(estimate_chunk(logits, config, offsets))
    out = np.zeros((len(ids), vocab))
    np.add.at(out, (np.arange(len(ids))[:, None], ids), probs)
    return out


@pytest.mark.parametrize("config", [THRESHOLD, FIXED])
def test_the_mean_over_offsets_is_the_distribution(config: CaptureConfig) -> None:
    exact = torch.softmax(_logits().double(), 1).numpy()
    num = 2000  # an even grid of offsets integrates over them up to (weight of a draw) / num
    offsets = np.repeat((np.arange(num) + 0.5) / num, 6)
    mean = _dense(config, offsets).reshape(num, 6, 300).mean(0)
    np.testing.assert_allclose(mean, exact, atol=1e-4)
    one = _dense(config, np.full(6, 0.5))
    assert np.abs(one - exact)[:4].max() > 1e-3  # a single estimate is not exact


@pytest.mark.parametrize("config", [THRESHOLD, FIXED])
def test_heads_are_the_likeliest_and_exact_and_entropy_too(config: CaptureConfig) -> None:
    exact = torch.softmax(_logits().double(), 1).numpy()
    rows = estimate_chunk(_logits(), config, np.full(6, 0.3))
    start = 0
    for row, num in enumerate(rows.num_head_R):
        ids = rows.head_ids_F[start : start + num]
        assert (np.diff(ids) > 0).all()
        np.testing.assert_allclose(np.exp(rows.head_log_probs_F[start : start + num]), exact[row, ids], rtol=1e-4)
        others = np.delete(exact[row], ids)
        assert not num or exact[row, ids].min() >= others.max() - 1e-9
        assert num == (8 if config is FIXED else (exact[row] >= 0.02).sum())
        assert np.exp(rows.log_tail_mass_R[row]) == pytest.approx(others.sum(), rel=1e-4)
        start += num
    entropy = -(exact * np.log(np.maximum(exact, 1e-300))).sum(1)
    np.testing.assert_allclose(rows.entropy_R, entropy, atol=1e-4)
    weight = np.exp(rows.log_tail_mass_R) / np.maximum(rows.num_draws_R, 1)
    assert config is FIXED or (weight < 0.0301).all()  # a draw weighs about the threshold, never much more


def test_error_falls_with_the_root_of_the_number_of_independent_estimates() -> None:
    exact = torch.softmax(_logits().double(), 1).numpy()
    rng = np.random.default_rng(0)
    values = rng.standard_normal(300)

    def error(num: int) -> float:
        gaps = _dense(FIXED, rng.random(6 * num * 100)).reshape(100, num, 6, 300).mean(1) - exact
        return float(np.sqrt(np.mean(np.square(gaps[:, 1] @ values))))

    assert error(16) / error(1) == pytest.approx(0.25, rel=0.35)


@pytest.mark.parametrize("vocab", [5, 8])
def test_a_head_as_large_as_the_vocabulary_leaves_nothing_to_draw(vocab: int) -> None:
    rows = estimate_chunk(_logits(vocab=vocab), FIXED, np.full(6, 0.9))
    assert rows.num_draws_R.tolist() == [0] * 6
    assert rows.num_head_R.tolist() == [vocab] * 6
    exact = torch.softmax(_logits(vocab=vocab).double(), 1).numpy()
    np.testing.assert_allclose(_dense(FIXED, np.full(6, 0.9), vocab), exact, atol=1e-6)


def test_offsets_near_their_ends_draw_ids_that_exist() -> None:
    for offset in (0.0, 1.0 - 2**-53):
        rows = estimate_chunk(_logits(), FIXED, np.full(6, offset))
        assert rows.tail_ids_D.max() < 300
        drawn = set(zip(np.repeat(np.arange(6), rows.num_draws_R), rows.tail_ids_D, strict=True))
        heads = set(zip(np.repeat(np.arange(6), rows.num_head_R), rows.head_ids_F, strict=True))
        assert not drawn & heads


def test_random_numbers_depend_on_seed_document_and_position_only() -> None:
    key = "ab" * 32
    some, all_ = draw_offsets(0, key, np.array([2, 5])), draw_offsets(0, key, np.arange(9))
    assert some.tolist() == all_[[2, 5]].tolist()
    assert draw_offsets(1, key, np.array([2])) != some[0]
    assert draw_offsets(0, "cd" * 32, np.array([2])) != some[0]
    wide = rounding_uniforms(0, key, np.arange(9), 4)
    assert rounding_uniforms(0, key, np.array([7]), 4).tolist() == wide[[7]].tolist()
    assert num_roundings(THRESHOLD, 49152) == 52
    assert num_roundings(FIXED, 5) == 6
