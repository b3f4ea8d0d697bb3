"""Keys and values of running sequences, in one preallocated tensor.

In: keys and values of new tokens and where they go. Out: views over the live part of the cache, without copies.
Shapes: layers, 2 (keys, values), B slots, K key-value heads, T positions, W head_dim; P tokens of a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import BudgetError


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
        try:
            # zeros, not empty: masked positions are multiplied by a weight of 0, which a stray NaN would survive
            self.data = torch.zeros(shape, dtype=dtype, device=device)
        except (torch.OutOfMemoryError, RuntimeError) as error:
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

    def view(self, layer: int, num_slots: int, num_positions: int) -> tuple[Tensor, Tensor]:
        """Keys and values of slots 0..num_slots-1 and positions 0..num_positions-1: ``[B * K, T, W]`` each, no copy."""
        both = self.data[layer, :, :num_slots].flatten(1, 2)[:, :, :num_positions]
        return both[0], both[1]

    def copy_slot(self, source: int, targets: Sequence[int], num_positions: int) -> None:
        """Copy one slot's first positions into others."""
        for target in targets:
            self.data[:, :, target, :, :num_positions] = self.data[:, :, source, :, :num_positions]

    def read_slot(self, slot: int, num_positions: int) -> Tensor:
        """A copy of one slot's first positions, ``[layers, 2, K, P, W]``."""
        return self.data[:, :, slot, :, :num_positions].clone()

    def fill_slots(self, slots: Sequence[int], stored: Tensor) -> None:
        """Write a stored ``[layers, 2, K, P, W]`` at the start of each slot."""
        for slot in slots:
            self.data[:, :, slot, :, : stored.shape[3]] = stored
