from __future__ import annotations

import sys

import psutil
import pytest
import torch

from spiritsafe.core.errors import BudgetError
from spiritsafe.models.running.engine.kv_cache import KVCache


def small() -> KVCache:
    return KVCache(
        num_layers=2,
        num_slots=3,
        num_kv_heads=2,
        num_positions=8,
        head_dim=4,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def test_what_is_written_is_seen_where_it_was_written() -> None:
    cache = small()
    key, value = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    rows = cache.rows(torch.tensor([2, 0]), torch.tensor([5, 1]))
    cache.write(1, rows, key, value)
    keys, values = cache.view(1, slice(0, 3), 6)
    assert keys.shape == (6, 6, 4)
    assert torch.equal(keys.view(3, 2, 6, 4)[2, :, 5], key[0])
    assert torch.equal(values.view(3, 2, 6, 4)[0, :, 1], value[1])
    assert cache.data[1].count_nonzero() == 32
    assert cache.data[0].count_nonzero() == 0


def test_a_view_is_no_copy() -> None:
    cache = small()
    keys, values = cache.view(0, slice(0, 2), 5)
    assert keys.untyped_storage().data_ptr() == cache.data.untyped_storage().data_ptr()
    assert values.untyped_storage().data_ptr() == cache.data.untyped_storage().data_ptr()


def test_slots_are_copied_stored_and_filled() -> None:
    cache = small()
    cache.data.normal_()
    before = cache.data.clone()
    cache.copy_slot(0, [1, 2], 3)
    assert torch.equal(cache.data[:, :, 2, :, :3], before[:, :, 0, :, :3])
    assert torch.equal(cache.data[:, :, 1, :, 3:], before[:, :, 1, :, 3:])
    stored = cache.read_slot(0, 0, 4)
    cache.data.zero_()
    cache.fill_slot(1, 2, stored)
    assert torch.equal(cache.data[:, :, 1, :, 2:6], before[:, :, 0, :, :4])
    assert cache.data[:, :, [0, 2]].count_nonzero() == 0


def test_too_large_a_cache_is_a_budget_error() -> None:
    with pytest.raises(BudgetError, match="GB") as caught:
        KVCache(
            num_layers=1000,
            num_slots=1 << 20,
            num_kv_heads=1 << 10,
            num_positions=1 << 20,
            head_dim=128,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
    assert "max_batch" in caught.value.hint


def test_memory_is_taken_when_it_is_written_and_given_back() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    cache = KVCache(
        num_layers=2,
        num_slots=64,
        num_kv_heads=4,
        num_positions=8192,
        head_dim=64,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    assert process.memory_info().rss - before < 50e6 < cache.data.numel() * 4
    cache.data[:, :, 5] = 1.0
    written = cache.data[:, :, 5].numel() * 4
    assert process.memory_info().rss - before > 0.9 * written
    cache.data[:, :, [4, 6], :, :2] = 7.0
    cache.release(5, 8192)
    if sys.platform == "linux":
        assert process.memory_info().rss - before < 0.2 * written
        assert cache.data[:, :, 5].count_nonzero() < 0.01 * cache.data[:, :, 5].numel(), "all but the edges"
    assert (cache.data[:, :, [4, 6], :, :2] == 7.0).all(), "neighbours are as they were"


def test_a_larger_cache_holds_what_the_smaller_held() -> None:
    cache = small()
    cache.data.normal_()
    larger = cache.grown(4, 16, [8, 3, 0])
    assert torch.equal(larger.data[:, :, 0, :, :8], cache.data[:, :, 0])
    assert torch.equal(larger.data[:, :, 1, :, :3], cache.data[:, :, 1, :, :3])
    assert larger.data[:, :, 2:].count_nonzero() == 0
