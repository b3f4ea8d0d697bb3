"""The last linear map and cross-entropy, in one pass over chunks of rows.

In: hidden states of the supervised rows, the head's weight, and targets. Out: the loss and its gradients, as
:mod:`spiritsafe.training.chunked_head` makes them.

Shapes: R rows, C rows of one chunk, H hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from spiritsafe.models import logits_dtype
from spiritsafe.training.chunked_head import ChunkedHead, check_head_shapes


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

    Args as of :class:`~spiritsafe.training.chunked_head.ChunkedHead`, and ``weights_R``: of each row, already divided
    by the step's normaliser.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    row_weight_R = weights_R.to(logits_dtype(hidden_RH))

    def loss(rows: slice, logits_CV: Tensor, grad_CV: Tensor) -> tuple[Tensor, Tensor]:
        target_C1, factor_C1 = targets_R[rows, None], row_weight_R[rows, None] * scale
        largest_C1, wanted_C1 = logits_CV.amax(1, keepdim=True), logits_CV.gather(1, target_C1)
        is_right_C1 = (wanted_C1 == largest_C1).to(logits_CV.dtype)
        probs_CV = torch.softmax(logits_CV, 1, out=logits_CV)
        # The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
        ce_C1 = largest_C1 - wanted_C1 - probs_CV.amax(1, keepdim=True).log()
        grad_CV.copy_(probs_CV.mul_(factor_C1).scatter_add_(1, target_C1, -factor_C1))
        return ce_C1.squeeze(1), is_right_C1.squeeze(1)

    head = ChunkedHead(hidden_RH, weight_VH, scale=scale, grad_weight_VH=grad_weight_VH, logits_bytes=logits_bytes)
    ce_R, is_right_R = head.run(loss)
    return CrossEntropyResult(
        loss=torch.dot(ce_R, row_weight_R),
        grad_hidden_RH=head.grad_hidden_RH,
        cross_entropy=ce_R.sum(),
        num_right=is_right_R.sum(),
    )
