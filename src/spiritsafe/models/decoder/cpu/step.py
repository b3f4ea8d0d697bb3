"""A decode step of the Decoder on a CPU: its products by torch, all between them in a few passes over the numbers.

In: the stream of the step's tokens and where they stand. Out: their hidden states, and keys and values in the cache.
Between two products the module makes some fifteen operations, which for a few rows cost as much as the products; here
it is one. Without numba (the extra `fast`) the engine makes the module's operations. Shapes: N tokens, H hidden width,
S heads, K key-value heads, W head_dim, F feed-forward width.
"""

from __future__ import annotations

import importlib
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.models.decoder.cpu.threads import can_loop, run_loop
from spiritsafe.models.decoder.module import Block, Decoder, RMSNorm

_Array = np.ndarray[Any, Any]


def can_fuse(model: Decoder) -> bool:
    """Whether its steps can be made here."""
    return model.device.type == "cpu" and model.dtype in (torch.float32, torch.bfloat16) and can_loop()


def _array(tensor: Tensor) -> _Array:
    """The same memory for NumPy, which has no bfloat16: its bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _weight(norm: RMSNorm) -> _Array:
    weight: _Array = norm.weight.detach().float().numpy()
    return weight


def _head_norms(block: Block) -> _Array:
    if block.q_norm is None or block.k_norm is None:
        return np.empty((2, 0), np.float32)
    return np.stack((_weight(block.q_norm), _weight(block.k_norm)))


@final
class CpuStep:
    """Steps of a model with the weights that it has now.

    Args:
        model: One of which :func:`can_fuse` is true.
        cos_TW: Of as many positions as the cache has, or more, from :meth:`Decoder.rope_tables`.
        sin_TW: Likewise.
        cache: Keys and values, ``[layers, 2, slots, K, T, W]``, in the model's format.
    """

    def __init__(self, model: Decoder, cos_TW: Tensor, sin_TW: Tensor, cache: Tensor) -> None:
        self._blocks = [block for block in model.blocks if isinstance(block, Block)]
        # called without the module around them, which for one row takes a sixth of the time
        self._products = [
            tuple(one if one.packed is None else one.packed for one in block.projections()) for block in self._blocks
        ]
        # what enters a block is normed where the block before it ends
        self._entry = [_weight(block.input_norm) for block in self._blocks] + [_weight(model.norm)]
        self._middle = [_weight(block.mlp_norm) for block in self._blocks]
        self._head_norms = [_head_norms(block) for block in self._blocks]
        self._eps = np.float32(model.config.rms_norm_eps)
        self._floats = [np.array([self._eps, block.scale], np.float32) for block in self._blocks]
        self._tables, self._cache = (cos_TW, sin_TW), cache
        # loading them takes a third of a second, which is for those who sample
        self._kernels = importlib.import_module("spiritsafe.models.decoder.cpu.kernels")
        self._attention = self._kernels.attention_loop("bfloat16" if model.dtype == torch.bfloat16 else "float32")
        self._compile(model.dtype)

    def __call__(self, stream_NH: Tensor, slots_N: Tensor, positions_N: Tensor, width: int) -> Tensor:
        """Hidden states after the final norm.

        Args:
            stream_NH: From :meth:`Decoder.embed`; it is overwritten.
            slots_N: Of each token, int64.
            positions_N: Of each token, int64.
            width: How many neighbours are of one slot, in the order of their positions.

        Raises:
            IndexError: A position is not in the cache, beyond which loops would write.
        """
        if len(positions_N) and int(positions_N.max()) >= self._cache.shape[4]:
            raise IndexError(f"position {int(positions_N.max())} of {self._cache.shape[4]}")
        stream = _array(stream_NH)
        normed_NH = torch.zeros_like(stream_NH)
        normed, one = _array(normed_NH), np.float32(1.0)
        add_and_norm = self._kernels.add_and_norm
        # adding nothing leaves the stream as it is
        add_and_norm(np.zeros_like(stream), one, stream, self._entry[0], self._eps, normed)
        for layer, block in enumerate(self._blocks):
            qkv, out, gate_up, down = self._products[layer]
            multiplier = np.float32(block.residual_multiplier)
            attended_NR = self._attend(layer, qkv(normed_NH), slots_N, positions_N, width)
            add_and_norm(_array(out(attended_NR)), multiplier, stream, self._middle[layer], self._eps, normed)
            opened_NF = stream_NH.new_empty(len(stream), block.down.in_features)
            self._kernels.gate(_array(gate_up(normed_NH)), _array(opened_NF))
            add_and_norm(_array(down(opened_NF)), multiplier, stream, self._entry[layer + 1], self._eps, normed)
        return normed_NH

    def _attend(self, layer: int, qkv_NR: Tensor, slots_N: Tensor, positions_N: Tensor, width: int) -> Tensor:
        block, cache, norms = self._blocks[layer], self._cache, self._head_norms[layer]
        qkv_NR, slots_N, positions_N = qkv_NR.contiguous(), slots_N.contiguous(), positions_N.contiguous()
        out_NR = qkv_NR.new_empty(len(qkv_NR), block.out.in_features)
        cos_TW, sin_TW = self._tables
        sizes = (
            len(qkv_NR),
            width,
            block.num_heads,
            block.num_kv_heads,
            block.head_dim,
            cache.shape[2],
            cache.shape[4],
        )
        places = (
            self._floats[layer].ctypes.data,
            norms.ctypes.data,
            cos_TW.data_ptr(),
            sin_TW.data_ptr(),
            slots_N.data_ptr(),
            positions_N.data_ptr(),
            cache.data_ptr() + layer * cache.stride(0) * cache.element_size(),
            qkv_NR.data_ptr(),
            out_NR.data_ptr(),
        )
        run_loop(self._attention, (0, *sizes, norms.shape[1], block.window or 0, *places))
        return out_NR

    def _compile(self, dtype: torch.dtype) -> None:
        """Now, or read from the disk, rather than while somebody waits for a token."""
        nothing = _array(torch.empty(0, 2, dtype=dtype))
        self._kernels.add_and_norm(nothing, np.float32(1.0), nothing, self._entry[0], self._eps, nothing)
        self._kernels.gate(nothing, nothing)
