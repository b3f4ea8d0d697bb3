"""Capturing needs a GPU: tests/gpu/test_engine_cuda.py."""

from __future__ import annotations

import pytest

from spiritsafe.models.running.engine.cuda_graphs import bucket


@pytest.mark.parametrize("step", [1, 16, 64])
def test_buckets_hold_waste_little_and_are_few(step: int) -> None:
    for count in range(1, 3000):
        size = bucket(count, step)
        assert count <= size <= max(step, 1.25 * count) or size - count < step
        assert size % step == 0
        assert bucket(size, step) == size
    assert len({bucket(count, step) for count in range(1, 3000)}) < 60
