from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from spiritsafe.models.decoder.cpu import packing
from spiritsafe.models.decoder.cpu import threads as cpu_loops
from spiritsafe.models.decoder.cpu.packing import (
    FEW_ROWS,
    HalfWeight,
    HugePages,
    PackedLinear,
    PanelWeight,
    can_pack,
    half_exponent,
    pack_head,
    pack_panels,
    pack_weight,
    packed_linear,
)
from spiritsafe.models.decoder.module import PackableLinear


@pytest.mark.parametrize("bias", [True, False])
def test_packed_product_is_the_product(bias: bool) -> None:
    layer = PackableLinear(48, 80, bias=bias)
    if not can_pack(layer.weight):
        assert not torch.backends.mkldnn.is_available()
        return
    rows = torch.randn(5, 48)
    with torch.inference_mode():
        found = packed_linear(rows, pack_weight(layer.weight, layer.bias), layer.bias, rows.dtype)
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


def bfloat16_numbers(*shape: int) -> torch.Tensor:
    """What a published checkpoint holds, in float32: sizes far apart, some below what float16 resolves."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.05
    drawn[0, :3] = torch.tensor([1.7, -(1 + 2.0**-7) * 2.0**-20, 0.0])
    return drawn.bfloat16().float()


def test_a_matrix_is_held_in_float16_only_if_every_number_survives() -> None:
    assert half_exponent(torch.randn(40, 30).half().float()) == 0
    assert half_exponent(torch.zeros(3, 3)) == 0
    published = bfloat16_numbers(40, 30)
    exponent = half_exponent(published)
    assert exponent is not None
    assert exponent > 0  # as it is, the smallest numbers would be rounded
    scaled = published * 2.0**exponent
    assert torch.equal(scaled.half().double() / 2.0**exponent, published.double())
    trained = published.clone()
    trained[39, 29] = 0.1  # one number with all of float32's digits
    assert half_exponent(trained) is None
    for odd in (float("nan"), float("inf")):
        broken = published.clone()
        broken[5, 5] = odd
        assert half_exponent(broken) is None


@pytest.mark.parametrize("num_rows", [1, 7, 300])
@pytest.mark.parametrize("bias", [True, False])
def test_products_in_fewer_bytes_are_those_of_float32(num_rows: int, bias: bool) -> None:
    layer = PackableLinear(576, 96, bias=bias)
    layer.weight.data.copy_(bfloat16_numbers(96, 576))
    if layer.bias is not None:
        layer.bias.data.fill_(0.3)
    if not can_pack(layer.weight):
        pytest.skip("this machine packs no weights")
    rows = torch.randn(num_rows, 576, generator=torch.Generator().manual_seed(num_rows))
    exact = torch.nn.functional.linear(
        rows.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double()
    )
    layer.pack(torch.float32)
    with torch.inference_mode():
        found = layer(rows)
    plain = torch.nn.functional.linear(rows, layer.weight, layer.bias)
    assert found.dtype == torch.float32
    # its sums run in another order; weights rounded to float16 would be 40 times as far off as float32's product
    assert (found - exact).abs().max() <= 8 * (plain - exact).abs().max() + 1e-7


@pytest.mark.parametrize("loops", [True, False])
def test_bfloat16_is_multiplied_in_float32_where_a_head_needs_it(loops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loops:
        monkeypatch.setattr(cpu_loops, "has_numba", lambda: False)
    weight = bfloat16_numbers(96, 576).bfloat16()
    packed = pack_head(weight)
    if packed is None:
        pytest.skip("this machine multiplies no float16 matrices")
    rows = torch.randn(5, 576, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.inference_mode():
        found = packed_linear(rows, packed, None, torch.float32)
    assert found.dtype == torch.float32
    exact = rows.double() @ weight.double().T
    assert (found - exact).abs().max() <= 8 * (rows.float() @ weight.float().T - exact).abs().max() + 1e-7


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_of_bfloat16_are_rounded_once(bias: bool, loops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loops:
        monkeypatch.setattr(cpu_loops, "has_numba", lambda: False)
    layer = PackableLinear(576, 96, bias=bias).bfloat16()
    layer.weight.data.copy_(bfloat16_numbers(96, 576))
    if not can_pack(layer.weight):
        pytest.skip("this machine packs no bfloat16")
    rows = torch.randn(FEW_ROWS + 1, 576, generator=torch.Generator().manual_seed(2)).bfloat16()
    exact = torch.nn.functional.linear(
        rows.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double()
    )
    layer.pack_few()
    assert layer.packed is None  # of a layer that was not packed nothing is kept
    layer.pack(torch.bfloat16)
    for _ in range(2):
        for count in range(1, FEW_ROWS + 2):
            with torch.inference_mode():
                found = layer(rows[:count])
            assert found.dtype == torch.bfloat16
            # half a unit in the last of 8 digits, and what sums in float32 lose
            assert ((found - exact[:count]).abs() <= 2.0**-8 * exact[:count].abs() + 1e-5).all()
        layer.pack_few()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def in_panels(weight: torch.Tensor, bias: torch.Tensor | None = None) -> PanelWeight:
    if not (cpu_loops.can_loop() and cpu_loops.has_bfloat16_products()):
        pytest.skip("this processor multiplies no vectors of bfloat16, or numba is not installed")
    packed = pack_panels(weight, bias)
    assert packed is not None
    return packed


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_out", [1, 32, 75, 320])
def test_products_in_panels_are_exact_but_for_one_rounding(num_out: int, dtype: torch.dtype, bias: bool) -> None:
    """Any number of rows and outputs, in one thread and in two; every number is written once and nothing beside it."""
    generator = torch.Generator().manual_seed(num_out)
    for num_in in (2, 96, 578):
        weight = torch.randn(num_out, num_in, generator=generator).bfloat16()
        added = torch.randn(num_out, generator=generator).bfloat16() if bias else None
        packed = in_panels(weight, added)
        for num_rows in (0, 1, 2, 11, 12, 13, 25, 64, 131):
            rows = torch.randn(num_rows, num_in, generator=generator).bfloat16()
            exact = torch.nn.functional.linear(
                rows.double(), weight.double(), None if added is None else added.double()
            )
            found = packed.product(rows, dtype)
            assert found.dtype == dtype
            assert found.shape == exact.shape
            rounding = 2.0**-8 if dtype == torch.bfloat16 else 0.0
            assert ((found - exact).abs() <= rounding * exact.abs() + 2e-4).all()


def test_rows_that_lie_apart_are_multiplied_too() -> None:
    packed = in_panels(torch.eye(64).bfloat16())
    rows = torch.arange(64 * 10.0).view(64, 10).bfloat16().t()
    assert not rows.is_contiguous()
    assert torch.equal(packed.product(rows, torch.bfloat16), rows)
    for wrong in (rows.float(), rows[:, :62], rows.flatten()):
        with pytest.raises(ValueError, match="bfloat16"):
            packed.product(wrong, torch.bfloat16)


@pytest.mark.parametrize("has_huge_pages", [True, False])
def test_what_stands_in_huge_pages_is_each_ones_own(has_huge_pages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_huge_pages:
        monkeypatch.delattr(packing.mmap, "MADV_HUGEPAGE", raising=False)
    monkeypatch.setattr(packing, "_ARENA_BYTES", 4096)
    memory = HugePages()
    shapes = [(3, 5), (0, 4), (700,), (7,), (2, 2000), (1, 1)]
    made = [memory.empty(shape, torch.float32).fill_(n) for n, shape in enumerate(shapes)]
    del memory
    for n, (shape, one) in enumerate(zip(shapes, made, strict=True)):
        assert one.shape == shape
        assert (one == n).all()
        assert one.data_ptr() % 64 == 0
    assert made[0].untyped_storage().data_ptr() == made[2].untyped_storage().data_ptr()


def test_odd_inputs_are_left_to_the_library() -> None:
    assert pack_panels(torch.ones(4, 3).bfloat16()) is None
    assert pack_panels(torch.ones(4, 4)) is None


def test_a_processor_without_such_products_holds_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = bfloat16_numbers(48, 32)
    if not can_pack(weight):
        pytest.skip("this machine packs no weights")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    packed = pack_weight(weight)
    assert not isinstance(packed, HalfWeight)
    rows = torch.randn(3, 32)
    with torch.inference_mode():
        torch.testing.assert_close(packed_linear(rows, packed, None, rows.dtype), rows @ weight.T)
