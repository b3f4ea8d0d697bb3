"""Quantised weights against bitsandbytes' answers for separate matrices, a decoder by hand, and float64 autograd."""

from __future__ import annotations

import sys
from typing import get_args

import pytest
import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder import quantised
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.decoder.quantised import (
    BLOCK,
    QuantisedWeight,
    WeightFormat,
    bitsandbytes_functions,
    quantised_bytes,
    quantised_linear,
)
from spiritsafe.models.transformers_backend.loading import load_decoder

FORMATS = get_args(WeightFormat)
SHAPES = [((64, 32, 32), 64), ((40, 20, 20), 40), ((7, 3, 5), 13), ((1, 9), 50)]
"""Rows of stacked matrices, columns: whole blocks, blocks that end inside a matrix, an odd number of codes."""


def matrices(rows: tuple[int, ...], columns: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(rows) + columns)
    return [torch.randn((count, columns), generator=generator).to(dtype) for count in rows]


def filled(parts: list[Tensor], weights: WeightFormat) -> QuantisedWeight:
    made = QuantisedWeight([len(part) for part in parts], parts[0].shape[1], weights)
    for index in reversed(range(len(parts))):  # a file has them in any order
        made.fill(index, parts[index])
    return made


def by_hand(matrix: Tensor, weights: WeightFormat) -> Tensor:
    """The nearest number of the format's table, times the largest of the block."""
    functions = bitsandbytes_functions()
    table = functions.get_4bit_type("nf4", device="cpu") if weights == "4bit" else functions.create_dynamic_map()
    flat = matrix.float().reshape(-1)
    largest = torch.stack([block.abs().max() for block in flat.split(BLOCK)]).repeat_interleave(BLOCK)[: len(flat)]
    nearest = ((flat / largest)[:, None] - table).abs().argmin(1)
    return (table[nearest] * largest).view(matrix.shape)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_a_fused_matrix_holds_what_bitsandbytes_gives_for_each_of_its_parts(
    rows: tuple[int, ...], columns: int, weights: WeightFormat
) -> None:
    functions, parts = bitsandbytes_functions(), matrices(rows, columns)
    made = filled(parts, weights)
    expected = []
    for part in parts:
        if weights == "4bit":
            codes = functions.quantize_4bit(part, quant_type="nf4", blocksize=64, compress_statistics=False)
            expected.append(functions.dequantize_4bit(*codes))
        else:
            expected.append(functions.dequantize_blockwise(*functions.quantize_blockwise(part, blocksize=64)))
    found = made.dequantised(torch.float32)
    assert torch.equal(found, torch.cat(expected))
    assert all(torch.equal(made.part(index, torch.float32), part) for index, part in enumerate(expected))
    assert torch.equal(made.dequantised(torch.bfloat16), found.bfloat16())
    whole, nearest = torch.cat(parts), torch.cat([by_hand(part, weights) for part in parts])
    # no farther than the nearest: a number in the middle between two codes may go either way
    assert ((found - whole).abs() - (nearest - whole).abs()).max() < 2e-4
    assert made.codes.nbytes + made.scale_bytes.nbytes == sum(quantised_bytes(r, columns, weights) for r in rows)


@pytest.mark.parametrize("weights", FORMATS)
def test_pieces_formats_and_moves_do_not_show(weights: WeightFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = matrices((33, 10), 40, torch.bfloat16)
    whole = filled(parts, weights).dequantised(torch.float32)
    monkeypatch.setattr(quantised, "_AT_ONCE", 4 * BLOCK)
    made = filled([part.float() for part in parts], weights)  # bfloat16 numbers are float32 ones
    assert torch.equal(made.dequantised(torch.float32), whole)
    assert torch.equal(made.to(torch.bfloat16).dequantised(torch.float32), whole)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_keeps_no_matrix_and_has_autograds_gradient(weights: WeightFormat, bias: bool) -> None:
    made = filled(matrices((24, 12), 40), weights)
    rows, bias_O = torch.randn(9, 40, requires_grad=True), torch.randn(36, requires_grad=True) if bias else None
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        out = quantised_linear(rows, made, bias_O)
    assert max(kept, default=0) < made.num_rows * made.num_columns
    pull = torch.randn_like(out)
    out.backward(pull)
    wide = rows.detach().double().requires_grad_()
    matrix = made.dequantised(torch.float64)
    expected = torch.nn.functional.linear(wide, matrix, None if bias_O is None else bias_O.detach().double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    expected.backward(pull.double())
    torch.testing.assert_close(rows.grad, wide.grad, rtol=1e-5, atol=1e-5, check_dtype=False)
    assert bias_O is None or torch.allclose(bias_O.grad, pull.sum(0), atol=1e-5)  # type: ignore[arg-type]


def test_without_bitsandbytes_the_pip_command_is_told(monkeypatch: pytest.MonkeyPatch, tiny_directory) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    bitsandbytes_functions.cache_clear()
    with pytest.raises(CompatibilityError) as caught:
        load_decoder(tiny_directory, dtype=torch.float32, weights="4bit")
    assert "pip install 'spiritsafe[quant]'" in caught.value.hint
    bitsandbytes_functions.cache_clear()


def test_quantised_weights_are_neither_drawn_nor_written(tiny_directory) -> None:  # type: ignore[no-untyped-def]
    model = load_decoder(tiny_directory, dtype=torch.float32, weights="8bit")
    with pytest.raises(ValueError, match="loaded, not drawn"):
        Decoder(model.config, weights="8bit")
    with pytest.raises(CompatibilityError, match="8bit codes"):
        model.hf_state_dict()
    plain = load_decoder(tiny_directory, dtype=torch.float32)
    before, names = model.state_dict(), set(plain.hf_state_dict())
    model.dequantise()
    assert model.weight_format is None
    assert names == set(model.hf_state_dict())
    assert torch.equal(before["norm.weight"], plain.norm.weight)
    assert 0 < (model.hf_state_dict()["model.layers.0.mlp.up_proj.weight"] - plain.hf_state_dict()[
        "model.layers.0.mlp.up_proj.weight"]).abs().max() < 0.01  # fmt: skip
