"""The last linear map and cross-entropy, in one pass over chunks of rows.

In: hidden states of the supervised rows and the head's weight. Out: the loss, the gradient of the hidden states, and
the weight's gradient added straight into its buffer. The gradient is made while a chunk's logits are at hand, so they
are computed once and never kept: three matrix products a row (logits, hidden gradient, weight gradient), memory bound
by a byte budget however many rows there are. The idea is Liger's and Cut Cross-Entropy's (arXiv 2411.09009).

Shapes: R rows, C rows of one chunk, H hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import head_product, logits_dtype

_CPU_LOGITS_BYTES = 128 << 20
_CUDA_LOGITS_BYTES = 2 << 30
_VOCAB_SLICE = 16384
"""Rows of the weight gradient made at a time when it must pass through a lower precision."""


@final
@dataclass(frozen=True, kw_only=True)
class CrossEntropyResult:
    """Loss and gradient of cross-entropy over R rows.

    Attributes:
        loss: Weighted sum over rows.
        grad_hidden_RH: Its gradient, in the hidden states' dtype.
        cross_entropy: Unweighted sum over rows, in nats.
        num_right: Rows whose likeliest token is the target.
    """

    loss: Tensor
    grad_hidden_RH: Tensor
    cross_entropy: Tensor
    num_right: Tensor


def gradient_buffer(weight_VH: nn.Parameter) -> Tensor | None:
    """The parameter's gradient, made (zero, float32 unless the parameter is wider) if absent; None when frozen."""
    if not weight_VH.requires_grad:
        return None
    if weight_VH.grad is None:
        dtype = torch.promote_types(weight_VH.dtype, torch.float32)
        if dtype != weight_VH.dtype:
            weight_VH.grad_dtype = dtype
        weight_VH.grad = torch.zeros_like(weight_VH, dtype=dtype)
    return weight_VH.grad


def row_chunks(rows: Tensor, *, row_bytes: int, logits_bytes: int | None) -> list[slice]:
    """Even slices of the rows whose logits fit the budget, at least one row each."""
    return even_slices(0, rows.shape[0], logits_budget(rows, logits_bytes) // row_bytes)


def logits_budget(rows: Tensor, logits_bytes: int | None) -> int:
    """Most memory for logits: what the caller says, or else by device."""
    return logits_bytes or (_CUDA_LOGITS_BYTES if rows.is_cuda else _CPU_LOGITS_BYTES)


def even_slices(start: int, stop: int, most: int) -> list[slice]:
    """As few slices as possible of at most ``most`` rows (at least one), as even as possible."""
    num_rows = stop - start
    count = -(-num_rows // max(1, most))
    return [slice(start + c * num_rows // count, start + (c + 1) * num_rows // count) for c in range(count)]


def logits_bytes_per_row(hidden: Tensor, vocab_size: int) -> int:
    """Memory of one row of logits, with the half-precision copy of its gradient that products take."""
    wide, narrow = logits_dtype(hidden).itemsize, hidden.dtype.itemsize
    return vocab_size * (wide if narrow == wide else wide + narrow)


def logits_buffer(hidden: Tensor, num_rows: int, vocab_size: int) -> Tensor:
    """Memory for :func:`make_logits`; none where the product itself comes in the right dtype (half on a GPU)."""
    dtype = logits_dtype(hidden)
    unused = hidden.is_cuda and hidden.dtype != dtype
    return hidden.new_empty(0 if unused else num_rows * vocab_size, dtype=dtype)


def make_logits(hidden_CH: Tensor, weight_VH: Tensor, scale: float, buffer: Tensor) -> Tensor:
    """``hidden @ weight.T * scale`` in :func:`logits_dtype`, held in ``buffer`` where that saves memory."""
    shape = (hidden_CH.shape[0], weight_VH.shape[0])
    unused = hidden_CH.is_cuda and hidden_CH.dtype != buffer.dtype
    out_CV = head_product(hidden_CH, weight_VH, out_RV=None if unused else buffer[: shape[0] * shape[1]].view(shape))
    return out_CV if scale == 1.0 else out_CV.mul_(scale)


def add_weight_gradient(buffer_VH: Tensor, grad_logits_CV: Tensor, hidden_CH: Tensor) -> None:
    """``buffer += grad_logits.T @ hidden`` without a second ``[V, H]`` matrix.

    On a CPU two copies of the weight gradient were the whole memory cost of a head (research of this project).
    """
    if grad_logits_CV.dtype == buffer_VH.dtype == hidden_CH.dtype:
        buffer_VH.addmm_(grad_logits_CV.t(), hidden_CH)
        return
    if buffer_VH.is_cuda and buffer_VH.dtype == torch.float32:
        torch.addmm(buffer_VH, grad_logits_CV.t(), hidden_CH, out_dtype=torch.float32, out=buffer_VH)
        return
    for start in range(0, buffer_VH.shape[0], _VOCAB_SLICE):
        part = grad_logits_CV[:, start : start + _VOCAB_SLICE].t()
        buffer_VH[start : start + _VOCAB_SLICE].add_(torch.mm(part, hidden_CH))


def check_head_shapes(hidden_RH: Tensor, weight_VH: Tensor, targets_R: Tensor) -> None:
    """Refuse a head that does not fit.

    Raises:
        CompatibilityError: Widths or rows differ, there is no row, or a target is outside the vocabulary.
    """
    if hidden_RH.shape[1] != weight_VH.shape[1] or hidden_RH.shape[0] != targets_R.shape[0]:
        raise CompatibilityError(
            f"Hidden states {tuple(hidden_RH.shape)} fit neither head {tuple(weight_VH.shape)} nor "
            f"{targets_R.shape[0]} targets.",
            hint="Use the head of the model that made the hidden states, and one target for each row.",
        )
    if not hidden_RH.shape[0]:
        raise CompatibilityError("There are no rows.", hint="Leave batches without a supervised token out.")
    if not hidden_RH.is_cuda and bool((targets_R >= weight_VH.shape[0]).any() or (targets_R < 0).any()):
        raise CompatibilityError(
            f"A target is outside the vocabulary of {weight_VH.shape[0]}.",
            hint="Tokenize the documents with the tokenizer of the model in training.",
        )


@torch.no_grad()
def cross_entropy_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    targets_R: Tensor,
    weights_R: Tensor,
    *,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> CrossEntropyResult:
    """``sum over rows of weight * -log softmax(hidden @ weight.T * scale)[target]``, and its gradients.

    Args:
        hidden_RH: Hidden states of supervised rows only.
        weight_VH: The head.
        targets_R: The token each row predicts.
        weights_R: Weight of each row, already divided by the step's normaliser.
        scale: Of the logits.
        grad_weight_VH: Buffer that the weight's gradient is added to; None leaves that product out.
        logits_bytes: Most memory for logits; None: 128 MiB on a CPU, 2 GiB on a GPU.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    dtype, vocab = logits_dtype(hidden_RH), weight_VH.shape[0]
    grad_hidden_RH = torch.empty_like(hidden_RH)
    ce_R = hidden_RH.new_empty(hidden_RH.shape[0], dtype=dtype)
    num_right = torch.zeros((), dtype=dtype, device=hidden_RH.device)
    chunks = row_chunks(hidden_RH, row_bytes=logits_bytes_per_row(hidden_RH, vocab), logits_bytes=logits_bytes)
    buffer = logits_buffer(hidden_RH, max(c.stop - c.start for c in chunks), vocab)
    for chunk in chunks:
        hidden_CH, target_C1 = hidden_RH[chunk], targets_R[chunk, None]
        factor_C1 = weights_R[chunk, None].to(dtype) * scale
        logits_CV = make_logits(hidden_CH, weight_VH, scale, buffer)
        largest_C1, wanted_C1 = logits_CV.amax(1, keepdim=True), logits_CV.gather(1, target_C1)
        num_right += (wanted_C1 == largest_C1).sum()
        probs_CV = torch.softmax(logits_CV, 1, out=logits_CV)
        # The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
        ce_C1 = largest_C1 - wanted_C1 - probs_CV.amax(1, keepdim=True).log()
        ce_R[chunk] = ce_C1.squeeze(1)
        grad_CV = probs_CV.mul_(factor_C1).scatter_add_(1, target_C1, -factor_C1)
        grad_CV = grad_CV.to(hidden_CH.dtype)
        torch.mm(grad_CV, weight_VH, out=grad_hidden_RH[chunk])
        if grad_weight_VH is not None:
            add_weight_gradient(grad_weight_VH, grad_CV, hidden_CH)
    return CrossEntropyResult(
        loss=torch.dot(ce_R, weights_R.to(dtype)),
        grad_hidden_RH=grad_hidden_RH,
        cross_entropy=ce_R.sum(),
        num_right=num_right,
    )
