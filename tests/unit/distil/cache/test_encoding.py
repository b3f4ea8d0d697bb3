from __future__ import annotations

import math

import numpy as np
import pytest
from cache_parts import random_rows

from spiritsafe.core.errors import IntegrityError
from spiritsafe.distil.cache.encoding import SPAN_STEP, decode_rows, decode_sorted, encode_rows, encode_sorted
from spiritsafe.distil.cache.estimate import RowEstimates, padded_entries


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)


@pytest.mark.parametrize(("numbers", "universe"), [([], 5), ([0], 1), ([0, 0, 0], 1), ([3, 3, 6], 7), ([6], 7)])
def test_sorted_numbers_come_back(numbers: list[int], universe: int) -> None:
    data = encode_sorted(np.array(numbers, dtype=np.int64), universe)
    assert decode_sorted(_bytes(data), len(numbers), universe).tolist() == numbers


def test_ids_take_the_bits_that_the_literature_says() -> None:
    rng = np.random.default_rng(0)
    ids = np.concatenate([row * 49152 + np.sort(rng.choice(49152, 32, replace=False)) for row in range(200)])
    bits = 8 * len(encode_sorted(ids, 200 * 49152)) / len(ids)
    assert bits == pytest.approx(2 + math.log2(49152 / 32), abs=0.25)  # Elias 1974: 2 + log2(U / n), 16 plain


def _one_row(probs: np.ndarray, tail: float) -> RowEstimates:
    return RowEstimates(
        num_head_R=np.array([len(probs)]),
        head_ids_F=np.arange(len(probs)),
        head_log_probs_F=np.log(probs),
        num_draws_R=np.array([3]),
        tail_ids_D=np.array([100, 100, 120]),
        log_tail_mass_R=np.array([math.log(tail)]),
        entropy_R=np.array([2.345]),
    )


def test_probabilities_come_back_within_a_step_and_unbiased() -> None:
    rng = np.random.default_rng(2)
    probs = np.sort(rng.dirichlet(np.full(20, 0.3)) * 0.9)[::-1].clip(1e-4)
    probs *= 0.9 / probs.sum()
    rows = _one_row(probs, 0.1)
    num = 4000
    block = RowEstimates.joined([rows] * num)
    got = padded_entries(decode_rows(_bytes(encode_rows(block, 128, rng.random((num, 21)))), num, 128))[1]
    step = (math.log(probs.max() / probs.min()) + SPAN_STEP) / 255
    head, tail = got[:, :20], got[:, 20:].sum(1)
    assert np.abs(np.log(head / probs)).max() < 2.5 * step
    assert head.std(0).max() > 0  # rounding is random, so the mean below says something
    error, noise = head.mean(0) / probs - 1.0, head.std(0) / probs / num**0.5
    assert (np.abs(error) < step**2 + 4.5 * noise).all()
    assert (step**2 + 4.5 * noise).max() < 0.15 * step  # rounding to nearest could be off by half a step
    assert tail.mean() == pytest.approx(0.1, rel=2e-5 + 4.5 * tail.std() / 0.1 / num**0.5)
    np.testing.assert_allclose(got.sum(1), 1.0, atol=1e-12)


def test_entropy_and_extreme_probabilities_survive() -> None:
    rows = RowEstimates(
        num_head_R=np.array([2, 1, 3]),
        head_ids_F=np.array([0, 1, 5, 0, 1, 2]),
        head_log_probs_F=np.array([-1e-9, -200.0, 0.0, math.log(0.5), math.log(0.5), -90.0]),
        num_draws_R=np.array([0, 1, 0]),
        tail_ids_D=np.array([7]),
        log_tail_mass_R=np.array([-np.inf, -1e-30, -np.inf]),
        entropy_R=np.array([0.0, 11.9, 0.6931]),
    )
    back = decode_rows(_bytes(encode_rows(rows, 8, np.full((3, 4), 0.5))), 3, 8)
    probs = padded_entries(back)[1]
    assert probs[0].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-13)
    assert probs[1].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-7)
    assert probs[2].tolist() == pytest.approx([0.5, 0.5, 0.0], rel=1e-9, abs=1e-13)
    np.testing.assert_allclose(back.entropy_R, rows.entropy_R, rtol=2**-11)


def test_blocks_that_are_not_what_they_should_be_are_refused() -> None:
    rng = np.random.default_rng(3)
    data = encode_rows(random_rows(rng, num_rows=9, vocab=300), 300, rng.random((9, 13)))
    for wrong in (data[:-1], data + b"\0", data[:5], b""):
        with pytest.raises(IntegrityError):
            decode_rows(_bytes(wrong), 9, 300)
    with pytest.raises(IntegrityError):
        decode_rows(_bytes(data), 8, 300)
    with pytest.raises(IntegrityError):
        decode_sorted(_bytes(b"\0" * 20), 3, 50)
