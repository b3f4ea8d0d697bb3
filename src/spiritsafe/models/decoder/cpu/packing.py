"""Weights laid out for multiplying a few rows on a CPU, in the fewest bytes that hold their very numbers.

In: a weight matrix. Out: an opaque copy and the product with it. An ordinary matrix is rearranged anew inside every
product, which for a few dozen rows costs as much as the product itself. One row a step is bound by the bytes that are
read: float32 matrices whose numbers are all float16's, but for a power of two, are held as such by FBGEMM, which widens
them in its registers. Numbers of bfloat16, as most checkpoints are published in, nearly always are: they have fewer
digits than float16. Others are laid out by oneDNN as they are, as bfloat16 is, whose units are faster from a few rows
on. Where the extra `fast` is installed and the processor multiplies bfloat16, loops of our own do so, which are faster
than both at every number of rows and give float32 where that is wanted.
"""

from __future__ import annotations

import math
import mmap
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.models.decoder.cpu.threads import can_loop, has_bfloat16_products, run_loop

_LARGEST_EXPONENT = 15
"""Of float16: everything below 2 ** 16 that has its number of digits."""
_CHUNK = 1 << 18
"""Numbers that are compared at once: few enough to stay in cache, and a matrix of other numbers shows in the first."""
FEW_ROWS = 3
"""Up to here the bytes of a bfloat16 matrix bound its product, and oneDNN's takes half as long again as FBGEMM's."""
_ARENA_BYTES = 64 << 20
_ALIGNED = 64
"""Bytes: of a line of the cache."""
_MANY_ROWS = 192
"""From here on rearranging a float32 matrix costs less than oneDNN's layout loses against the library's own product."""


@final
@dataclass(frozen=True)
class HalfWeight:
    """A matrix in float16, times a power of two.

    Attributes:
        packed: FBGEMM's; opaque to Python.
        scale: What products are multiplied by.
        num_bytes: Of the copy.
    """

    packed: Any
    scale: float
    num_bytes: int


@final
class HugePages:
    """Memory in as few pages as the system gives, for what is read from end to end at every step.

    In pages of 4 KB a processor spends a third of a step of one row on finding them. What is never written to takes
    no memory.
    """

    def __init__(self) -> None:
        self._rest = torch.empty(0, dtype=torch.uint8)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """As ``torch.empty``."""
        num_bytes = math.prod(shape) * dtype.itemsize
        taken = -(-num_bytes // _ALIGNED) * _ALIGNED
        if taken > len(self._rest):
            size = max(taken, _ARENA_BYTES)
            try:
                memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                memory.madvise(mmap.MADV_HUGEPAGE)
            except (AttributeError, OSError):  # a system, or a kernel, without them
                memory = mmap.mmap(-1, size)
            self._rest = torch.frombuffer(memory, dtype=torch.uint8)
        own, self._rest = self._rest[:num_bytes], self._rest[taken:]
        return own.view(dtype).view(*shape)


@final
@dataclass(frozen=True)
class PanelWeight:
    """A bfloat16 matrix ``[O, I]`` in panels of ``PANEL`` outputs, in which pairs of inputs stand together.

    Attributes:
        panels: ``[P, I / 2, PANEL]`` pairs, as int32; outputs that fill the last panel up are 0.
        starts: float32 ``[P * PANEL]``: the bias, or 0.
        num_out: O.
    """

    panels: Tensor
    starts: Tensor
    num_out: int

    def product(self, rows_NI: Tensor, dtype: torch.dtype) -> Tensor:
        """``rows @ weight.T + bias``, rounded once, in float32 or bfloat16.

        Raises:
            ValueError: The rows are not bfloat16, or not as wide as the matrix: a loop would read beyond them.
        """
        from spiritsafe.models.decoder.cpu.kernels import product_loop

        if rows_NI.dtype != torch.bfloat16 or rows_NI.shape[1:] != (2 * self.panels.shape[1],):
            raise ValueError(f"rows {tuple(rows_NI.shape)} of {rows_NI.dtype} for {2 * self.panels.shape[1]} bfloat16")
        rows_NI = rows_NI.contiguous()
        out_NO = torch.empty(len(rows_NI), self.num_out, dtype=dtype)
        places = (out_NO.data_ptr(), rows_NI.data_ptr(), self.panels.data_ptr(), self.starts.data_ptr())
        loop = product_loop("float32" if dtype == torch.float32 else "bfloat16")
        run_loop(loop, (0, *rows_NI.shape, self.num_out, *places))
        return out_NO


PackedWeight = Tensor | HalfWeight | PanelWeight
"""What :func:`pack_weight` gives; a tensor is opaque too."""


def can_pack(weight: Tensor) -> bool:
    """Whether this machine gains from a packed copy of such a weight."""
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def _has_half_products() -> bool:
    """Whether FBGEMM multiplies float32 rows with float16 matrices here."""
    return torch.backends.quantized.engine in ("x86", "fbgemm") and torch.backends.cpu.get_cpu_capability() in (
        "AVX2",
        "AVX512",
    )


def half_exponent(weight: Tensor) -> int | None:
    """The power of two by which float16 holds all numbers of a matrix exactly; None: none does."""
    numbers = weight.detach().flatten()
    if _is_half(numbers, 1.0):
        return 0
    largest = float(numbers.abs().max()) if numbers.numel() else 0.0
    if not 0.0 < largest < math.inf:
        return None
    exponent = _LARGEST_EXPONENT - math.frexp(largest)[1]
    return exponent if _is_half(numbers, math.ldexp(1.0, exponent)) else None


def _is_half(numbers: Tensor, factor: float) -> bool:
    chunks = torch.split(numbers, _CHUNK)
    return all(torch.equal((scaled := chunk.float() * factor).half().float(), scaled) for chunk in chunks)


def pack_half(weight: Tensor) -> HalfWeight | None:
    """The numbers of a float32 or bfloat16 ``[out, in]`` matrix in float16; None where it or this machine has no such.

    They are multiplied in float32. The copy does not follow later changes of the weight.
    """
    weight = weight.detach()
    exponent = half_exponent(weight) if _has_half_products() else None
    if exponent is None:
        return None
    wide = weight.float()
    packed = torch.ops.quantized.linear_prepack_fp16(wide if exponent == 0 else wide * math.ldexp(1.0, exponent), None)
    return HalfWeight(packed, math.ldexp(1.0, -exponent), 2 * weight.numel())


def pack_panels(weight: Tensor, bias: Tensor | None = None, memory: HugePages | None = None) -> PanelWeight | None:
    """The numbers of a bfloat16 matrix for loops of our own; None where they are not."""
    num_out, num_in = weight.shape
    if weight.dtype != torch.bfloat16 or num_in % 2 or not (can_loop() and has_bfloat16_products()):
        return None
    from spiritsafe.models.decoder.cpu.kernels import PANEL

    num_panels = -(-num_out // PANEL)
    missing = num_panels * PANEL - num_out
    weight = weight.detach()
    filled = functional.pad(weight, (0, 0, 0, missing)) if missing else weight.contiguous()
    pairs = filled.view(torch.int32).view(num_panels, PANEL, num_in // 2)
    panels = (memory or HugePages()).empty((num_panels, num_in // 2, PANEL), torch.int32)
    starts = torch.zeros(num_out) if bias is None else bias.detach().float()
    return PanelWeight(panels.copy_(pairs.transpose(1, 2)), functional.pad(starts, (0, missing)), num_out)


def pack_weight(weight: Tensor, bias: Tensor | None = None, memory: HugePages | None = None) -> PackedWeight:
    """A packed copy of a ``[out, in]`` matrix, for products with this bias; it does not follow their later changes."""
    best = pack_half(weight) if weight.dtype == torch.float32 else pack_panels(weight, bias, memory)
    if best is not None:
        return best
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return laid_out


def pack_head(weight: Tensor, memory: HugePages | None = None) -> PackedWeight | None:
    """A packed copy whose products are float32 of float32 and bfloat16 rows alike; None: this machine has none."""
    if weight.dtype == torch.float32:
        return pack_weight(weight)
    return pack_panels(weight, memory=memory) or pack_half(weight)


def packed_linear(rows: Tensor, packed: PackedWeight, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``rows @ weight.T + bias`` with a packed weight; not differentiable.

    Args:
        bias: With which the weight was packed.
        dtype: Of the result: that of the rows, or float32, which an ordinary tensor of bfloat16 cannot give.
    """
    out: Tensor
    if isinstance(packed, PanelWeight):
        return packed.product(rows, dtype)
    if not isinstance(packed, HalfWeight):
        out = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return out
    out = torch.ops.quantized.linear_dynamic_fp16.default(rows.float(), packed.packed)
    if packed.scale != 1.0:
        out.mul_(packed.scale)
    return (out if bias is None else out.add_(bias)).to(dtype)


@final
@dataclass(frozen=True, kw_only=True)
class PackedLinear:
    """A linear layer as sampling multiplies it.

    Attributes:
        plain: The weight as it is, where it is the same in float32, for many rows at once.
        few: The numbers of a bfloat16 weight for up to ``FEW_ROWS`` rows.
        low_rank: What adapters add to a half-precision weight, as two float32 maps in a row: small products are twice
            as fast in float32, and folded into the weight they would be rounded away.
    """

    weight: PackedWeight
    bias: Tensor | None
    plain: Tensor | None = None
    few: HalfWeight | None = None
    low_rank: tuple[Tensor, Tensor] | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """``rows @ weight.T + bias``, and ``rows @ first @ second``; not differentiable."""
        if self.plain is not None and len(rows) >= _MANY_ROWS and not isinstance(self.weight, HalfWeight):
            return functional.linear(rows, self.plain, self.bias)
        weight = self.weight if self.few is None or len(rows) > FEW_ROWS else self.few
        out = packed_linear(rows, weight, self.bias, rows.dtype)
        if self.low_rank is None:
            return out
        first, second = self.low_rank
        low = torch.mm(rows.float(), first).to(rows.dtype)  # rounded as the trainer's is, so that both compute the same
        return out.add_(torch.mm(low.float(), second))
