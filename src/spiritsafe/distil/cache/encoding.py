"""Rows as bytes: sorted ids in Elias-Fano code, head probabilities in 8 bits, two float16 a row.

In: :class:`RowEstimates`. Out: bytes, and the rows back. The ids of a block, each plus its row times the vocabulary
size, ascend; a list of n ascending numbers below U costs about ``n · (2 + log2(U / n))`` bits (Elias, J. ACM 21 (1974)
246; Fano 1971). That is 12 to 13 bits an id where plain ids of 49152 cost 16, it says how many ids each row has as
well, and it is coded and decoded without a loop over rows.

Head probabilities are 8-bit steps on a log scale over the span of their row. Both they and the tail mass are rounded
at random, up or down with the odds that keep their expectation, so rounding adds a little noise and no bias: what
remains is the second-order effect of scaling the head to its mass, at most ``step²`` relative, with
``step = span / 255`` nats (0.03 for a span of 8). Entropy is rounded to nearest (2^-11 relative).

Layout of a block of R rows: numbers of head ids and draws (4 bytes each), spans (R), probability codes (1 a head id),
tail masses (2 R), entropies (2 R), head ids, draws. A general compressor finds 4 % more (zlib at its slowest, rows of
SmolLM2-135M), which does not pay for a second pass over every block.

Shapes: R rows, F head ids, n numbers of any list.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import IntegrityError
from spiritsafe.distil.cache.estimate import Ints, RowEstimates, place_in_row, row_of
from spiritsafe.stats import Floats

SPAN_STEP = 0.125
"""Nats between two codes of a row's span; the largest, 255, is a span of 31.9."""

_LEVELS = 255
_COUNT = np.dtype("<u4")
_HALF = np.dtype("<f2")

Bytes = npt.NDArray[np.uint8]


def _low_bits(num: int, universe: int) -> int:
    """How many low bits of each number stand apart, so that the whole is shortest."""
    return min(range(universe.bit_length()), key=lambda low: num * low + ((universe - 1) >> low))


def sorted_bytes(num: int, universe: int) -> int:
    """Bytes of a coded list of ``num`` numbers below ``universe``."""
    if not num:
        return 0
    low = _low_bits(num, universe)
    return -(-num * low // 8) + -(-(num + ((universe - 1) >> low)) // 8)


def encode_sorted(numbers_n: Ints, universe: int) -> bytes:
    """Code an ascending list (repeats allowed): low bits plain, high parts unary (bit ``high + place`` is set)."""
    num = len(numbers_n)
    if not num:
        return b""
    low = _low_bits(num, universe)
    plain = ((numbers_n[:, None] >> np.arange(low)) & 1).astype(np.uint8)
    unary = np.zeros(num + ((universe - 1) >> low), dtype=np.uint8)
    unary[(numbers_n >> low) + np.arange(num)] = 1
    return np.packbits(plain).tobytes() + np.packbits(unary).tobytes()


def decode_sorted(data: Bytes, num: int, universe: int) -> Ints:
    """The list back.

    Args:
        data: What :func:`encode_sorted` gave, as bytes.
        num: How many numbers it holds.
        universe: As given to the encoder.

    Raises:
        IntegrityError: These are not so many numbers.
    """
    if not num:
        return np.zeros(0, dtype=np.int64)
    low = _low_bits(num, universe)
    split = -(-num * low // 8)
    plain = np.unpackbits(data[:split], count=num * low).reshape(num, low)
    places = np.flatnonzero(np.unpackbits(data[split:], count=num + ((universe - 1) >> low)))
    if len(places) != num:
        raise _damaged(f"it holds {len(places)} ids instead of {num}")
    numbers_n = places - np.arange(num) << low
    for bit in range(low):
        numbers_n |= plain[:, bit].astype(np.int64) << bit
    return numbers_n


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(f"A block of cached rows is damaged: {what}.", hint="Capture the documents again.")


def _takes_upper(values: Floats, lower: Floats, upper: Floats, uniforms: Floats) -> npt.NDArray[np.bool_]:
    """Whether to round to ``upper``, so that the expectation is the value."""
    return uniforms * (upper - lower) < values - lower


def _encode_head(rows: RowEstimates, uniforms_F: Floats) -> tuple[bytes, bytes]:
    """Spans of the rows, codes of the head ids."""
    row_F = row_of(rows.num_head_R)
    top_R = np.full(len(rows), -np.inf)
    np.maximum.at(top_R, row_F, rows.head_log_probs_F)
    below_F = top_R[row_F] - rows.head_log_probs_F
    span_R = np.zeros(len(rows))
    np.maximum.at(span_R, row_F, np.minimum(below_F, 255 * SPAN_STEP))
    codes_R = np.ceil(span_R / SPAN_STEP)
    step_F = (np.maximum(codes_R, 1) * (SPAN_STEP / _LEVELS))[row_F]
    exact_F = np.minimum(below_F / step_F, _LEVELS)  # what is less likely than the span allows takes the last level
    floor_F = np.floor(exact_F)
    upper_F, lower_F = np.exp(-floor_F * step_F), np.exp(-(floor_F + 1) * step_F)
    up_F = _takes_upper(np.exp(-exact_F * step_F), lower_F, upper_F, uniforms_F)
    level_F = np.minimum(floor_F + ~up_F, _LEVELS)
    return codes_R.astype(np.uint8).tobytes(), level_F.astype(np.uint8).tobytes()


def _encode_log_masses(log_mass_R: Floats, uniforms_R: Floats) -> bytes:
    """Float16, rounded at random so that each mass, not its log, keeps its expectation."""
    with np.errstate(over="ignore"):
        near = log_mass_R.astype(_HALF)
    towards = np.where(near > log_mass_R, _HALF.type(-np.inf), _HALF.type(0.0))
    other = np.nextafter(near, towards, dtype=_HALF)
    lower, upper = np.minimum(near, other), np.maximum(near, other)
    mass_lower, mass_upper = (np.exp(end.astype(np.float64)) for end in (lower, upper))
    up = _takes_upper(np.exp(log_mass_R), mass_lower, mass_upper, uniforms_R)
    is_exact = near.astype(np.float64) == log_mass_R
    return np.where(is_exact, near, np.where(up, upper, lower)).astype(_HALF).tobytes()


def encode_rows(rows: RowEstimates, vocab_size: int, uniforms_RU: Floats) -> bytes:
    """Code a block.

    Args:
        uniforms_RU: Random numbers in [0, 1) for rounding: one for the tail mass of each row, then one for each of its
            head ids.
    """
    row_F, row_D = row_of(rows.num_head_R), row_of(rows.num_draws_R)
    spans, levels = _encode_head(rows, uniforms_RU[row_F, 1 + place_in_row(rows.num_head_R)])
    universe = len(rows) * vocab_size
    return b"".join(
        (
            np.array([len(row_F), len(row_D)], dtype=_COUNT).tobytes(),
            spans,
            levels,
            _encode_log_masses(rows.log_tail_mass_R, uniforms_RU[:, 0]),
            rows.entropy_R.astype(_HALF).tobytes(),
            encode_sorted(row_F * vocab_size + rows.head_ids_F, universe),
            encode_sorted(row_D * vocab_size + rows.tail_ids_D, universe),
        )
    )


@final
class _Cursor:
    """Takes bytes from the front; refuses to take more than there are."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, num_bytes: int) -> Bytes:
        self._at += num_bytes
        if self._at > len(self._data):
            raise _damaged("it ends too early")
        return self._data[self._at - num_bytes : self._at]

    def typed(self, kind: np.dtype[Any], num: int) -> npt.NDArray[Any]:
        return self.take(num * kind.itemsize).copy().view(kind)

    def end(self) -> None:
        if self._at != len(self._data):
            raise _damaged("it is longer than its rows")


def decode_rows(data: Bytes, num_rows: int, vocab_size: int) -> RowEstimates:
    """The rows of a block.

    Args:
        data: What :func:`encode_rows` gave, as bytes.
        num_rows: How many rows it holds.
        vocab_size: As given to the encoder.

    Raises:
        IntegrityError: The block is damaged.
    """
    cursor, universe = _Cursor(data), num_rows * vocab_size
    num_head, num_draws = (int(count) for count in cursor.typed(_COUNT, 2))
    step_R = np.maximum(cursor.take(num_rows).astype(np.float64), 1.0) * (SPAN_STEP / _LEVELS)
    levels_F = cursor.take(num_head)
    log_tail_mass_R, entropy_R = (cursor.typed(_HALF, num_rows).astype(np.float64) for _ in range(2))
    head_F, tail_D = (
        decode_sorted(cursor.take(sorted_bytes(num, universe)), num, universe) for num in (num_head, num_draws)
    )
    cursor.end()
    row_F, row_D = head_F // vocab_size, tail_D // vocab_size
    if max(row_F.max(initial=0), row_D.max(initial=0)) >= max(num_rows, 1):
        raise _damaged("an id is outside the vocabulary")
    return RowEstimates(
        num_head_R=np.bincount(row_F, minlength=num_rows),
        head_ids_F=head_F - row_F * vocab_size,
        head_log_probs_F=-levels_F.astype(np.float64) * step_R[row_F],
        num_draws_R=np.bincount(row_D, minlength=num_rows),
        tail_ids_D=tail_D - row_D * vocab_size,
        log_tail_mass_R=log_tail_mass_R,
        entropy_R=entropy_R,
    )
