"""What stands between the products of a decode step on a CPU, each as one pass over its numbers.

In: arrays of a step, float32, or bfloat16 as its bits in uint16, of which numba and NumPy know nothing. Out: results in
arrays that the caller gives. Sums are float32. Numbers are rounded to bfloat16 where the module's own operations round
them, so that both compute the same but for the order of sums. Shapes: N tokens, H hidden width, S heads, K key-value
heads, G = S / K, W head_dim, F feed-forward width, B slots, T positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]

_FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Sums in any order; infinities and NaN stay what they are."""
_POSITIONS = 256
"""Of a head's keys that all its queries see before the next are read: they stay in cache."""


def compiled(function: _Function) -> _Function:
    """Compile for the types it is called with; machine code is kept beside this file, or in the user's cache."""
    options = {"nogil": True, "boundscheck": False, "error_model": "numpy", "fastmath": _FAST}
    try:
        kernel: _Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write
        kernel = numba.njit(**options)(function)
    return kernel


def _inlined(function: _Function) -> _Function:
    inner: _Function = numba.njit(inline="always")(function)
    return inner


def _bits(kind: Any, number: Any, make: Callable[[], Any]) -> tuple[Any, Callable[..., Any]]:
    """A signature and the instruction that reads the same 32 bits as another kind of number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], make())

    return kind(number), generate


@intrinsic  # type: ignore[untyped-decorator]
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    return _bits(types.float32, types.uint32, ir.FloatType)


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of_float(typing_context: Any, number: Any) -> Any:
    return _bits(types.uint32, types.float32, lambda: ir.IntType(32))


def wide(number: Any) -> Any:
    """A stored number as float32."""
    raise NotImplementedError


def narrow(number: Any, like: Any) -> Any:
    """A float32 as an array stores it: bfloat16 rounds to nearest, ties to even."""
    raise NotImplementedError


@overload(wide, inline="always")  # type: ignore[untyped-decorator]
def _wide(number: Any) -> Callable[[Any], Any]:
    def of_bits(number: Any) -> Any:
        return _float_of_bits(np.uint32(number) << np.uint32(16))

    def same(number: Any) -> Any:
        return number

    return of_bits if isinstance(number, types.Integer) else same


@overload(narrow, inline="always")  # type: ignore[untyped-decorator]
def _narrow(number: Any, like: Any) -> Callable[[Any, Any], Any]:
    def rounded(number: Any, like: Any) -> Any:
        bits = _bits_of_float(number)  # a NaN that began as bfloat16 has no digits to carry into its sign
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    def same(number: Any, like: Any) -> Any:
        return number

    return rounded if isinstance(like.dtype, types.Integer) else same


@_inlined
def exponential(number: Any) -> Any:
    """To 3 parts in 10 million, as a polynomial, so that many are computed at once (after Cephes' ``expf``).

    Above 88 it is that of 88, below -87 that of -87, which as a share of attention is nothing; NaN stays.
    """
    bounded = np.float32(-87.0) if number < np.float32(-87.0) else number
    bounded = np.float32(88.0) if bounded > np.float32(88.0) else bounded
    power = np.floor(bounded * np.float32(1.44269504) + np.float32(0.5))
    rest = bounded - power * np.float32(0.693359375) - power * np.float32(-2.12194440e-4)
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    return (sum_ * rest * rest + rest + np.float32(1.0)) * _float_of_bits(
        np.uint32(np.int32(power) + np.int32(127)) << np.uint32(23)
    )


@compiled
def add_and_norm(
    update_NH: Array, multiplier: float, stream_NH: Array, weight_H: Array, eps: float, out_NH: Array
) -> None:
    """Add ``update * multiplier`` to the stream, in place; ``out`` becomes its root-mean-square norm.

    Args:
        weight_H: float32.
    """
    num_rows, width = stream_NH.shape
    for n in range(num_rows):
        if multiplier != np.float32(1.0):
            for h in range(width):
                update_NH[n, h] = narrow(wide(update_NH[n, h]) * multiplier, update_NH)
        squares = np.float32(0.0)
        for h in range(width):
            stored = narrow(wide(update_NH[n, h]) + wide(stream_NH[n, h]), stream_NH)
            stream_NH[n, h] = stored
            squares += wide(stored) * wide(stored)
        inverse = np.float32(1.0) / np.sqrt(squares / np.float32(width) + eps)
        for h in range(width):
            out_NH[n, h] = narrow(wide(stream_NH[n, h]) * inverse * weight_H[h], out_NH)


@compiled
def gate(gate_up_N2F: Array, out_NF: Array) -> None:
    """``silu(gate) * up``, of both side by side."""
    num_rows, width = out_NF.shape
    for n in range(num_rows):
        for f in range(width):
            number = wide(gate_up_N2F[n, f])
            opened = wide(narrow(number / (np.float32(1.0) + exponential(-number)), out_NF))
            out_NF[n, f] = narrow(opened * wide(gate_up_N2F[n, width + f]), out_NF)


@compiled
def _scores(query_GW: Array, keys_TW: Array, scale: float, out_GT: Array) -> None:
    """Products of queries with keys. Four keys at a time, so that four sums run side by side."""
    num_keys, width = keys_TW.shape
    for g in range(len(query_GW)):
        for t in range(0, num_keys - 3, 4):
            first = second = third = fourth = np.float32(0.0)
            for w in range(width):
                number = query_GW[g, w]
                first += number * wide(keys_TW[t, w])
                second += number * wide(keys_TW[t + 1, w])
                third += number * wide(keys_TW[t + 2, w])
                fourth += number * wide(keys_TW[t + 3, w])
            out_GT[g, t], out_GT[g, t + 1] = first * scale, second * scale
            out_GT[g, t + 2], out_GT[g, t + 3] = third * scale, fourth * scale
        for t in range(num_keys // 4 * 4, num_keys):
            single = np.float32(0.0)
            for w in range(width):
                single += query_GW[g, w] * wide(keys_TW[t, w])
            out_GT[g, t] = single * scale


@compiled
def _softmax(scores_GT: Array) -> None:
    """Of each row, in place."""
    num_rows, length = scores_GT.shape
    for g in range(num_rows):
        largest = scores_GT[g, 0]
        for t in range(1, length):
            largest = max(largest, scores_GT[g, t])
        total = np.float32(0.0)
        for t in range(length):
            scores_GT[g, t] = exponential(scores_GT[g, t] - largest)
            total += scores_GT[g, t]
        inverse = np.float32(1.0) / total
        for t in range(length):
            scores_GT[g, t] *= inverse


@compiled
def _add_mixed(weights_GT: Array, values_TW: Array, sum_GW: Array) -> None:
    """Add the weighted values to sums; four values at a time, so that sums are read and written less."""
    num_values, width = values_TW.shape
    for g in range(len(weights_GT)):
        for t in range(0, num_values - 3, 4):
            first, second = weights_GT[g, t], weights_GT[g, t + 1]
            third, fourth = weights_GT[g, t + 2], weights_GT[g, t + 3]
            for w in range(width):
                sum_GW[g, w] += (first * wide(values_TW[t, w]) + second * wide(values_TW[t + 1, w])) + (
                    third * wide(values_TW[t + 2, w]) + fourth * wide(values_TW[t + 3, w])
                )
        for t in range(num_values // 4 * 4, num_values):
            for w in range(width):
                sum_GW[g, w] += weights_GT[g, t] * wide(values_TW[t, w])


@compiled
def _turned(
    row: Array, start: int, norm_W: Array, eps: float, cos_W: Array, sin_W: Array, head_W: Array, out_W: Array
) -> None:
    """One head of a row, normed if there are weights for it, and rotated, as float32.

    Args:
        head_W: Room for the head.
    """
    width, half = len(out_W), len(out_W) // 2
    squares = np.float32(0.0)
    for w in range(width):
        head_W[w] = wide(row[start + w])
        squares += head_W[w] * head_W[w]
    if len(norm_W) > 0:
        inverse = np.float32(1.0) / np.sqrt(squares / np.float32(width) + eps)
        for w in range(width):
            head_W[w] = wide(narrow(head_W[w] * inverse * norm_W[w], row))
    for w in range(half):
        one, other = head_W[w], head_W[half + w]
        low = wide(narrow(one * wide(cos_W[w]), row)) + wide(narrow(other * wide(sin_W[w]), row))
        high = wide(narrow(other * wide(cos_W[half + w]), row)) + wide(narrow(one * wide(sin_W[half + w]), row))
        out_W[w], out_W[half + w] = wide(narrow(low, row)), wide(narrow(high, row))


@compiled
def attend(
    qkv_NR: Array,
    norms_2W: Array,
    eps: float,
    cos_TW: Array,
    sin_TW: Array,
    slots_N: Array,
    positions_N: Array,
    cache_2BKTW: Array,
    scale: float,
    window: int,
    out_NR: Array,
) -> None:
    """Rotate each token's queries and key, store key and value in its slot, and attend to all that the slot holds.

    Args:
        qkv_NR: Queries, keys and values of each token, ``(S + 2K) * W``.
        norms_2W: float32 weights of the norms of queries and of keys; ``[2, 0]``: there are none.
        cache_2BKTW: Keys and values of one layer. Tokens of one slot come in the order of their positions.
        window: How many tokens a query sees, itself included; 0: all.
        out_NR: ``S * W``.
    """
    num_rows = len(qkv_NR)
    num_kv_heads, width = cache_2BKTW.shape[2], cache_2BKTW.shape[4]
    num_heads = out_NR.shape[1] // width
    group = num_heads // num_kv_heads
    longest = 0
    for n in range(num_rows):
        longest = max(longest, positions_N[n] + 1)
    head_W, key_W = np.empty(width, np.float32), np.empty(width, np.float32)
    query_SW, mixed_GW = np.empty((num_heads, width), np.float32), np.empty((group, width), np.float32)
    room = np.empty(group * longest, np.float32)
    for n in range(num_rows):
        slot, position = slots_N[n], positions_N[n]
        row, cos_W, sin_W = qkv_NR[n], cos_TW[position], sin_TW[position]
        first = max(0, position + 1 - window) if window > 0 else 0
        count = position + 1 - first
        scores_GT = room[: group * count].reshape((group, count))
        for s in range(num_heads):
            _turned(row, s * width, norms_2W[0], eps, cos_W, sin_W, head_W, query_SW[s])
        for k in range(num_kv_heads):
            keys_TW, values_TW = cache_2BKTW[0, slot, k], cache_2BKTW[1, slot, k]
            _turned(row, (num_heads + k) * width, norms_2W[1], eps, cos_W, sin_W, head_W, key_W)
            start = (num_heads + num_kv_heads + k) * width
            for w in range(width):
                keys_TW[position, w] = narrow(key_W[w], cache_2BKTW)
                values_TW[position, w] = narrow(wide(row[start + w]), cache_2BKTW)
            query_GW = query_SW[k * group : (k + 1) * group]
            for t in range(0, count, _POSITIONS):
                end = min(t + _POSITIONS, count)
                _scores(query_GW, keys_TW[first + t : first + end], scale, scores_GT[:, t:end])
            _softmax(scores_GT)
            mixed_GW[:] = np.float32(0.0)
            for t in range(0, count, _POSITIONS):
                end = min(t + _POSITIONS, count)
                _add_mixed(scores_GT[:, t:end], values_TW[first + t : first + end], mixed_GW)
            for g in range(group):
                for w in range(width):
                    out_NR[n, (k * group + g) * width + w] = narrow(mixed_GW[g, w], out_NR)
