"""Grids: the very numbers that the gguf package writes and reads back, and gradients that go straight through."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.gguf.blocks.grids import GRID_TYPES, GridType, fake_quantise, round_to_grid

BLOCK_TYPES = [grid for grid in GRID_TYPES if grid.startswith("q")]


def by_gguf(weight: np.ndarray, grid: GridType) -> np.ndarray:
    kind = gguf.GGMLQuantizationType[grid.upper()]
    with np.errstate(all="ignore"):
        return gguf.dequantize(gguf.quantize(weight, kind), kind)


def hard_rows() -> dict[str, np.ndarray]:
    """Rows of two blocks each, by what is hard about them."""
    rng = np.random.default_rng(7)
    plain = rng.standard_normal((64, 64), dtype=np.float32)
    tied = np.sign(plain) * np.round(np.abs(plain), 0)  # furthest from zero on both sides, in either order
    one_sided = np.abs(plain) + 3.0
    return {
        "plain": plain,
        "weights": (plain * 0.02).astype(np.float32),
        "bfloat16": torch.from_numpy(plain * 0.02).bfloat16().float().numpy(),
        "tied": tied,
        "halves": np.round(plain * 4) / np.float32(8.0),
        "zeros": np.zeros((2, 64), dtype=np.float32),
        "negative zeros": -np.zeros((2, 64), dtype=np.float32),
        "half a row is zero": np.concatenate((plain[:, :32], np.zeros((64, 32), np.float32)), axis=1),
        "constant": np.full((3, 64), -0.7, dtype=np.float32),
        "one sided": one_sided,
        "other side": -one_sided,
        "scale is subnormal in 16 bits": plain * np.float32(1e-6),
        "scale is nothing in 16 bits": plain * np.float32(1e-9),
        "scale is subnormal in 32 bits": plain * np.float32(1e-39),
        "scale is infinite in 16 bits": plain * np.float32(1e7),
        "near the largest number": plain / np.abs(plain).max() * np.float32(3e38),
        "one outlier": np.where(np.arange(64) == 5, np.float32(40.0), plain * np.float32(0.01)),
    }


@pytest.mark.parametrize("grid", GRID_TYPES)
@pytest.mark.parametrize("name", hard_rows())
def test_what_a_file_gives_back_to_the_last_bit(grid: GridType, name: str) -> None:
    weight = hard_rows()[name]
    given = torch.from_numpy(weight.copy())
    rounded = round_to_grid(given, grid)
    np.testing.assert_array_equal(rounded.numpy(), by_gguf(weight, grid))
    assert np.array_equal(given.numpy(), weight)  # what was given is as it was


@pytest.mark.parametrize("grid", BLOCK_TYPES)
def test_many_rows_are_as_each_alone_and_the_grid_stays_where_it_is(grid: GridType) -> None:
    weight = torch.randn((5000, 576), generator=torch.Generator().manual_seed(3)) * 0.05  # several slabs
    rounded = round_to_grid(weight, grid)
    rows = [0, 1819, 1820, 1821, 4999]
    assert torch.equal(rounded[rows], round_to_grid(weight[rows], grid))
    # of a stack of matrices each part is what it is alone, and two formats of the result hold the same
    assert torch.equal(rounded[100:300], round_to_grid(weight[100:300], grid))
    half = round_to_grid(weight, grid, out_OI=torch.empty_like(weight, dtype=torch.bfloat16))
    assert torch.equal(half, rounded.bfloat16())


@pytest.mark.parametrize("grid", BLOCK_TYPES)
def test_the_gradient_goes_straight_through(grid: GridType) -> None:
    weight = torch.randn((6, 64), generator=torch.Generator().manual_seed(1)).requires_grad_()
    rows = torch.randn((9, 64), generator=torch.Generator().manual_seed(2))
    rounded = fake_quantise(weight, grid)
    assert rounded.dtype == weight.dtype
    assert torch.equal(rounded, round_to_grid(weight, grid))
    loss = (rows @ rounded.T).square().sum()
    loss.backward()
    with torch.no_grad():
        expected = 2 * (rows @ rounded.T).T @ rows
    assert torch.allclose(weight.grad, expected, rtol=1e-5)


def test_rows_that_are_no_whole_blocks_are_refused() -> None:
    with pytest.raises(CompatibilityError, match="Rows of 48 numbers"):
        round_to_grid(torch.zeros(2, 48), "q4_0")
    assert round_to_grid(torch.ones(2, 48), "f16").shape == (2, 48)
