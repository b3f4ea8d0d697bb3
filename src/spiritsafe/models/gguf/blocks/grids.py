"""The numbers that each block type of GGUF can hold: weights rounded to them while a model learns.

In: a matrix and a block type. Out: what a file of that type would give back, to the last bit what ``gguf.dequantize``
makes of what ``gguf.quantize`` wrote, with the gradient passed straight through (arXiv 1308.3432 §2). A block is 32
numbers of one row, so rows do not depend on each other and what is stacked along them may be rounded at once. What a
weight was is not needed backward: nothing is kept.

Shapes: O output width, I input width, B blocks of 32 numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.weight_names import stacked_tensors
from spiritsafe.models.gguf.metadata import gguf_architecture
from spiritsafe.models.gguf.names import gguf_name
from spiritsafe.models.gguf.types import file_bytes, file_shapes, find_file_type, tensor_types

GridType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
"""Block types whose rounding is known here, the most exact first."""

FileGrid = Literal["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
"""File types on whose numbers a model can learn."""

_BLOCK = 32
"""Numbers of a row that share a scale."""
_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 24}
"""Numbers that are rounded at once, in whole rows: on a CPU as many as stay in its cache."""


def _stored(scale_B1: Tensor) -> tuple[Tensor, Tensor]:
    """A scale as a file holds it, in 16 bits, and what numbers are multiplied with to become codes.

    A file makes codes with the scale that is not rounded yet. Where that is too small for 16 bits every code stands for
    nothing, and its inverse need not be finite.
    """
    kept_B1 = scale_B1.half().float()
    return kept_B1, torch.where(kept_B1 == 0.0, 0.0, scale_B1.reciprocal())


def _over(extent_B1: Tensor, steps: float) -> Tensor:
    # not by a number: a GPU would multiply by its inverse, whose last bit differs
    return extent_B1 / torch.full((), steps, device=extent_B1.device)


def _furthest(block_B32: Tensor) -> Tensor:
    """The number furthest from zero; the first, where two are as far."""
    most_B1, least_B1 = block_B32.amax(1, keepdim=True), block_B32.amin(1, keepdim=True)
    found_B1 = torch.where(most_B1 > -least_B1, most_B1, least_B1)
    is_tied_B = ((most_B1 == -least_B1) & (most_B1 != 0.0)).squeeze(1)
    if bool(is_tied_B.any()):  # argmax takes ten times as long as both extremes
        tied_T32 = block_B32[is_tied_B]
        found_B1[is_tied_B] = tied_T32.gather(1, tied_T32.abs().argmax(1, keepdim=True))
    return found_B1


def _symmetric(block_B32: Tensor, levels: int) -> None:
    """Codes 0 to ``levels - 1`` around the half of them; the number furthest from zero is code 0."""
    half = levels // 2
    scale_B1, inverse_B1 = _stored(_over(_furthest(block_B32), -float(half)))
    block_B32.mul_(inverse_B1).add_(half + 0.5).floor_().clamp_(0, levels - 1)
    block_B32.sub_(half).mul_(scale_B1)


def _affine(block_B32: Tensor, levels: int) -> None:
    """Codes 0 to ``levels - 1`` from the least number on."""
    least_B1 = block_B32.amin(1, keepdim=True)
    scale_B1, inverse_B1 = _stored(_over(block_B32.amax(1, keepdim=True) - least_B1, float(levels - 1)))
    block_B32.sub_(least_B1).mul_(inverse_B1).add_(0.5).floor_().clamp_(0, levels - 1)
    block_B32.mul_(scale_B1).add_(least_B1.half().float())


def _eight_bits(block_B32: Tensor) -> None:
    """Codes -127 to 127, rounded half away from zero."""
    scale_B1, inverse_B1 = _stored(_over(block_B32.abs().amax(1, keepdim=True), 127.0))
    size_B32 = block_B32.mul_(inverse_B1).abs()
    floor_B32 = size_B32.floor()
    floor_B32.add_(size_B32.sub_(floor_B32).mul_(2.0).floor_())
    torch.copysign(floor_B32, block_B32, out=block_B32)
    block_B32.mul_(scale_B1)


_BLOCKS: dict[GridType, Callable[[Tensor], None]] = {
    "q8_0": _eight_bits,
    "q5_1": lambda block: _affine(block, 32),
    "q5_0": lambda block: _symmetric(block, 32),
    "q4_1": lambda block: _affine(block, 16),
    "q4_0": lambda block: _symmetric(block, 16),
}
_FLOATS: dict[GridType, torch.dtype] = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
GRID_TYPES: tuple[GridType, ...] = get_args(GridType)
# The scales of Q6_K are searched for, block by block; its numbers lie about as densely as those of eight bits.
_NEAREST: dict[str, GridType] = {"q6_k": "q8_0"}


@torch.no_grad()
def round_to_grid(weight_OI: Tensor, grid: GridType, *, out_OI: Tensor | None = None) -> Tensor:
    """What a file of a block type gives back of a matrix; not differentiable.

    Args:
        out_OI: Where to put it, in a number format of its own; None: new memory, in float32.

    Raises:
        CompatibilityError: Rows are not whole blocks.
    """
    if grid in _BLOCKS and weight_OI.shape[-1] % _BLOCK:
        raise CompatibilityError(
            f"Rows of {weight_OI.shape[-1]} numbers are no whole blocks of {_BLOCK}, which {grid} is made of.",
            hint="Store this matrix in f16, or choose a model whose widths are multiples of 32.",
        )
    if out_OI is None:
        out_OI = torch.empty_like(weight_OI, dtype=torch.float32)
    size = max(1, _AT_ONCE.get(weight_OI.device.type, 1 << 20) // weight_OI.shape[-1])
    for first in range(0, weight_OI.shape[0], size):
        rows = slice(first, first + size)
        if grid in _FLOATS:
            out_OI[rows] = weight_OI[rows].to(_FLOATS[grid])
            continue
        block_B32 = weight_OI[rows].to(torch.float32, copy=True).view(-1, _BLOCK)
        _BLOCKS[grid](block_B32)
        out_OI[rows] = block_B32.view(out_OI[rows].shape)
    return out_OI


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_OI: Tensor, grid: GridType) -> Tensor:
        return round_to_grid(weight_OI, grid, out_OI=torch.empty_like(weight_OI))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None


def fake_quantise(weight_OI: Tensor, grid: GridType) -> Tensor:
    """What a file of a block type gives back of a matrix, in the matrix's number format; the gradient goes straight on.

    Raises:
        CompatibilityError: Rows are not whole blocks.
    """
    rounded_OI: Tensor = _StraightThrough.apply(weight_OI, grid)  # type: ignore[no-untyped-call]  # torch
    return rounded_OI


def predict_file_bytes(config: Mapping[str, Any], file_type: str, *, importance: bool = False) -> int:
    """Bytes of the tensors of a GGUF file before it is written, exactly.

    Args:
        config: ``config.json``.
        file_type: Of the file.
        importance: Whether llama.cpp will have an importance matrix, which changes some types.

    Raises:
        CompatibilityError: GGUF holds no such model, or llama.cpp writes no such file of it.
    """
    own = DecoderConfig.from_hf(config)
    gguf_architecture(own)  # refuses what no file holds
    return file_bytes(own, find_file_type(file_type), importance=importance)


def file_grid(config: DecoderConfig, file_type: FileGrid) -> dict[str, GridType]:
    """How a file of this type holds each matrix of a Decoder, under the Decoder's own names.

    A head in Q6_K is taken as Q8_0. Vectors are in float32 in every file.

    Raises:
        CompatibilityError: GGUF holds no such model.
    """
    shapes = file_shapes(config)
    types = tensor_types(shapes, find_file_type(file_type), architecture=gguf_architecture(config))
    grid: dict[str, GridType] = {}
    for parameter, parts in stacked_tensors(config).items():
        names = [name for name in map(gguf_name, parts) if name is not None and len(shapes.get(name, ())) == 2]
        kinds = {types[name].name.lower() for name in names}
        if len(kinds) > 1:
            raise CompatibilityError(
                f"{file_type} holds {' and '.join(parts)} in different types ({', '.join(sorted(kinds))}), and they "
                "learn as one matrix.",
                hint=f"Learn on another of {', '.join(get_args(FileGrid))}.",
            )
        for kind in kinds:  # none of a vector
            grid[parameter] = _known(kind)
    return grid


def _known(kind: str) -> GridType:
    found = next((grid for grid in GRID_TYPES if grid == kind), None)
    return _NEAREST[kind] if found is None else found
