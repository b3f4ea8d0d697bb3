"""Grids: the very numbers that the gguf package writes and reads back, and gradients that go straight through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from architectures import FAMILY_NAMES, ROPES, decoder_of, peer_of, random_config

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.tensors import iterate_tensors
from spiritsafe.models.gguf.blocks.grids import (
    GRID_TYPES,
    FileGrid,
    GridType,
    fake_quantise,
    file_grid,
    predict_file_bytes,
    round_to_grid,
)
from spiritsafe.models.gguf.convert import convert_gguf
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.sources.tiny import write_byte_tokenizer

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


SIZES: dict[str, Any] = {"vocab_size": 260, "max_position_embeddings": 64, "rope_parameters": ROPES[0]}
BLOCKS = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
WIDE = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**BLOCKS, "intermediate_size": 96},
    "mistral": {**BLOCKS, "intermediate_size": 80, "sliding_window": None},  # one matrix falls back to float16
    "qwen2": {**BLOCKS, "intermediate_size": 96, "use_sliding_window": False},
    "qwen3": {**WIDE, "intermediate_size": 64, "use_sliding_window": False, "attention_bias": False},
    "granite": {**WIDE, "intermediate_size": 64},
}


@pytest.mark.parametrize("file_type", ["q8_0", "q5_1", "q4_0"])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_model_in_training_sees_what_its_file_will_hold(family: str, file_type: FileGrid, tmp_path: Path) -> None:
    config = random_config(family, 1) | SIZES | FAMILIES[family]
    model = decoder_of(peer_of(config, 1))
    model.save_weights(tmp_path / "x")
    special = write_byte_tokenizer(tmp_path / "x", max_length=64)
    write_json(tmp_path / "x/config.json", {**read_json(tmp_path / "x/config.json"), **special})
    write_lineage(tmp_path / "x", name="Toy", license="MIT")
    facts = write_gguf(tmp_path / "x", tmp_path / "x.gguf", file_type)
    assert facts.tensor_bytes == predict_file_bytes(read_json(tmp_path / "x/config.json"), file_type)
    (tmp_path / "y").mkdir()
    convert_gguf(tmp_path / "x.gguf", tmp_path / "y")
    held = dict(iterate_tensors(tmp_path / "y"))
    grid = file_grid(model.config, file_type)
    assert grid.keys() == {name for name, parameter in model.named_parameters() if parameter.dim() == 2}
    with torch.no_grad():  # what training does with the compute copy
        for name, kind in grid.items():
            model.get_parameter(name).copy_(round_to_grid(model.get_parameter(name), kind))
    head = "model.embed_tokens.weight" if model.config.tied else "lm_head.weight"
    for name, tensor in model.hf_state_dict().items():
        if name == head and FAMILIES[family]["hidden_size"] == 256 and file_type != "q8_0":
            assert (tensor - held[name]).norm() < 0.02 * tensor.norm()  # Q6_K there, Q8_0 in training
        else:
            assert torch.equal(tensor, held[name]), name
