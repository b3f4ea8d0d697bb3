"""Causal attention over packed documents: gathered into right-padded groups of similar length, attended, gathered back.

In: queries, keys and values of N tokens end to end, and the documents' lengths. Out: the attended values of the same N
tokens. Right padding is harmless under causality: no token sees one that stands after it, and what padded positions
compute is never gathered back. Shapes: N tokens, D documents of a group, L its longest, S heads, K key-value heads,
W head_dim, P tokens of a shared prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

Prefix = tuple[Tensor, Tensor]
"""Keys and values ``[K, P, W]`` of tokens that all documents of a batch share."""

_CPU_PADDING, _GPU_PADDING = (0.1, 128), (0.2, 2048)
"""The share of a group's positions that padding may waste, once it holds so many.

Below that many, padding is cheaper than another call of the kernel, which on a CPU costs little.
"""
_LEAST_BLOCK = 256
"""Queries that are attended at once under a window, at least."""


@final
@dataclass(frozen=True)
class LengthGroup:
    """Documents attended together.

    Attributes:
        num_documents: D.
        longest: L.
        padded_from_packed: int64 ``[D * L]``: the packed token at each padded position; a document's padding repeats
            its last token.
        packed_from_padded: int64: the padded position of each of the group's tokens, in packed order.
        tokens: int64: the packed indices of the group's tokens, ascending.
    """

    num_documents: int
    longest: int
    padded_from_packed: Tensor
    packed_from_padded: Tensor
    tokens: Tensor


@final
@dataclass(frozen=True)
class Layout:
    """How a packed batch is attended: as one rectangle when all lengths agree, else in groups."""

    num_tokens: int
    uniform: tuple[int, int] | None
    groups: tuple[LengthGroup, ...]


def group_lengths(lengths: Sequence[int], device_type: str) -> list[list[int]]:
    """Split documents into groups of similar length.

    Walks from the longest down and starts a new group when one more document would waste too much of a group that is
    large enough to matter on such a device.

    Returns:
        Document indices of each group; every document is in exactly one.
    """
    share, small = _CPU_PADDING if device_type == "cpu" else _GPU_PADDING
    order = sorted(range(len(lengths)), key=lambda d: -lengths[d])
    groups: list[list[int]] = []
    used = 0
    for document in order:
        if groups:
            size = lengths[groups[-1][0]] * (len(groups[-1]) + 1)
            if size <= small or used + lengths[document] >= (1 - share) * size:
                groups[-1].append(document)
                used += lengths[document]
                continue
        groups.append([document])
        used = lengths[document]
    return [sorted(group) for group in groups]


@lru_cache(maxsize=64)
def make_layout(lengths: tuple[int, ...], device: torch.device) -> Layout:
    """The layout of documents of these lengths; remembered, because each layer and each pass needs the same."""
    total = sum(lengths)
    if len(set(lengths)) == 1:
        return Layout(total, (len(lengths), lengths[0]), ())
    # inside torch.inference_mode these would become tensors that training may not use
    with torch.inference_mode(False):
        starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        sizes = torch.tensor(lengths)
        groups = tuple(_group(documents, starts, sizes, device) for documents in group_lengths(lengths, device.type))
    return Layout(total, None, groups)


def _group(documents: list[int], starts: Tensor, sizes: Tensor, device: torch.device) -> LengthGroup:
    chosen = torch.tensor(documents)
    sizes_D1, starts_D1 = sizes[chosen, None], starts[chosen, None]
    longest = int(sizes_D1.max())
    offsets_DL = torch.arange(longest).expand(len(documents), longest)
    real_DL = offsets_DL < sizes_D1
    packed_DL = starts_D1 + torch.minimum(offsets_DL, sizes_D1 - 1)
    real = real_DL.reshape(-1)
    return LengthGroup(
        num_documents=len(documents),
        longest=longest,
        padded_from_packed=packed_DL.reshape(-1).to(device),
        packed_from_padded=real.nonzero().squeeze(1).to(device),
        tokens=packed_DL.reshape(-1)[real].to(device),
    )


@final
class _Split(torch.autograd.Function):
    """Packed to each group's padded rows.

    Padding takes no gradient, so backward writes each token's row once: no scatter with atomics, no sum of groups.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        ctx.layout = layout
        return tuple(packed.index_select(0, group.padded_from_packed) for group in layout.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        layout: Layout = ctx.layout
        out = grads[0].new_empty((layout.num_tokens, *grads[0].shape[1:]))
        for group, grad in zip(layout.groups, grads, strict=True):
            out.index_copy_(0, group.tokens, grad.index_select(0, group.packed_from_padded))
        return out, None


@final
class _Join(torch.autograd.Function):
    """Each group's padded rows to packed; backward leaves padding without gradient."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, *parts: Tensor) -> Tensor:
        ctx.layout = layout
        out = parts[0].new_empty((layout.num_tokens, *parts[0].shape[1:]))
        for group, part in zip(layout.groups, parts, strict=True):
            out.index_copy_(0, group.tokens, part.index_select(0, group.packed_from_padded))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        parts = []
        for group in layout.groups:
            part = grads[0].new_zeros((group.padded_from_packed.shape[0], *grads[0].shape[1:]))
            parts.append(part.index_copy_(0, group.packed_from_padded, grads[0].index_select(0, group.tokens)))
        return None, *parts


def _split(packed: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = _Split.apply(packed, layout)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return parts


def _join(parts: Sequence[Tensor], layout: Layout) -> Tensor:
    out: Tensor = _Join.apply(layout, *parts)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return out


def _attend_causal(query_DSLW: Tensor, key_DKTW: Tensor, value_DKTW: Tensor, *, scale: float) -> Tensor:
    """Query i of L sees keys up to i + T - L: causal, aligned at the end; flash attention where the device has it."""
    num_queries, num_keys = query_DSLW.shape[2], key_DKTW.shape[2]
    same = num_queries == num_keys
    mask = None
    if not same:
        # imported where it is needed: it loads the compiler, which would be 2.5 s of each process's start
        from torch.nn.attention.bias import causal_lower_right

        mask = causal_lower_right(num_queries, num_keys)
    return functional.scaled_dot_product_attention(
        query_DSLW,
        key_DKTW,
        value_DKTW,
        attn_mask=mask,
        is_causal=same,
        scale=scale,
        enable_gqa=query_DSLW.shape[1] != key_DKTW.shape[1],
    )


def band_blocks(window: int) -> tuple[int, int]:
    """Queries of a block, and how many such blocks of keys it looks at: its own and those that its window reaches."""
    block = max(_LEAST_BLOCK, -(-window // 2))
    return block, 1 + -(-(window - 1) // block)


def _attend_window(query_DSLW: Tensor, key_DKTW: Tensor, value_DKTW: Tensor, *, scale: float, window: int) -> Tensor:
    """The same, but a query sees only the last ``window`` of those keys, itself included.

    Blocks of queries against their band of keys: memory and time grow with L · window, not with L · T. Keys are split
    once and bands are joined of whole blocks, so that a backward pass adds up bands too and never all T keys for each.
    """
    num_queries, num_keys = query_DSLW.shape[2], key_DKTW.shape[2]
    grouped = query_DSLW.shape[1] // key_DKTW.shape[1]
    if query_DSLW.is_cuda and grouped > 1:
        # The GPU's fused kernels take a mask or grouped heads, not both.
        key_DKTW = key_DKTW.repeat_interleave(grouped, dim=1)
        value_DKTW = value_DKTW.repeat_interleave(grouped, dim=1)
    block, reach = band_blocks(window)
    whole, rest = divmod(num_queries, block)
    own = [block] * whole + [rest] * (rest > 0)
    before, odd = divmod(num_keys - num_queries, block)  # keys of earlier tokens, so that blocks of both end together
    earlier = [odd] * (odd > 0) + [block] * before
    keys, values = (torch.split(both, earlier + own, dim=2) for both in (key_DKTW, value_DKTW))
    parts_DLSW = []
    for index, query in enumerate(torch.split(query_DSLW, own, dim=2)):
        stop = len(earlier) + index + 1
        band = slice(max(0, stop - reach), stop)
        key, value = (torch.cat(blocks[band], dim=2) for blocks in (keys, values))
        part = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=_band_mask(query.shape[2], key.shape[2], window, query.dtype, query.device),
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts_DLSW.append(part.transpose(1, 2))  # as the kernel lays it out, so that joining copies once
    return torch.cat(parts_DLSW, dim=1).transpose(1, 2)


@lru_cache(maxsize=8)
def _band_mask(num_queries: int, num_keys: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 where a query, aligned with the keys at the end, sees a key, else -inf.

    Additive and in the queries' format: of a mask of truths each call would make, and keep, a copy like this one.
    """
    with torch.inference_mode(False):
        position_T = torch.arange(num_keys, device=device)
        distance_LT = position_T[num_keys - num_queries :, None] - position_T[None, :]
        hidden_LT = (distance_LT < 0) | (distance_LT >= window)
        return torch.zeros((num_queries, num_keys), dtype=dtype, device=device).masked_fill_(hidden_LT, float("-inf"))


def attend_uniform(
    query_DSLW: Tensor, key_DKTW: Tensor, value_DKTW: Tensor, *, scale: float, window: int | None
) -> Tensor:
    """Causal attention of documents of one length, ``[D, S, L, W]``; T - L keys may stand before the first query."""
    if window is None or window >= key_DKTW.shape[2]:
        return _attend_causal(query_DSLW, key_DKTW, value_DKTW, scale=scale)
    return _attend_window(query_DSLW, key_DKTW, value_DKTW, scale=scale, window=window)


def _rectangle(
    rotated: Tensor, value: Tensor, shape: tuple[int, int], *, scale: float, window: int | None, prefix: Prefix | None
) -> Tensor:
    """Attention of ``[D * L, S + K, W]`` as D documents of L tokens; returns ``[D * L, S, W]``."""
    documents, length = shape
    num_kv_heads, width = value.shape[1], value.shape[2]
    num_heads = rotated.shape[1] - num_kv_heads
    rotated_DRLW = rotated.view(documents, length, num_heads + num_kv_heads, width).transpose(1, 2)
    query_DSLW, key_DKLW = torch.split(rotated_DRLW, [num_heads, num_kv_heads], dim=1)
    value_DKLW = value.view(documents, length, num_kv_heads, width).transpose(1, 2)
    if prefix is not None:
        past_key_KPW, past_value_KPW = prefix
        key_DKLW = torch.cat((past_key_KPW.expand(documents, -1, -1, -1), key_DKLW), dim=2)
        value_DKLW = torch.cat((past_value_KPW.expand(documents, -1, -1, -1), value_DKLW), dim=2)
    out_DSLW = attend_uniform(query_DSLW, key_DKLW, value_DKLW, scale=scale, window=window)
    return out_DSLW.transpose(1, 2).reshape(documents * length, num_heads, width)


def attend(
    rotated_NRW: Tensor,
    value_NKW: Tensor,
    layout: Layout,
    *,
    scale: float,
    window: int | None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Causal attention inside each document of a packed batch.

    Args:
        rotated_NRW: Rotated queries, then rotated keys, ``[N, S + K, W]``.
        value_NKW: Values; each of the K heads serves S / K query heads.
        layout: From :func:`make_layout`.
        scale: Factor on the products.
        window: How many tokens a query sees, itself included; None for all before it.
        prefix: Keys and values ``[K, P, W]`` that every document continues.

    Returns:
        ``[N, S, W]``.
    """
    if layout.uniform is not None:
        return _rectangle(rotated_NRW, value_NKW, layout.uniform, scale=scale, window=window, prefix=prefix)
    parts = []
    for group, rotated, value in zip(
        layout.groups, _split(rotated_NRW, layout), _split(value_NKW, layout), strict=True
    ):
        shape = (group.num_documents, group.longest)
        parts.append(_rectangle(rotated, value, shape, scale=scale, window=window, prefix=prefix))
    return _join(parts, layout)


def attend_after_prefix(
    rotated_NRW: Tensor, value_NKW: Tensor, layout: Layout, prefix_length: int, *, scale: float, window: int | None
) -> Tensor:
    """Attention of a batch whose first P tokens are a prefix that all documents continue.

    Args:
        rotated_NRW: As for :func:`attend`, the prefix in front.
        value_NKW: Likewise.
        layout: Of the documents without the prefix.
        prefix_length: P.
        scale: Factor on the products.

    Returns:
        ``[N, S, W]``.
    """
    num_kv_heads = value_NKW.shape[1]
    head_rotated, head_value = rotated_NRW[:prefix_length], value_NKW[:prefix_length]
    head = _rectangle(head_rotated, head_value, (1, prefix_length), scale=scale, window=window, prefix=None)
    prefix = (head_rotated[:, -num_kv_heads:].transpose(0, 1), head_value.transpose(0, 1))
    rest = attend(
        rotated_NRW[prefix_length:], value_NKW[prefix_length:], layout, scale=scale, window=window, prefix=prefix
    )
    return torch.cat((head, rest))
