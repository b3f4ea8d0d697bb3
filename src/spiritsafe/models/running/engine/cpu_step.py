"""A decode step of the Decoder on a CPU: its products by torch, all between them in a few passes over the numbers.

In: the stream of the step's tokens and where they stand. Out: their hidden states, and keys and values in the cache.
Between two products the module makes some fifteen operations, which for a few rows cost as much as the products; here
it is one. Without numba (the extra `fast`) the engine makes the module's operations. Shapes: N tokens, H hidden width,
S heads, W head_dim, F feed-forward width.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.models.decoder.module import Block, Decoder, RMSNorm

Array = np.ndarray[Any, Any]

_MOST_WAITING = 1_500_000
"""Products of queries with keys, in a layer, for which all threads but one may wait.

Beyond it the module's operations, which share them, are as fast. (A pool of threads beside torch's, which wait busily,
would be slower than none.)
"""


@cache
def has_kernels() -> bool:
    """Whether this installation can compile them."""
    return importlib.util.find_spec("numba") is not None


def can_fuse(model: Decoder) -> bool:
    """Whether its steps can be made here."""
    return model.device.type == "cpu" and model.dtype in (torch.float32, torch.bfloat16) and has_kernels()


def cache_dtype(model: Decoder) -> torch.dtype:
    """In which format the engine keeps keys and values of such a model."""
    if model.device.type != "cpu" or (can_fuse(model) and torch.get_num_threads() == 1):
        return model.dtype
    return torch.float32  # torch on a CPU multiplies single rows of bfloat16 slowly and imprecisely


def _array(tensor: Tensor) -> Array:
    """The same memory for NumPy, which has no bfloat16: its bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _weight(norm: RMSNorm) -> Array:
    weight: Array = norm.weight.detach().float().numpy()
    return weight


@final
class CpuStep:
    """Steps of a model with the weights that it has now.

    Args:
        model: One of which :func:`can_fuse` is true.
        cos_TW: Of as many positions as the cache has, from :meth:`Decoder.rope_tables`.
        sin_TW: Likewise.
        cache: Keys and values, ``[layers, 2, slots, K, T, W]``, in the model's format or float32.
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
        self._heads = [_head_norms(block) for block in self._blocks]
        self._cos_TW, self._sin_TW = _array(cos_TW), _array(sin_TW)
        self._cache = _array(cache)
        self._eps = np.float32(model.config.rms_norm_eps)
        # loading it takes a third of a second, which is for those who sample
        self._kernels = importlib.import_module("spiritsafe.models.running.engine.cpu_kernels")
        self._compile(model.dtype)

    def pays(self, live_B: Sequence[int], width: int) -> bool:
        """Whether the step is faster here, where attention is one thread's.

        Args:
            live_B: Positions of each slot.
            width: Tokens of each slot.
        """
        if self._cache.dtype != np.float32:  # the module's operations do not read it
            return True
        work = sum(live_B) * width * self._blocks[0].out.in_features
        return work * (1 - 1 / torch.get_num_threads()) <= _MOST_WAITING

    def __call__(self, stream_NH: Tensor, slots_N: Tensor, positions_N: Tensor) -> Tensor:
        """Hidden states after the final norm.

        Args:
            stream_NH: From :meth:`Decoder.embed`; it is overwritten.
            slots_N: Of each token. Tokens of one slot are neighbours, in the order of their positions.
            positions_N: Of each token.
        """
        stream, slots, positions = _array(stream_NH), _array(slots_N), _array(positions_N)
        normed_NH = torch.zeros_like(stream_NH)
        normed, one = _array(normed_NH), np.float32(1.0)
        add_and_norm = self._kernels.add_and_norm
        # adding nothing leaves the stream as it is
        add_and_norm(np.zeros_like(stream), one, stream, self._entry[0], self._eps, normed)
        for layer, block in enumerate(self._blocks):
            qkv, out, gate_up, down = self._products[layer]
            multiplier = np.float32(block.residual_multiplier)
            attended_NR = stream_NH.new_empty(len(stream), block.out.in_features)
            self._attend(layer, _array(qkv(normed_NH)), slots, positions, _array(attended_NR))
            add_and_norm(_array(out(attended_NR)), multiplier, stream, self._middle[layer], self._eps, normed)
            opened_NF = stream_NH.new_empty(len(stream), block.down.in_features)
            self._kernels.gate(_array(gate_up(normed_NH)), _array(opened_NF))
            add_and_norm(_array(down(opened_NF)), multiplier, stream, self._entry[layer + 1], self._eps, normed)
        return normed_NH

    def _attend(self, layer: int, qkv: Array, slots: Array, positions: Array, out: Array) -> None:
        block = self._blocks[layer]
        norms, scale, window = self._heads[layer], np.float32(block.scale), block.window or 0
        self._kernels.attend(
            qkv, norms, self._eps, self._cos_TW, self._sin_TW, slots, positions, self._cache[layer], scale, window, out
        )

    def _compile(self, dtype: torch.dtype) -> None:
        """Now, or read from the disk, rather than while somebody waits for a token."""
        nothing, none = _array(torch.empty(0, 2, dtype=dtype)), np.empty(0, np.int64)
        self._kernels.add_and_norm(nothing, np.float32(1.0), nothing, self._entry[0], self._eps, nothing)
        self._kernels.gate(nothing, nothing)
        self._attend(0, nothing, none, none, nothing)


def _head_norms(block: Block) -> Array:
    if block.q_norm is None or block.k_norm is None:
        return np.empty((2, 0), np.float32)
    return np.stack((_weight(block.q_norm), _weight(block.k_norm)))
