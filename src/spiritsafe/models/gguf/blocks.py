"""Numbers as GGUF's blocks: float32 rows in, the bytes of a tensor out.

The ``gguf`` library quantises the simple types as llama.cpp does; it has no Q6_K, which heads need, so that is here:
llama.cpp's ``quantize_row_q6_K_ref`` without an importance matrix, step by step, for all groups of a chunk at once.
Shapes: B blocks of 256 numbers, each 16 groups of 16, G groups in all.
"""

from __future__ import annotations

from typing import Any, cast

import gguf
import numpy as np
from gguf import GGMLQuantizationType

_BLOCK, _GROUP, _GROUPS = 256, 16, 16
_CHUNK_NUMBERS = 1 << 22
_LEVELS = 32  # six bits with a sign: -32 to 31
_SMALLEST = np.float32(1e-15)

_Floats = np.ndarray[Any, np.dtype[np.float32]]
TensorBytes = np.ndarray[Any, np.dtype[np.uint8]]


def to_blocks(rows: _Floats, kind: GGMLQuantizationType) -> TensorBytes:
    """A tensor's bytes, row after row.

    Args:
        rows: float32; its last axis is whole blocks of the type.
        kind: A type that is written here: float, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q6_K.
    """
    if kind == GGMLQuantizationType.Q6_K:
        blocks = rows.reshape(-1, _BLOCK)
        step = _CHUNK_NUMBERS // _BLOCK
        chunks = [_q6_k(blocks[start : start + step]) for start in range(0, len(blocks), step)]
        return np.concatenate(chunks).reshape(-1)
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, which the caller looks for
        return cast(TensorBytes, gguf.quantize(rows, kind).reshape(-1).view(np.uint8))


def _nearest(values: Any) -> _Floats:
    """Whole numbers, ties to even, between the two ends of six bits."""
    return cast(_Floats, np.clip(np.rint(values), -_LEVELS, _LEVELS - 1))


def _sums(first_GN: _Floats, second_GN: _Floats) -> _Floats:
    """Sum of products of each group, added one after the other in float32."""
    total_G = np.zeros(len(first_GN), np.float32)
    for column in range(first_GN.shape[1]):
        total_G += first_GN[:, column] * second_GN[:, column]
    return total_G


def _fit(values_GN: _Floats) -> tuple[_Floats, _Floats]:
    """The scale of each group of 16 that fits best, numbers weighted by their squares, and the levels at that scale.

    It is ``make_qx_quants``: the end of the scale is tried at 31.1 to 32.9 levels.
    """
    largest_G = np.take_along_axis(values_GN, np.abs(values_GN).argmax(1)[:, None], 1)[:, 0]
    is_zero_G = np.abs(largest_G) < _SMALLEST
    safe_G = np.where(is_zero_G, np.float32(1), largest_G)
    weighted_GN = values_GN * values_GN * values_GN
    squares_GN = values_GN * values_GN
    scale_G, best_G, chosen_GN = np.zeros_like(safe_G), np.zeros_like(safe_G), np.zeros_like(values_GN)
    for shift in (0, *range(-9, 0), *range(1, 10)):
        # llama.cpp computes 0.1f*is in float32
        inverse_G = -(np.float32(_LEVELS) + np.float32(0.1) * np.float32(shift)) / safe_G
        level_GN = _nearest(inverse_G[:, None] * values_GN)
        along_G, size_G = _sums(weighted_GN, level_GN), _sums(squares_GN * level_GN, level_GN)
        is_better_G = (size_G > 0) & ((along_G * along_G > best_G * size_G) | (shift == 0))
        found_G = along_G / np.where(size_G > 0, size_G, np.float32(1))
        scale_G = np.where(is_better_G, found_G, scale_G)
        best_G = np.where(is_better_G, found_G * along_G, best_G)
        chosen_GN = np.where(is_better_G[:, None], level_GN, chosen_GN)
    chosen_GN[is_zero_G] = -_LEVELS
    return np.where(is_zero_G, np.float32(0), scale_G), chosen_GN


def _q6_k(values_BN: _Floats) -> TensorBytes:
    """Blocks of 256 numbers as 210 bytes: low four bits, high two bits, a scale a group, and their common factor."""
    num_blocks = len(values_BN)
    scale_G, fitted_GN = _fit(values_BN.reshape(-1, _GROUP))
    scales_BK, fitted_BKN = scale_G.reshape(num_blocks, _GROUPS), fitted_GN.reshape(num_blocks, _GROUPS, _GROUP)
    widest_B = np.take_along_axis(scales_BK, np.abs(scales_BK).argmax(1)[:, None], 1)[:, 0]
    is_zero_B = np.abs(widest_B) < _SMALLEST
    inverse_B = np.float32(-128) / np.where(is_zero_B, np.float32(1), widest_B)
    factor_B = np.where(is_zero_B, np.float32(0), np.float32(1) / inverse_B).astype(np.float16)
    whole_BK = np.minimum(127, np.rint(inverse_B[:, None] * scales_BK))
    step_BK = factor_B.astype(np.float32)[:, None] * whole_BK
    step_BK1 = step_BK[:, :, None]
    groups_BKN = values_BN.reshape(num_blocks, _GROUPS, _GROUP)
    level_BKN = _nearest(groups_BKN / np.where(step_BK1 == 0, np.float32(1), step_BK1))
    level_BKN = np.where(step_BK1 == 0, fitted_BKN, level_BKN)  # a step that vanished in half precision is zero anyhow
    codes_BN = (level_BKN + _LEVELS).astype(np.uint8).reshape(num_blocks, 2, 4, 32)
    codes_BN[is_zero_B] = 0
    low = codes_BN & 0x0F
    high = codes_BN >> 4
    out = np.empty((num_blocks, 210), np.uint8)
    packed = np.stack((low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4), axis=2)
    out[:, :128] = packed.reshape(num_blocks, 128)
    joined = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    out[:, 128:192] = joined.reshape(num_blocks, 64)
    out[:, 192:208] = np.where(is_zero_B[:, None], 0, whole_BK).astype(np.int8).view(np.uint8)
    out[:, 208:] = factor_B.view(np.uint8).reshape(num_blocks, 2)
    return out
