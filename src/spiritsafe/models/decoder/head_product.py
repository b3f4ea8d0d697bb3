"""The last linear map of a language model, in float32 wherever its result is compared or sampled.

In: hidden states and the head's weight, as the model computes. Out: their product in float32 (float64 for float64).
Logits of 16 to 32 rounded to bfloat16 are 0.125 apart: enough to change which token is drawn and how probable it was. A
GPU's matrix units give float32 as it is. A CPU's product of half-precision matrices comes in half precision only, so
weights and rows are widened there, slice by slice, in memory of a fixed size. Processors that multiply bfloat16 still
do so: what was bfloat16 is multiplied exactly, and sums are float32.

Shapes: R rows, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.models.interface.language_model import Head

SLICE_BYTES = 4 << 20
"""Of one widened slice, of weights and of rows each: small enough to stay in cache until it is multiplied."""


def logits_dtype(hidden: Tensor) -> torch.dtype:
    """Logits and losses are float32, or float64 for float64 models."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


@torch.no_grad()
def head_product(hidden_RH: Tensor, weight_VH: Tensor, *, out_RV: Tensor | None = None) -> Tensor:
    """``hidden @ weight.T`` in :func:`logits_dtype`; not differentiable.

    Args:
        hidden_RH: Hidden states after the final norm.
        weight_VH: The head, in the same dtype.
        out_RV: Where to put it; unused for half precision on a GPU, whose product needs no other memory.
    """
    dtype = logits_dtype(hidden_RH)
    if hidden_RH.dtype != dtype:
        if hidden_RH.is_cuda:
            return torch.mm(hidden_RH, weight_VH.t(), out_dtype=dtype)
        return _widened(hidden_RH, weight_VH, out_RV)
    if out_RV is None:
        return functional.linear(hidden_RH, weight_VH)
    return torch.mm(hidden_RH, weight_VH.t(), out=out_RV)


def head_logits(head: Head, hidden_RH: Tensor) -> Tensor:
    """Logits of a model's hidden states, scaled, in float32; not differentiable."""
    logits_RV = head_product(hidden_RH, head.weight_VH).float()
    return logits_RV if head.scale == 1.0 else logits_RV * head.scale


def _widened(hidden_RH: Tensor, weight_VH: Tensor, out_RV: Tensor | None) -> Tensor:
    num_rows, vocab = hidden_RH.shape[0], weight_VH.shape[0]
    if out_RV is None:
        out_RV = hidden_RH.new_empty((num_rows, vocab), dtype=torch.float32)
    size = max(1, SLICE_BYTES // (4 * hidden_RH.shape[1]))
    wide_SH = hidden_RH.new_empty((min(size, vocab), hidden_RH.shape[1]), dtype=torch.float32)
    with _exact_bfloat16(hidden_RH.dtype == weight_VH.dtype == torch.bfloat16):
        for first_row in range(0, num_rows, size):
            rows = slice(first_row, first_row + size)
            wide_CH = hidden_RH[rows].float()
            for first in range(0, vocab, size):
                weight_SH = weight_VH[first : first + size]
                part_SH = wide_SH[: weight_SH.shape[0]].copy_(weight_SH)
                torch.mm(wide_CH, part_SH.t(), out=out_RV[rows, first : first + size])
    return out_RV


@contextmanager
def _exact_bfloat16(holds: bool) -> Iterator[None]:
    """Let the processor's bfloat16 units multiply float32 matrices, where every number in them is a bfloat16."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch makes it at run time
    before = matmul.fp32_precision
    try:
        if holds:
            matmul.fp32_precision = "bf16"
        yield
    finally:
        matmul.fp32_precision = before
