"""Bytes of Adam's moments, and which parameters' may be kept in 8 bits.

In: shapes of parameters. Out: bytes of both moments of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

MOMENT_BLOCK = 256
"""Numbers that share a scale in 8-bit moments."""
_LEAST_8_BIT = 4096
"""Smaller parameters keep float32 moments, as in every 8-bit optimiser: nothing would be saved."""


def takes_8_bits(shape: Sequence[int]) -> bool:
    """Whether 8-bit moments of a parameter are in 8 bits: a matrix, not small, with rows of a block at least."""
    return len(shape) > 1 and math.prod(shape) >= _LEAST_8_BIT and math.prod(shape[1:]) >= MOMENT_BLOCK


def moment_bytes(shapes: Iterable[Sequence[int]], moments: Literal["float32", "8bit"]) -> int:
    """Bytes of Adam's two moments of parameters of these shapes."""
    return sum(2 * (_bytes_8_bit(shape) if moments == "8bit" else 4 * math.prod(shape)) for shape in shapes)


def _bytes_8_bit(shape: Sequence[int]) -> int:
    if not takes_8_bits(shape):
        return 4 * math.prod(shape)
    return math.prod(shape) + 4 * shape[0] * -(-math.prod(shape[1:]) // MOMENT_BLOCK)
