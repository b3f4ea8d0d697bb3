"""Frozen weights in four or eight bits, multiplied as the numbers that they stand for.

In: matrices, one at a time. Out: a :class:`QuantisedWeight` that holds a code for each number and the largest size of
each block of 64, as bitsandbytes makes them (QLoRA, arXiv 2305.14314 §3), and products with it. What the codes stand
for is made anew for each product, in the number format of its rows, and dropped after it, in the backward pass too.
Shapes: N rows, O output width, I input width.

Four bits are NF4, whose absolute maxima stay float32 (4.5 bits a number); eight are bitsandbytes' dynamic map (8.5
bits). Of matrices stacked along O each has blocks of its own, so that a fused matrix holds the very numbers that
bitsandbytes gives for Hugging Face's separate ones.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError

WeightFormat = Literal["8bit", "4bit"]
"""How a linear layer's frozen weights may be held, other than as they are computed with."""

BLOCK = 64
"""Numbers that share a scale."""
_AT_ONCE = 1 << 20
"""Numbers that are made codes of at once: whole blocks, so that it does not show in the codes."""
_KIND = "nf4"


@cache
def bitsandbytes_functions() -> Any:
    """The library's ``functional`` module.

    Raises:
        CompatibilityError: bitsandbytes is not installed, or does not load.
    """
    # On a CPU that multiplies bfloat16 it warns that it found no kernels of a hub; none is used here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from bitsandbytes import functional as functions
    except (ImportError, OSError) as error:
        raise CompatibilityError(
            f"Weights or moments in 8 or 4 bits need bitsandbytes: {error}.",
            hint="Run `pip install 'spiritsafe[quant]'`.",
        ) from error
    return functions


def format_name(dtype: torch.dtype, weights: WeightFormat | None) -> str:
    """A model's number format in a word: ``bfloat16``, or ``4bit+bfloat16``."""
    name = str(dtype).removeprefix("torch.")
    return name if weights is None else f"{weights}+{name}"


def quantised_bytes(num_rows: int, num_columns: int, weights: WeightFormat) -> int:
    """Bytes of one matrix: codes, and a float32 for each block."""
    size = num_rows * num_columns
    return _code_bytes(size, weights) + 4 * -(-size // BLOCK)


def _code_bytes(size: int, weights: WeightFormat) -> int:
    return size if weights == "8bit" else -(-size // 2)


@cache
def _dynamic_map(device: torch.device) -> Tensor:
    """What the eight-bit codes stand for."""
    with torch.inference_mode(False):
        found: Tensor = bitsandbytes_functions().create_dynamic_map().to(device)
        return found


def _encode(flat: Tensor, weights: WeightFormat) -> tuple[Tensor, Tensor]:
    """Codes and scales of float32 numbers."""
    functions = bitsandbytes_functions()
    if weights == "4bit":
        codes, state = functions.quantize_4bit(flat, blocksize=BLOCK, quant_type=_KIND, compress_statistics=False)
    else:
        codes, state = functions.quantize_blockwise(flat, code=_dynamic_map(flat.device), blocksize=BLOCK)
    return codes.reshape(-1), state.absmax


def _decode(codes: Tensor, scales: Tensor, shape: tuple[int, int], weights: WeightFormat, dtype: torch.dtype) -> Tensor:
    """What codes stand for."""
    functions = bitsandbytes_functions()
    made = torch.float32 if dtype == torch.float64 else dtype
    if weights == "4bit":
        state = functions.QuantState(absmax=scales, shape=shape, dtype=made, blocksize=BLOCK, quant_type=_KIND)
        found: Tensor = functions.dequantize_4bit(codes[:, None], state)
    else:
        table = _dynamic_map(codes.device)
        state = functions.QuantState(absmax=scales, code=table, dtype=made, blocksize=BLOCK)
        found = functions.dequantize_blockwise(codes, state)
    return found.view(shape).to(dtype)


@final
@dataclass(frozen=True)
class _Part:
    """Some rows of a matrix, with their bytes among the codes and their numbers among the scales."""

    rows: slice
    codes: slice
    scales: slice

    @property
    def num_rows(self) -> int:
        return int(self.rows.stop - self.rows.start)


def _parts(num_rows: Sequence[int], num_columns: int, weights: WeightFormat) -> list[_Part]:
    parts: list[_Part] = []
    row = code = scale = 0
    for count in num_rows:
        size = count * num_columns
        codes, scales = _code_bytes(size, weights), -(-size // BLOCK)
        parts.append(_Part(slice(row, row + count), slice(code, code + codes), slice(scale, scale + scales)))
        row, code, scale = row + count, code + codes, scale + scales
    return parts


def _joined(parts: Sequence[_Part], num_columns: int) -> list[_Part]:
    """Parts that can be decoded in one go: those whose blocks go on where the earlier one's end."""
    joined: list[_Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is None or last.num_rows * num_columns % BLOCK:
            joined.append(part)
            continue
        first, second = last, part
        joined[-1] = _Part(
            slice(first.rows.start, second.rows.stop),
            slice(first.codes.start, second.codes.stop),
            slice(first.scales.start, second.scales.stop),
        )
    return joined


@final
class QuantisedWeight(nn.Module):
    """A frozen matrix ``[O, I]`` as codes, of matrices stacked along O.

    Its numbers are unset until :meth:`fill` was called for each of these.

    Args:
        num_rows: Of each of the stacked matrices.
        num_columns: I.
        weights: How many bits.

    Attributes:
        codes: uint8.
        scale_bytes: The float32 scales, as bytes: a change of the model's number format must leave them alone.
    """

    codes: Tensor
    scale_bytes: Tensor

    def __init__(self, num_rows: Sequence[int], num_columns: int, weights: WeightFormat) -> None:
        super().__init__()
        self.weights, self.num_columns = weights, num_columns
        self._parts = _parts(num_rows, num_columns, weights)
        self._joined = _joined(self._parts, num_columns)
        self.register_buffer("codes", torch.empty(self._parts[-1].codes.stop, dtype=torch.uint8))
        self.register_buffer("scale_bytes", torch.empty(4 * self._parts[-1].scales.stop, dtype=torch.uint8))

    @property
    def num_rows(self) -> int:
        """O."""
        return int(self._parts[-1].rows.stop)

    def num_rows_of(self, index: int) -> int:
        """Of one of the stacked matrices."""
        return self._parts[index].num_rows

    @torch.no_grad()
    def fill(self, index: int, matrix_RI: Tensor) -> None:
        """Take the numbers of one of the stacked matrices; only a piece of it is made float32 at a time."""
        part = self._parts[index]
        if matrix_RI.shape != (part.num_rows, self.num_columns):
            raise ValueError(f"rows {part.rows} of {self.num_columns} columns, got {tuple(matrix_RI.shape)}")
        flat, scales = matrix_RI.reshape(-1), self._scales()
        for start in range(0, flat.numel(), _AT_ONCE):
            piece = flat[start : start + _AT_ONCE].to(device=self.codes.device, dtype=torch.float32)
            codes, absmax = _encode(piece.contiguous(), self.weights)
            first, block = part.codes.start + _code_bytes(start, self.weights), part.scales.start + start // BLOCK
            self.codes[first : first + codes.numel()] = codes
            scales[block : block + absmax.numel()] = absmax

    def _scales(self) -> Tensor:
        return self.scale_bytes.view(torch.float32)

    def _decoded(self, part: _Part, dtype: torch.dtype) -> Tensor:
        shape = (part.num_rows, self.num_columns)
        return _decode(self.codes[part.codes], self._scales()[part.scales], shape, self.weights, dtype)

    @torch.no_grad()
    def part(self, index: int, dtype: torch.dtype) -> Tensor:
        """What the codes of one of the stacked matrices stand for, ``[R, I]``, in memory of its own."""
        return self._decoded(self._parts[index], dtype)

    @torch.no_grad()
    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """What all codes stand for, ``[O, I]``, in memory of its own."""
        decoded = [self._decoded(part, dtype) for part in self._joined]
        return decoded[0] if len(decoded) == 1 else torch.cat(decoded)


def dense(weight: Tensor | QuantisedWeight, dtype: torch.dtype) -> Tensor:
    """The matrix itself; of codes, what they stand for."""
    return weight.dequantised(dtype) if isinstance(weight, QuantisedWeight) else weight


@final
class _QuantisedLinear(torch.autograd.Function):
    """By hand, because autograd would keep the dequantised matrix until the backward pass."""

    @staticmethod
    def forward(ctx: Any, rows_NI: Tensor, weight: QuantisedWeight, bias_O: Tensor | None) -> Tensor:
        ctx.weight = weight
        return functional.linear(rows_NI, weight.dequantised(rows_NI.dtype), bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad_NO,) = gradients
        wants_rows, _, wants_bias = ctx.needs_input_grad
        grad_rows_NI = grad_NO @ ctx.weight.dequantised(grad_NO.dtype) if wants_rows else None
        return grad_rows_NI, None, grad_NO.sum(0) if wants_bias else None


def quantised_linear(rows_NI: Tensor, weight: QuantisedWeight, bias_O: Tensor | None) -> Tensor:
    """``rows @ weight.T + bias``; the weight has no gradient."""
    out_NO: Tensor = _QuantisedLinear.apply(rows_NI, weight, bias_O)  # type: ignore[no-untyped-call]  # torch
    return out_NO
