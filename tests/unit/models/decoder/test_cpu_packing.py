from __future__ import annotations

import pytest
import torch

from spiritsafe.models.decoder.cpu_packing import PackedLinear, can_pack, pack_weight, packed_linear
from spiritsafe.models.decoder.module import PackableLinear


@pytest.mark.parametrize("bias", [True, False])
def test_packed_product_is_the_product(bias: bool) -> None:
    layer = PackableLinear(48, 80, bias=bias)
    if not can_pack(layer.weight):
        assert not torch.backends.mkldnn.is_available()
        return
    rows = torch.randn(5, 48)
    with torch.inference_mode():
        found = packed_linear(rows, pack_weight(layer.weight), layer.bias)
    torch.testing.assert_close(found, torch.nn.functional.linear(rows, layer.weight, layer.bias))


def test_training_never_uses_the_copy() -> None:
    layer = PackableLinear(16, 8, bias=False)
    if can_pack(layer.weight):
        layer.packed = PackedLinear(weight=pack_weight(torch.zeros_like(layer.weight)), bias=None)
    rows = torch.randn(3, 16)
    expected = torch.nn.functional.linear(rows, layer.weight)
    assert torch.equal(layer(rows), expected)
    layer(rows).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert torch.equal(layer(rows), expected)


def test_other_devices_and_types_are_not_packed() -> None:
    assert not can_pack(torch.zeros(2, 2, dtype=torch.float64))
    assert not can_pack(torch.zeros(2, 2, device="meta"))
