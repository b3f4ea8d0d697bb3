"""Weights laid out for multiplying a few rows on a CPU, as oneDNN wants them.

In: a weight matrix. Out: an opaque copy and the product with it. An ordinary matrix is rearranged anew inside every
product, which for a few dozen rows costs as much as the product itself.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

__all__ = ["can_pack", "pack_weight", "packed_linear"]


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
