from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from spiritsafe.models.decoder.attention import (
    attend,
    attend_after_prefix,
    attend_uniform,
    band_blocks,
    group_lengths,
    make_layout,
)

CPU = torch.device("cpu")
HEADS, KV_HEADS, WIDTH = 4, 2, 8
MIXED = (550, 3, 520, 90, 85, 1, 530, 510, 88)


def plain(rotated: Tensor, value: Tensor, window: int | None) -> Tensor:
    """Attention of one document by the textbook, in float64."""
    length = rotated.shape[0]
    query, key = rotated[:, :HEADS].double(), rotated[:, HEADS:].double()
    key = key.repeat_interleave(HEADS // KV_HEADS, dim=1)
    value = value.double().repeat_interleave(HEADS // KV_HEADS, dim=1)
    scores = torch.einsum("qhw,khw->hqk", query, key) * 0.3
    distance = torch.arange(length)[:, None] - torch.arange(length)[None]
    hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
    return torch.einsum("hqk,khw->qhw", scores.masked_fill(hidden, float("-inf")).softmax(-1), value)


def inputs(total: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(total)
    rotated = torch.randn(total, HEADS + KV_HEADS, WIDTH, generator=generator)
    return rotated, torch.randn(total, KV_HEADS, WIDTH, generator=generator)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("lengths", [(50,), (20, 20, 20), (5, 31, 2), MIXED], ids=["one", "equal", "few", "groups"])
def test_documents_do_not_see_each_other(lengths: tuple[int, ...], window: int | None) -> None:
    rotated, value = inputs(sum(lengths))
    out = attend(rotated, value, make_layout(lengths, CPU), scale=0.3, window=window)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        torch.testing.assert_close(out[part].double(), plain(rotated[part], value[part], window), atol=1e-5, rtol=0)
        start += length


@pytest.mark.parametrize("lengths", [(6, 6), (5, 9, 2), (600, 4, 580, 3, 590, 570)], ids=["equal", "few", "groups"])
def test_gradients_through_padding(lengths: tuple[int, ...]) -> None:
    rotated, value = inputs(sum(lengths))
    rotated.requires_grad_()
    value.requires_grad_()
    weight = torch.randn(sum(lengths), HEADS, WIDTH, generator=torch.Generator().manual_seed(1))
    layout = make_layout(lengths, CPU)
    (attend(rotated, value, layout, scale=0.3, window=None) * weight).sum().backward()
    ours = rotated.grad, value.grad
    rotated.grad = value.grad = None
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        (plain(rotated[part], value[part], None) * weight[part]).sum().backward()
        start += length
    torch.testing.assert_close(ours[0], rotated.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours[1], value.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 4])
def test_shared_prefix_is_seen_by_all(window: int | None) -> None:
    past, lengths = 5, (3, 8, 1)
    rotated, value = inputs(past + sum(lengths))
    out = attend_after_prefix(rotated, value, make_layout(lengths, CPU), past, scale=0.3, window=window)
    torch.testing.assert_close(out[:past].double(), plain(rotated[:past], value[:past], window), atol=1e-5, rtol=0)
    start = past
    for length in lengths:
        index = [*range(past), *range(start, start + length)]
        expected = plain(rotated[index], value[index], window)[past:]
        torch.testing.assert_close(out[start : start + length].double(), expected, atol=1e-5, rtol=0)
        start += length


@pytest.mark.parametrize(("device_type", "most"), [("cpu", 1.12), ("cuda", 1.25)])
def test_groups_waste_little(device_type: str, most: float) -> None:
    draw = random.Random(0)
    lengths = [draw.randrange(16, 1024) for _ in range(64)]
    groups = group_lengths(lengths, device_type)
    assert sorted(d for group in groups for d in group) == list(range(64))
    padded = sum(max(lengths[d] for d in group) * len(group) for group in groups)
    assert padded <= most * sum(lengths)
    assert 64 * max(lengths) > 1.7 * sum(lengths)


def test_equal_lengths_are_one_rectangle() -> None:
    layout = make_layout((9, 9, 9), CPU)
    assert layout.uniform == (3, 9)
    assert layout.groups == ()
    assert len(make_layout(MIXED, CPU).groups) > 1


def test_layout_made_for_sampling_serves_training() -> None:
    with torch.inference_mode():
        layout = make_layout((4, 6, 1), CPU)
    assert not any(group.tokens.is_inference() for group in layout.groups)


LONG = (700, 256, 513, 3)
"""Longer than a block, exactly one, one and a bit; and a short one."""


def learning(total: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    rotated, value = (tensor.to(dtype).requires_grad_() for tensor in inputs(total))
    weight = torch.randn(total, HEADS, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)
    return rotated, value, weight


@pytest.mark.parametrize("window", [1, 2, 255, 256, 257, 300, 512, 699, 700, 2000])
@pytest.mark.parametrize("lengths", [(700,), (513, 513), LONG], ids=["one", "equal", "groups"])
def test_a_window_in_bands_is_the_masked_textbook(lengths: tuple[int, ...], window: int) -> None:
    rotated, value, weight = learning(sum(lengths))
    out = attend(rotated, value, make_layout(lengths, CPU), scale=0.3, window=window)
    (out * weight).sum().backward()
    ours = rotated.grad, value.grad
    rotated.grad = value.grad = None
    parts = []
    for start, length in zip(torch.tensor([0, *lengths]).cumsum(0).tolist(), lengths, strict=False):
        part = slice(start, start + length)
        parts.append(plain(rotated[part], value[part], window))
    expected = torch.cat(parts)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours[0], rotated.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(ours[1], value.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("past", [1, 255, 300, 600])
@pytest.mark.parametrize("window", [40, 256, 290])
def test_a_window_reaches_into_a_long_prefix(window: int, past: int) -> None:
    lengths = (280, 5, 280)
    rotated, value, weight = learning(past + sum(lengths))
    out = attend_after_prefix(rotated, value, make_layout(lengths, CPU), past, scale=0.3, window=window)
    (out * weight).sum().backward()
    ours = rotated.grad, value.grad
    rotated.grad = value.grad = None
    parts, start = [plain(rotated[:past], value[:past], window)], past
    for length in lengths:
        index = [*range(past), *range(start, start + length)]
        parts.append(plain(rotated[index], value[index], window)[past:])
        start += length
    torch.testing.assert_close(out, torch.cat(parts), atol=1e-12, rtol=0)
    (torch.cat(parts) * weight).sum().backward()
    torch.testing.assert_close(ours[0], rotated.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(ours[1], value.grad, atol=1e-12, rtol=0)


def test_a_window_in_half_precision_is_near_the_textbook() -> None:
    rotated, value, _ = learning(700, torch.bfloat16)
    out = attend(rotated, value, make_layout((700,), CPU), scale=0.3, window=300)
    expected = plain(rotated, value, 300)
    assert (out.double() - expected).abs().max() < 0.03
    out.float().sum().backward()
    assert rotated.grad is not None
    assert bool(rotated.grad.isfinite().all())


def test_a_few_queries_after_many_keys_see_their_window() -> None:
    rotated, value, _ = learning(900)
    query, key = rotated[:, :HEADS], rotated[:, HEADS:]
    rectangles = [tensor.transpose(0, 1)[None] for tensor in (query[890:], key, value)]
    out = attend_uniform(*rectangles, scale=0.3, window=33)
    torch.testing.assert_close(out[0].transpose(0, 1), plain(rotated, value, 33)[890:], atol=1e-12, rtol=0)


def kept_bytes(length: int, window: int) -> int:
    """What one windowed layer keeps for its backward pass."""
    rotated, value, _ = learning(length, torch.float32)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = attend(rotated, value, make_layout((length,), CPU), scale=0.3, window=window)
    return sum(kept.values()) + out.nbytes


def test_a_window_costs_memory_as_the_length_and_not_as_its_square() -> None:
    short, long = kept_bytes(2048, 256), kept_bytes(8192, 256)
    assert long < 4.5 * short
    assert long < 8192 * 8192 // 8  # a mask of all pairs would be eight times as much


def test_blocks_cover_their_window() -> None:
    for window in (1, 2, 256, 257, 511, 512, 513, 4096):
        block, reach = band_blocks(window)
        # the first query of a block stands at its start: the blocks before it hold what it may see
        assert (reach - 1) * block >= window - 1
        assert reach <= 3
