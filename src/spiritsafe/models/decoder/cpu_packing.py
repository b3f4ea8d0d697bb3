"""Weights laid out for multiplying a few rows on a CPU, as oneDNN wants them.

In: a weight matrix. Out: an opaque copy and the product with it. An ordinary matrix is rearranged anew inside every
product, which for a few dozen rows costs as much as the product itself.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


def can_pack(weight: Tensor) -> bool:
    """Whether this machine gains from a packed copy of such a weight."""
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def pack_weight(weight: Tensor) -> Tensor:
    """A packed copy of a ``[out, in]`` matrix; it does not follow later changes of the weight."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return packed


def packed_linear(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """``rows @ weight.T + bias`` with a packed weight; not differentiable."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return out


@final
@dataclass(frozen=True, kw_only=True)
class PackedLinear:
    """A linear layer as sampling multiplies it.

    Attributes:
        low_rank: What adapters add to a half-precision weight, as two float32 maps in a row: small products are twice
            as fast in float32, and folded into the weight they would be rounded away.
    """

    weight: Tensor
    bias: Tensor | None
    low_rank: tuple[Tensor, Tensor] | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """``rows @ weight.T + bias``, and ``rows @ first @ second``; not differentiable."""
        out = packed_linear(rows, self.weight, self.bias)
        if self.low_rank is None:
            return out
        first, second = self.low_rank
        low = torch.mm(rows.float(), first).to(rows.dtype)  # rounded as the trainer's is, so that both compute the same
        return out.add_(torch.mm(low.float(), second))
