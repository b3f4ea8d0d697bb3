"""Adam's moments in 8 bits: a code a number and a float32 scale a block, by bitsandbytes' own quantiser.

In: moments in float32, one row for each row of their parameter. Out: uint8 codes of the same shape, and the largest
magnitude of each block of 256 (arXiv 2110.02861: signed dynamic codes of the first moment, unsigned of the second).
A block never reaches into the next row, so that whoever holds some rows of a parameter holds their blocks; rows of a
multiple of 256 numbers, nearly all there are, come out as bitsandbytes' own optimiser has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.models import MOMENT_BLOCK, bitsandbytes_functions

_SLAB_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Numbers whose moments are in float32 at once: what a processor's cache holds, what keeps a GPU busy."""
_TABLE_SIZE = 1 << 20
_LOWER_BITS = 12


@cache
def _codes(signed: bool, device: torch.device) -> Tensor:
    """The 256 numbers between -1 and 1, or 0 and 1, that a code may mean."""
    codes: Tensor = bitsandbytes_functions().create_dynamic_map(signed=signed).to(device)
    return codes


def num_blocks(width: int) -> int:
    """Scales of a row."""
    return -(-width // MOMENT_BLOCK)


def quantise(values_RW: Tensor, *, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes ``[R, W]``, uint8, and scales ``[R, B]``, float32, of float32 rows.

    Args:
        signed: False for numbers that are never negative. Of these only zero becomes zero: a second moment that is
            rounded away would leave a division by ``eps``, and an update without bound.
    """
    rows, width = values_RW.shape
    blocks = num_blocks(width)
    padded = functional.pad(values_RW, (0, blocks * MOMENT_BLOCK - width))
    codes, scales = (_by_library if padded.is_cuda else _by_table)(padded.view(-1, MOMENT_BLOCK), signed)
    codes_RW = codes.view(rows, -1)[:, :width].contiguous()
    if not signed:
        codes_RW.masked_fill_((codes_RW == 0) & (values_RW > 0), 1)
    return codes_RW, scales.view(rows, blocks)


def _by_library(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    codes, state = bitsandbytes_functions().quantize_blockwise(
        values, code=_codes(signed, values.device), blocksize=MOMENT_BLOCK
    )
    return codes, state.absmax


def _by_table(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """The nearest code, as the library finds it on a GPU; of two that are as near within 1/4096, either.

    On a CPU it looks codes up by steps of 1/32768 of the scale (0.50.2): all that is nearer to zero, zero too, becomes
    2e-5 of it. Steps of a number's own size, its upper 20 bits, find them in the same time.
    """
    scales = values.abs().amax(dim=1)
    shares = values / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    places = (shares.view(torch.int32) >> _LOWER_BITS) & (_TABLE_SIZE - 1)
    return _table(signed).index_select(0, places.view(-1)), scales


@cache
def _table(signed: bool) -> Tensor:
    """The nearest code of every number between -1 and 1, by its upper 20 bits."""
    codes = _codes(signed, torch.device("cpu"))
    half = 1 << (_LOWER_BITS - 1)
    bits = ((torch.arange(_TABLE_SIZE) << _LOWER_BITS) + half).to(torch.int32)  # the upper half wraps to negative ones
    numbers = torch.nan_to_num(bits.view(torch.float32))
    numbers[torch.arange(0, _TABLE_SIZE, _TABLE_SIZE // 2)] = 0.0  # zero itself, not the middle of what lies around it
    return torch.bucketize(numbers, (codes[1:] + codes[:-1]) / 2).to(torch.uint8)


def dequantise(codes_RW: Tensor, scales_RB: Tensor, *, signed: bool) -> Tensor:
    """The numbers ``[R, W]``, float32, that codes and scales mean."""
    rows, width = codes_RW.shape
    padded = functional.pad(codes_RW, (0, scales_RB.shape[1] * MOMENT_BLOCK - width))
    values: Tensor = bitsandbytes_functions().dequantize_blockwise(
        padded.reshape(-1),
        absmax=scales_RB.reshape(-1),
        code=_codes(signed, codes_RW.device),
        blocksize=MOMENT_BLOCK,
    )
    return values.view(rows, -1)[:, :width].contiguous()


def update_by_slabs(
    master: Tensor,
    gradient: Tensor,
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    update: Callable[[Tensor, Tensor, Tensor, Tensor], None],
) -> None:
    """Update a parameter some rows at a time, its moments in float32 for as long as that takes.

    Args:
        master: ``[R, ...]``, changed in place, as moments are.
        first: Codes of the parameter's shape and scales ``[R, B]`` of the first moment.
        second: Of the second.
        update: Given rows of master, gradient and both moments, ``[r, W]``; changes all but the gradient.
    """
    rows = master.shape[0]
    master_RW, gradient_RW, first_RW, second_RW = (t.view(rows, -1) for t in (master, gradient, first[0], second[0]))
    step = max(1, _SLAB_NUMBERS[master.device.type] // master_RW.shape[1])
    for begin in range(0, rows, step):
        slab = slice(begin, begin + step)
        moment = dequantise(first_RW[slab], first[1][slab], signed=True)
        square = dequantise(second_RW[slab], second[1][slab], signed=False)
        update(master_RW[slab], gradient_RW[slab], moment, square)
        for values, codes_RW, scales, signed in (
            (moment, first_RW, first[1], True),
            (square, second_RW, second[1], False),
        ):
            codes_RW[slab], scales[slab] = quantise(values, signed=signed)
