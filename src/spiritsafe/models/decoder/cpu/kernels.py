"""Compiled loops of a decode step on a CPU: products with bfloat16, attention, norms and gates.

In: arrays, or addresses and sizes. Out: results in memory that the caller gives. bfloat16, of which numba and NumPy
know nothing, is its bits in uint16. Sums are float32; numbers are rounded to bfloat16 where the module's own operations
round them, so that both compute the same but for the order of sums. All are in one file, because numba tells by it
whether machine code that it kept is still theirs. Shapes: N tokens, H hidden width, S heads, K key-value heads,
G = S / K, W head_dim, F feed-forward width, T positions, I and O numbers that enter and leave a product, P its panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Array = np.ndarray[Any, Any]

PANEL = 32
"""Outputs of a product that are computed together: two of the processor's vectors."""
_MOST_ROWS = 12
"""Tokens that are multiplied together: with two vectors of sums each, as many as the processor has room for."""
_POSITIONS = 256
"""Of a head's keys that all its queries see before the next are read: they stay in cache."""
_KINDS = {"float32": np.float32, "bfloat16": np.uint16}
_OPTIONS = {
    "boundscheck": False,
    "error_model": "numpy",
    # sums in any order; infinities and NaN stay what they are
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


def _kept(compile_function: Callable[..., Any], function: _Function, **options: Any) -> Any:
    """Compile; machine code is kept beside this file, or in the user's cache, or nowhere."""
    try:
        return compile_function(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write
        return compile_function(**options)(function)


def compiled(function: _Function) -> _Function:
    """Compile for the types that it is called with."""
    kernel: _Function = _kept(numba.njit, function, nogil=True, **_OPTIONS)
    return kernel


def _entry(function: Callable[[Any], None]) -> Any:
    """Compile a function of a job's address, which threads enter that know nothing of Python."""
    return _kept(_entry_compiler, function)


def _entry_compiler(*, cache: bool = False) -> Callable[[Callable[[Any], None]], Any]:
    made: Callable[[Callable[[Any], None]], Any] = numba.cfunc(
        types.void(types.CPointer(types.int64)), cache=cache, **_OPTIONS
    )
    return made


def _inlined(function: _Function) -> _Function:
    """Make it part of whatever calls it.

    As a function of its own it would exist twice: compiled by itself, and as a copy in its caller's kept machine code.
    The two may add in another order, so that the process that compiles and the next one would differ in last bits.
    """
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


def widened(number: Any) -> Any:
    """A stored number as float32."""
    raise NotImplementedError  # only in compiled loops, where what stands below is in its place


def narrowed(number: Any, like: Any) -> Any:
    """A float32 as an array stores it: bfloat16 rounds to nearest, ties to even."""
    raise NotImplementedError  # as above


@overload(widened, inline="always")  # type: ignore[untyped-decorator]
def _widened(number: Any) -> Callable[[Any], Any]:
    def of_bits(number: Any) -> Any:
        return _float_of_bits(np.uint32(number) << np.uint32(16))

    def same(number: Any) -> Any:
        return number

    return of_bits if isinstance(number, types.Integer) else same


@overload(narrowed, inline="always")  # type: ignore[untyped-decorator]
def _narrowed(number: Any, like: Any) -> Callable[[Any, Any], Any]:
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


@intrinsic  # type: ignore[untyped-decorator]
def _at(typing_context: Any, address: Any) -> Any:
    """An address as what :func:`numba.carray` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _take(typing_context: Any, counter: Any) -> Any:
    """The number at an address, which is one more for whoever comes next, of all threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


@compiled
def add_and_norm(
    update_NH: _Array, multiplier: float, stream_NH: _Array, weight_H: _Array, eps: float, out_NH: _Array
) -> None:
    """Add ``update * multiplier`` to the stream, in place; ``out`` becomes its root-mean-square norm.

    Args:
        weight_H: float32.
    """
    num_rows, width = stream_NH.shape
    for n in range(num_rows):
        if multiplier != np.float32(1.0):
            for h in range(width):
                update_NH[n, h] = narrowed(widened(update_NH[n, h]) * multiplier, update_NH)
        squares = np.float32(0.0)
        for h in range(width):
            stored = narrowed(widened(update_NH[n, h]) + widened(stream_NH[n, h]), stream_NH)
            stream_NH[n, h] = stored
            squares += widened(stored) * widened(stored)
        inverse = np.float32(1.0) / np.sqrt(squares / np.float32(width) + eps)
        for h in range(width):
            out_NH[n, h] = narrowed(widened(stream_NH[n, h]) * inverse * weight_H[h], out_NH)


@compiled
def gate(gate_up_N2F: _Array, out_NF: _Array) -> None:
    """``silu(gate) * up``, of both side by side."""
    num_rows, width = out_NF.shape
    for n in range(num_rows):
        for f in range(width):
            number = widened(gate_up_N2F[n, f])
            opened = widened(narrowed(number / (np.float32(1.0) + exponential(-number)), out_NF))
            out_NF[n, f] = narrowed(opened * widened(gate_up_N2F[n, width + f]), out_NF)


@_inlined
def _scores(query_GW: _Array, keys_TW: _Array, scale: float, out_GT: _Array) -> None:
    """Products of queries with keys. Four keys at a time, so that four sums run side by side."""
    num_keys, width = keys_TW.shape
    for g in range(len(query_GW)):
        for t in range(0, num_keys - 3, 4):
            first = second = third = fourth = np.float32(0.0)
            for w in range(width):
                number = query_GW[g, w]
                first += number * widened(keys_TW[t, w])
                second += number * widened(keys_TW[t + 1, w])
                third += number * widened(keys_TW[t + 2, w])
                fourth += number * widened(keys_TW[t + 3, w])
            out_GT[g, t], out_GT[g, t + 1] = first * scale, second * scale
            out_GT[g, t + 2], out_GT[g, t + 3] = third * scale, fourth * scale
        for t in range(num_keys // 4 * 4, num_keys):
            single = np.float32(0.0)
            for w in range(width):
                single += query_GW[g, w] * widened(keys_TW[t, w])
            out_GT[g, t] = single * scale


@_inlined
def _softmax(scores_GT: _Array) -> None:
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


@_inlined
def _add_mixed(weights_GT: _Array, values_TW: _Array, sum_GW: _Array) -> None:
    """Add the weighted values to sums; four values at a time, so that sums are read and written less."""
    num_values, width = values_TW.shape
    for g in range(len(weights_GT)):
        for t in range(0, num_values - 3, 4):
            first, second = weights_GT[g, t], weights_GT[g, t + 1]
            third, fourth = weights_GT[g, t + 2], weights_GT[g, t + 3]
            for w in range(width):
                sum_GW[g, w] += (first * widened(values_TW[t, w]) + second * widened(values_TW[t + 1, w])) + (
                    third * widened(values_TW[t + 2, w]) + fourth * widened(values_TW[t + 3, w])
                )
        for t in range(num_values // 4 * 4, num_values):
            for w in range(width):
                sum_GW[g, w] += weights_GT[g, t] * widened(values_TW[t, w])


@_inlined
def _turned(
    row: _Array, start: int, norm_W: _Array, eps: float, cos_W: _Array, sin_W: _Array, head_W: _Array, out_W: _Array
) -> None:
    """One head of a row, normed if there are weights for it, and rotated, as float32.

    Args:
        head_W: Room for the head.
    """
    width, half = len(out_W), len(out_W) // 2
    squares = np.float32(0.0)
    for w in range(width):
        head_W[w] = widened(row[start + w])
        squares += head_W[w] * head_W[w]
    if len(norm_W) > 0:
        inverse = np.float32(1.0) / np.sqrt(squares / np.float32(width) + eps)
        for w in range(width):
            head_W[w] = widened(narrowed(head_W[w] * inverse * norm_W[w], row))
    for w in range(half):
        one, other = head_W[w], head_W[half + w]
        low = widened(narrowed(one * widened(cos_W[w]), row)) + widened(narrowed(other * widened(sin_W[w]), row))
        high = widened(narrowed(other * widened(cos_W[half + w]), row)) + widened(
            narrowed(one * widened(sin_W[half + w]), row)
        )
        out_W[w], out_W[half + w] = widened(narrowed(low, row)), widened(narrowed(high, row))


@_inlined
def _attend(
    qkv_NR: _Array,
    norms_2W: _Array,
    eps: float,
    cos_TW: _Array,
    sin_TW: _Array,
    slots_N: _Array,
    positions_N: _Array,
    cache_2BKTW: _Array,
    k: int,
    scale: float,
    window: int,
    out_NR: _Array,
) -> None:
    """One key-value head of some tokens; see :func:`attention_loop`."""
    num_rows, num_kv_heads, width = len(qkv_NR), cache_2BKTW.shape[2], cache_2BKTW.shape[4]
    num_heads = out_NR.shape[1] // width
    group = num_heads // num_kv_heads
    longest = 0
    for n in range(num_rows):
        longest = max(longest, positions_N[n] + 1)
    head_W, key_W = np.empty(width, np.float32), np.empty(width, np.float32)
    query_GW, mixed_GW = np.empty((group, width), np.float32), np.empty((group, width), np.float32)
    room = np.empty(group * longest, np.float32)
    for n in range(num_rows):
        position = positions_N[n]
        row, cos_W, sin_W = qkv_NR[n], cos_TW[position], sin_TW[position]
        first = max(0, position + 1 - window) if window > 0 else 0
        count = position + 1 - first
        scores_GT = room[: group * count].reshape((group, count))
        keys_TW, values_TW = cache_2BKTW[0, slots_N[n], k], cache_2BKTW[1, slots_N[n], k]
        _turned(row, (num_heads + k) * width, norms_2W[1], eps, cos_W, sin_W, head_W, key_W)
        start = (num_heads + num_kv_heads + k) * width
        for w in range(width):
            keys_TW[position, w] = narrowed(key_W[w], cache_2BKTW)
            values_TW[position, w] = row[start + w]
        for g in range(group):
            _turned(row, (k * group + g) * width, norms_2W[0], eps, cos_W, sin_W, head_W, query_GW[g])
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
                out_NR[n, (k * group + g) * width + w] = narrowed(mixed_GW[g, w], out_NR)


@cache
def attention_loop(stored: str) -> Any:
    """Rotate each token's queries and keys, store keys and values in its slot, and attend to all that the slot holds.

    A job is: 0; N; how many neighbours in N are of one slot, in the order of their positions; S; K; W; slots; T; W of
    norms of heads, or 0 where there are none; the window, or 0; and addresses, of float32 the norms' epsilon and the
    factor of scores; float32 weights of the norms of queries and of keys; cosines and sines ``[T, W]``; slots and
    positions ``[N]``; the layer's keys and values ``[2, slots, K, T, W]``; queries, keys and values side by side
    ``[N, (S + 2K) * W]``; and the result ``[N, S * W]``.

    Args:
        stored: ``float32`` or ``bfloat16``: how all others are stored.
    """
    kind = _KINDS[stored]

    def attention(address: Any) -> None:
        job = carray(address, (19,))
        num_rows, run, num_heads, num_kv_heads, width = job[1], job[2], job[3], job[4], job[5]
        num_slots, num_positions, norm_width, window = job[6], job[7], job[8], job[9]
        eps, scale = carray(_at(job[10]), (2,), np.float32)
        norms_2W = carray(_at(job[11]), (2, norm_width), np.float32)
        cos_TW = carray(_at(job[12]), (num_positions, width), kind)
        sin_TW = carray(_at(job[13]), (num_positions, width), kind)
        slots_N = carray(_at(job[14]), (num_rows,), np.int64)
        positions_N = carray(_at(job[15]), (num_rows,), np.int64)
        cache_2BKTW = carray(_at(job[16]), (2, num_slots, num_kv_heads, num_positions, width), kind)
        qkv_NR = carray(_at(job[17]), (num_rows, (num_heads + 2 * num_kv_heads) * width), kind)
        out_NR = carray(_at(job[18]), (num_rows, num_heads * width), kind)
        while True:
            part = _take(job.ctypes.data)
            if part >= num_rows // run * num_kv_heads:
                break
            rows = slice(part // num_kv_heads * run, (part // num_kv_heads + 1) * run)
            _attend(
                qkv_NR[rows],
                norms_2W,
                eps,
                cos_TW,
                sin_TW,
                slots_N[rows],
                positions_N[rows],
                cache_2BKTW,
                part % num_kv_heads,
                scale,
                window,
                out_NR[rows],
            )

    return _entry(attention)


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which its Python package does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _generate_tile(builder: Any, arguments: Sequence[Any], *, is_narrow: bool) -> None:
    """One loop for each number of rows, so that all sums of a tile stay in registers.

    ``vdpbf16ps`` adds the products of 16 pairs of bfloat16 to 16 float32, ``vcvtneps2bf16`` rounds 16 of these.
    """
    rows, stride, panel, starts, out, out_stride, num_rows, num_pairs = arguments
    word, long = ir.IntType(32), ir.IntType(64)
    words, floats, halves = (ir.VectorType(kind, 16) for kind in (word, ir.FloatType(), _BFloat()))
    pairs = ir.VectorType(_BFloat(), 32)

    def instruction(name: str, result: Any, *given: Any) -> Any:
        full = f"llvm.x86.avx512bf16.{name}.512"
        known = builder.module.globals.get(full)
        return known or ir.Function(builder.module, ir.FunctionType(result, given), full)

    def behind(address: Any, count: Any, size: int) -> Any:
        return builder.add(address, builder.mul(count, ir.Constant(long, size)))

    def load(address: Any, kind: Any) -> Any:
        loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
        loaded.align = 2
        return loaded

    multiply = instruction("dpbf16ps", floats, floats, pairs, pairs)
    firsts = [load(builder.add(starts, ir.Constant(long, 64 * half)), floats) for half in range(2)]
    done = builder.append_basic_block()
    choice = builder.switch(num_rows, done)
    for count in range(1, _MOST_ROWS + 1):
        before, loop, after = (builder.append_basic_block() for _ in range(3))
        choice.add_case(ir.Constant(long, count), before)
        builder.position_at_end(before)
        places = [builder.add(rows, builder.mul(stride, ir.Constant(long, row))) for row in range(count)]
        builder.branch(loop)
        builder.position_at_end(loop)
        pair = builder.phi(long)
        pair.add_incoming(ir.Constant(long, 0), before)
        totals = [[builder.phi(floats) for _ in range(2)] for _ in range(count)]
        column = behind(panel, pair, 128)
        weights = [
            builder.bitcast(load(builder.add(column, ir.Constant(long, 64 * half)), words), pairs) for half in range(2)
        ]
        sums = []
        for place, both in zip(places, totals, strict=True):
            nothing = ir.Constant(words, ir.Undefined)
            single = builder.insert_element(nothing, load(behind(place, pair, 4), word), ir.Constant(word, 0))
            spread = builder.bitcast(builder.shuffle_vector(single, nothing, ir.Constant(words, [0] * 16)), pairs)
            sums.append([builder.call(multiply, [old, spread, one]) for old, one in zip(both, weights, strict=True)])
            for old, new, first in zip(both, sums[-1], firsts, strict=True):
                old.add_incoming(first, before)
                old.add_incoming(new, loop)
        following = builder.add(pair, ir.Constant(long, 1))
        pair.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, num_pairs), loop, after)
        builder.position_at_end(after)
        for row, both in enumerate(sums):
            place = builder.add(out, builder.mul(out_stride, ir.Constant(long, row)))
            for half, new in enumerate(both):
                if is_narrow:
                    new = builder.call(instruction("cvtneps2bf16", halves, floats), [new])
                size = (32 if is_narrow else 64) * half
                target = builder.inttoptr(builder.add(place, ir.Constant(long, size)), new.type.as_pointer())
                builder.store(new, target).align = 2
        builder.branch(done)
    builder.position_at_end(done)


@intrinsic  # type: ignore[untyped-decorator]
def _tile(
    typing_context: Any,
    rows: Any,
    stride: Any,
    panel: Any,
    starts: Any,
    out: Any,
    out_stride: Any,
    num_rows: Any,
    num_pairs: Any,
    like: Any,
) -> Any:
    """Products of 1 to ``_MOST_ROWS`` rows with a panel, added to what they start from, ``PANEL`` numbers of each.

    Numbers at an address are those of an array ``like`` it. Strides are bytes from row to row.
    """
    is_narrow = isinstance(like.dtype, types.Integer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _generate_tile(builder, arguments[:-1], is_narrow=is_narrow)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8, like), generate


@cache
def product_loop(result: str) -> Any:
    """Multiply rows of bfloat16 with a matrix of it that is laid out in panels; only for processors that do.

    A job is: 0; N; I, which is even; O; and addresses, of the result ``[N, O]``, of the rows ``[N, I]``, of the matrix
    ``[P, I / 2, PANEL, 2]``, and of the float32 that are added to the products, ``[P * PANEL]``.

    Args:
        result: ``float32`` or ``bfloat16``.
    """
    kind = _KINDS[result]

    def product(address: Any) -> None:
        job = carray(address, (8,))
        num_rows, num_in, num_out = job[1], job[2], job[3]
        out_NO = carray(_at(job[4]), (num_rows, num_out), kind)
        room = np.empty((_MOST_ROWS, PANEL), kind)
        num_tiles = (num_rows + _MOST_ROWS - 1) // _MOST_ROWS
        step = (num_rows + num_tiles - 1) // max(1, num_tiles)
        while True:
            p = _take(job.ctypes.data)
            first = p * PANEL
            if first >= num_out:
                break
            width = min(PANEL, num_out - first)
            panel, starts = job[6] + first * num_in * 2, job[7] + first * 4
            for n in range(0, num_rows, step):
                count = min(step, num_rows - n)
                target, stride = out_NO.ctypes.data + (n * num_out + first) * room.itemsize, num_out * room.itemsize
                if width < PANEL:
                    target, stride = room.ctypes.data, PANEL * room.itemsize
                _tile(job[5] + n * num_in * 2, num_in * 2, panel, starts, target, stride, count, num_in // 2, room)
                if width < PANEL:
                    for row in range(count):
                        for o in range(width):
                            out_NO[n + row, first + o] = room[row, o]

    return _entry(product)
