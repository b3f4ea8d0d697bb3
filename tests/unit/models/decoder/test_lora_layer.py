"""The adapted product and its gradients, against autograd through a weight that was built by hand."""

from __future__ import annotations

import pytest
import torch
from tiny_training import OperatorLog
from torch import Tensor
from torch.nn import functional

from spiritsafe.models.decoder.lora_layer import AdaptedRows, LoraLayer

NUM_IN, NUM_OUT, RANK, ALPHA = 12, 20, 3, 7.0
ALL = (AdaptedRows("q", 0, 8), AdaptedRows("k", 8, 14), AdaptedRows("v", 14, 20))
OUTER = (ALL[0], ALL[2])
ONE = (AdaptedRows("o", 0, NUM_OUT),)


def random_layer(parts: tuple[AdaptedRows, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> LoraLayer:
    layer = LoraLayer(parts, in_features=NUM_IN, rank=RANK, alpha=ALPHA, dtype=dtype, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def by_hand(layer: LoraLayer, weight_OI: Tensor) -> Tensor:
    """``W + alpha / rank · B·A``, number by number; differentiable."""
    rows = list(weight_OI)
    first = 0
    for index, part in enumerate(layer.parts):
        for row in range(part.start, part.stop):
            for rank in range(RANK):
                factor = layer.b_PR[first + row - part.start, rank] * (ALPHA / RANK)
                rows[row] = rows[row] + factor * layer.a_QI[index * RANK + rank]
        first += part.stop - part.start
    return torch.stack(rows)


@pytest.mark.parametrize("parts", [ALL, OUTER, ONE], ids=["all", "outer", "one"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_product_and_gradients_are_those_of_the_summed_weight(
    parts: tuple[AdaptedRows, ...], has_bias: bool, is_frozen: bool
) -> None:
    layer = random_layer(parts)
    rows = torch.randn(9, NUM_IN, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(NUM_OUT, NUM_IN, dtype=torch.float64, requires_grad=not is_frozen)
    bias = torch.randn(NUM_OUT, dtype=torch.float64, requires_grad=not is_frozen) if has_bias else None
    wanted = [rows, layer.a_QI, layer.b_PR] + [t for t in (weight, bias) if t is not None and t.requires_grad]
    direction = torch.randn(9, NUM_OUT, dtype=torch.float64)
    found = layer(rows, weight, bias)
    expected = functional.linear(rows, by_hand(layer, weight), bias)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(found, wanted, direction)
    theirs = torch.autograd.grad(expected, wanted, direction)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [ALL, OUTER, ONE], ids=["all", "outer", "one"])
def test_merging_and_sampling_use_the_same_sum(parts: tuple[AdaptedRows, ...]) -> None:
    layer = random_layer(parts, torch.float32)
    weight, rows = torch.randn(NUM_OUT, NUM_IN), torch.randn(9, NUM_IN)
    before = weight.clone()
    expected = by_hand(layer, weight)
    torch.testing.assert_close(layer.merged(weight), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(weight, before)
    a_IQ, b_QO = layer.float32_maps(NUM_OUT)
    torch.testing.assert_close(rows @ (weight.t() + a_IQ @ b_QO), rows @ expected.t(), rtol=1e-5, atol=1e-5)
    assert a_IQ.dtype == b_QO.dtype == torch.float32


def test_a_half_precision_weight_is_rounded_once() -> None:
    layer = random_layer(ALL, torch.bfloat16)
    weight = torch.randn(NUM_OUT, NUM_IN).bfloat16()
    wide = random_layer(ALL, torch.float32)
    wide.load_state_dict({name: value.float() for name, value in layer.state_dict().items()})
    assert torch.equal(layer.merged(weight), wide.merged(weight.float()).bfloat16())


def test_each_projection_has_its_own_maps() -> None:
    layer = random_layer(OUTER)
    (q, a_q, b_q), (v, a_v, b_v) = layer.maps()
    assert (q.name, v.name) == ("q", "v")
    assert (a_q.shape, b_q.shape, a_v.shape, b_v.shape) == ((3, 12), (8, 3), (3, 12), (6, 3))
    assert torch.equal(torch.cat((a_q, a_v)), layer.a_QI)
    assert torch.equal(torch.cat((b_q, b_v)), layer.b_PR)


def test_the_first_maps_are_one_product_and_a_frozen_weight_has_no_gradient() -> None:
    layer = random_layer(ALL, torch.float32)
    rows, weight = torch.randn(9, NUM_IN, requires_grad=True), torch.randn(NUM_OUT, NUM_IN)
    with OperatorLog() as forward:
        out = layer(rows, weight, None)
    assert len(forward.products) == 2 + len(ALL)  # W, all A's, each B
    with OperatorLog() as backward:
        out.sum().backward()
    assert len(backward.products) == 3 + 2 * len(ALL)  # rows through W and A, all A's, each B twice
