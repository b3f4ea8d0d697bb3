"""Keys and values of running sequences: slots of one length, of which memory holds what sequences really use.

In: keys and values of new tokens and where they go. Out: views over the live part of the cache, without copies. On a
CPU the pages of the operating system are the cache's pages: memory that no token was written to costs nothing, and a
slot gives its memory back. (Page tables of our own would mean gathering all keys and values at each step; the idea of
leaving them to virtual memory is that of vAttention, Prabhu et al. 2024.) Shapes: layers, 2 (keys, values), B slots,
K key-value heads, T positions, W head_dim; P tokens of a prefix.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import BudgetError

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # memory is not counted until it is used; Python 3.11 lacks it
_WORTH_RELEASING = 256
"""Positions; a slot that used fewer keeps its memory for the next sequence."""


def _lazy_zeros(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, mmap.mmap]:
    """Zeros on the CPU that take memory page by page as they are written; torch's own are written at once."""
    num_bytes = max(1, torch.Size(shape).numel() * dtype.itemsize)
    if sys.platform == "linux":
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    else:
        memory = mmap.mmap(-1, num_bytes)
    return torch.frombuffer(memory, dtype=dtype, count=torch.Size(shape).numel()).view(*shape), memory


@final
class KVCache:
    """Room for ``num_slots`` sequences of up to ``num_positions`` tokens.

    Raises:
        BudgetError: The memory cannot be had.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_slots: int,
        num_kv_heads: int,
        num_positions: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_layers, 2, num_slots, num_kv_heads, num_positions, head_dim)
        self._memory: mmap.mmap | None = None
        try:
            # zeros, not empty: masked positions are multiplied by a weight of 0, which a stray NaN would survive
            if device.type == "cpu":
                self.data, self._memory = _lazy_zeros(shape, dtype)
            else:
                self.data = torch.zeros(shape, dtype=dtype, device=device)
        except (torch.OutOfMemoryError, RuntimeError, OSError, ValueError, OverflowError) as error:
            num_bytes = torch.Size(shape).numel() * dtype.itemsize
            raise BudgetError(
                f"A key-value cache of {num_slots} sequences × {num_positions} tokens needs {num_bytes / 1e9:.1f} GB.",
                hint="Lower max_batch, max_context or max_tokens.",
            ) from error
        self.num_slots, self.num_positions, self.num_kv_heads = num_slots, num_positions, num_kv_heads
        self._flat = self.data.view(num_layers, -1, head_dim)
        head = torch.arange(num_kv_heads, device=device)
        kind = torch.arange(2, device=device)
        # row of (keys or values, head) for slot 0 at position 0
        self._origin_2K = ((kind[:, None] * num_slots * num_kv_heads + head[None, :]) * num_positions).reshape(-1)

    def grown(self, num_slots: int, num_positions: int, live: Sequence[int]) -> KVCache:
        """A larger cache that holds the first positions of each slot, as many as ``live`` says."""
        num_layers, _, _, num_kv_heads, _, head_dim = self.data.shape
        new = KVCache(
            num_layers=num_layers,
            num_slots=num_slots,
            num_kv_heads=num_kv_heads,
            num_positions=num_positions,
            head_dim=head_dim,
            dtype=self.data.dtype,
            device=self.data.device,
        )
        for slot, length in enumerate(live):
            new.data[:, :, slot, :, :length] = self.data[:, :, slot, :, :length]
        return new

    def rows(self, slots_N: Tensor, positions_N: Tensor) -> Tensor:
        """Where the keys and values of N tokens go; the same in every layer, so made once a step.

        Returns:
            int64 ``[N * 2K]`` for :meth:`write`.
        """
        start_N = slots_N * (self.num_kv_heads * self.num_positions) + positions_N
        return (start_N[:, None] + self._origin_2K[None, :]).reshape(-1)

    def write(self, layer: int, rows: Tensor, key_NKW: Tensor, value_NKW: Tensor) -> None:
        """Store N tokens of one layer."""
        both = torch.cat((key_NKW, value_NKW), dim=1).flatten(0, 1)
        self._flat[layer].index_copy_(0, rows, both.to(self._flat.dtype))

    def view(self, layer: int, slots: slice, num_positions: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a run of slots at positions 0..num_positions-1: ``[B * K, T, W]`` each, no copy."""
        both = self.data[layer, :, slots].flatten(1, 2)[:, :, :num_positions]
        return both[0], both[1]

    def copy_slot(self, source: int, targets: Sequence[int], num_positions: int) -> None:
        """Copy one slot's first positions into others."""
        for target in targets:
            self.data[:, :, target, :, :num_positions] = self.data[:, :, source, :, :num_positions]

    def read_slot(self, slot: int, start: int, end: int) -> Tensor:
        """A copy of one slot's positions, ``[layers, 2, K, P, W]``."""
        return self.data[:, :, slot, :, start:end].clone()

    def fill_slot(self, slot: int, start: int, stored: Tensor) -> None:
        """Write a stored ``[layers, 2, K, P, W]`` into a slot."""
        self.data[:, :, slot, :, start : start + stored.shape[3]] = stored

    def release(self, slot: int, num_positions: int) -> None:
        """Give back the memory of a slot that used so many positions and is free now."""
        if self._memory is None or num_positions < _WORTH_RELEASING or not hasattr(self._memory, "madvise"):
            return
        size = self.data.stride(2) * self.data.element_size()
        for layer in range(self.data.shape[0]):
            for kind in range(2):
                start = self.data[layer, kind, slot].storage_offset() * self.data.element_size()
                first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
                length = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
                if length > 0:
                    self._memory.madvise(mmap.MADV_DONTNEED, first, length)
