"""A head with a low-rank adapter, ``W + s·B·A``, without ever building that matrix.

In: a chunk's hidden states and, later, the gradient of its logits. Out: what the adapter adds to the logits, to the
hidden gradient, and the gradients of A and B in their buffers. LoRA: arXiv 2106.09685 §4.1 (h = W₀x + BAx).

Shapes: C rows of one chunk, H hidden width, V vocabulary, K rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training import add_weight_gradient


@final
@dataclass(frozen=True, kw_only=True)
class LoraHead:
    """The adapter of a head, and where its gradients go.

    Attributes:
        a_KH: First map.
        b_VK: Second map.
        scale: s, often alpha / rank.
        grad_a_KH: Buffer that the gradient of ``a_KH`` is added to.
        grad_b_VK: The same for ``b_VK``.
    """

    a_KH: Tensor
    b_VK: Tensor
    scale: float
    grad_a_KH: Tensor
    grad_b_VK: Tensor


def check_lora_shapes(lora: LoraHead, weight_VH: Tensor) -> None:
    """Refuse an adapter that does not fit the head.

    Raises:
        CompatibilityError: It is made for another width or vocabulary, or its maps differ in rank.
    """
    if (lora.b_VK.shape[0], lora.a_KH.shape[1]) != weight_VH.shape or lora.a_KH.shape[0] != lora.b_VK.shape[1]:
        raise CompatibilityError(
            f"An adapter of {tuple(lora.b_VK.shape)} times {tuple(lora.a_KH.shape)} does not fit a head of "
            f"{tuple(weight_VH.shape)}.",
            hint="Use the adapter that was made for this head.",
        )


def add_lora_logits(logits_CV: Tensor, hidden_CH: Tensor, lora: LoraHead) -> None:
    """``logits += s · (hidden @ A.T) @ B.T``."""
    # The same in-place product as a weight gradient's, float32 logits from half-precision factors included.
    add_weight_gradient(logits_CV, _low_rank(hidden_CH, lora).t(), lora.b_VK.t())


def add_lora_gradients(grad_hidden_CH: Tensor, grad_logits_CV: Tensor, hidden_CH: Tensor, lora: LoraHead) -> None:
    """Add the adapter's part of the hidden gradient, and the gradients of A and B to their buffers."""
    grad_low_CK = (grad_logits_CV @ lora.b_VK).mul_(lora.scale)
    grad_hidden_CH.addmm_(grad_low_CK, lora.a_KH)
    add_weight_gradient(lora.grad_b_VK, grad_logits_CV, _low_rank(hidden_CH, lora))
    add_weight_gradient(lora.grad_a_KH, grad_low_CK, hidden_CH)


def _low_rank(hidden_CH: Tensor, lora: LoraHead) -> Tensor:
    return torch.mm(hidden_CH, lora.a_KH.t()).mul_(lora.scale)
