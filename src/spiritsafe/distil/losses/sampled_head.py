"""A student's head against a few entries of a teacher's rows: forward KL and cross-entropy, in one pass.

In: the student's hidden states and head, and for each row some ids with probabilities, as a cache or a server keeps
them. Out: the weighted loss and its gradients, at three matrix products a row (logits, hidden gradient, weight
gradient), memory bound by a byte budget however many rows there are.

With p̂ a row's entries, H the teacher's entropy, q the student's distribution and y the target, a row's loss is

    forward_kl · (-Σ p̂ log q - H) + ce · (-log q[y])

and its gradient by the logits ``forward_kl · (q · Σ p̂ - p̂) + ce · (q - e_y)``. Both are linear in p̂: when p̂ is the
teacher's distribution in expectation, so are the KL and its gradient. No other divergence of these is linear in p̂, and
at another temperature a sampled row says nothing of the teacher's, so these are refused.

Shapes: R rows, C rows of a chunk, H hidden width, V student vocabulary, K entries of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.losses.divergences import DIVERGENCES, FORWARD_KL, LossMix
from spiritsafe.distil.losses.exact_head import DistilResult
from spiritsafe.distil.signal import SampledRows
from spiritsafe.models import logits_dtype
from spiritsafe.training import ChunkedHead, check_head_shapes


def check_sampled_mix(mix: LossMix) -> None:
    """Refuse a mixture that a few entries of a row cannot serve.

    Raises:
        CompatibilityError: It holds more than forward KL and cross-entropy, or another temperature.
    """
    for name, _ in mix.divergences:
        if DIVERGENCES[name].needs_whole_vocabulary:
            raise CompatibilityError(
                f"A cached or served teacher gives a few ids of each row; {name} needs the whole vocabulary.",
                hint="Use forward_kl and ce with this teacher, or keep the teacher live.",
            )
    if mix.temperature != 1.0:
        raise CompatibilityError(
            f"A cached or served teacher is known at temperature 1, not at {mix.temperature:g}: most of a softened "
            "distribution lies outside the ids that are kept.",
            hint="Use temperature 1 with this teacher, or keep the teacher live.",
        )


def _check_rows(hidden_RH: Tensor, teacher: SampledRows) -> None:
    shape = tuple(teacher.ids_RK.shape)
    if shape[0] != hidden_RH.shape[0] or tuple(teacher.probs_RK.shape) != shape or len(teacher.entropy_R) != shape[0]:
        raise CompatibilityError(
            f"Entries {shape}, probabilities {tuple(teacher.probs_RK.shape)} and {len(teacher.entropy_R)} entropies "
            f"do not fit {hidden_RH.shape[0]} rows.",
            hint="Give the teacher's rows for exactly these hidden states.",
        )


def within_vocabulary(teacher: SampledRows, vocab: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Ids and probabilities; what lies beyond the student's vocabulary names no token and is renormalised away."""
    probs_RK = teacher.probs_RK.to(dtype)
    beyond_RK = teacher.ids_RK >= vocab
    kept_RK = probs_RK.masked_fill(beyond_RK, 0.0)
    lost = beyond_RK.any(1, keepdim=True)
    total_R1 = kept_RK.sum(1, keepdim=True)
    scale_R1 = torch.where(lost, probs_RK.sum(1, keepdim=True) / total_R1.clamp(min=1e-30), torch.ones_like(total_R1))
    return teacher.ids_RK.clamp(max=vocab - 1), kept_RK * scale_R1


@torch.no_grad()
def sampled_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    teacher: SampledRows,
    targets_R: Tensor,
    weights_R: Tensor,
    *,
    mix: LossMix,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> DistilResult:
    """Loss of the module's formula and its gradients.

    Args as of :func:`spiritsafe.distil.distil_head`; ``mix`` holds ``ce`` and ``forward_kl`` at temperature 1.

    Returns:
        As :func:`spiritsafe.distil.distil_head`; ``kl`` is an estimate, ``agreement`` compares with the likeliest
        entry of the row.

    Raises:
        CompatibilityError: The mixture needs the whole vocabulary, shapes do not fit together, or a target is outside
            the student's vocabulary.
    """
    check_sampled_mix(mix)
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    _check_rows(hidden_RH, teacher)
    kl_weight = mix.weight(FORWARD_KL)
    dtype, num_rows = logits_dtype(hidden_RH), hidden_RH.shape[0]
    ids_RK, probs_RK = within_vocabulary(teacher, weight_VH.shape[0], dtype)
    row_weight_R = weights_R.to(dtype)

    def loss(rows: slice, logits_CV: Tensor, grad_CV: Tensor) -> tuple[Tensor, ...]:
        told = _gradient_in_place(
            logits_CV, ids_RK[rows], probs_RK[rows], targets_R[rows, None], row_weight_R[rows, None] * scale, mix
        )
        grad_CV.copy_(logits_CV)
        return told

    head = ChunkedHead(hidden_RH, weight_VH, scale=scale, grad_weight_VH=grad_weight_VH, logits_bytes=logits_bytes)
    kl_R, ce_R, agreement_R = head.run(loss)
    entropy_R = teacher.entropy_R.to(dtype)
    kl_R.sub_(entropy_R)
    named = {"teacher_entropy": entropy_R, "agreement": agreement_R, "kl": kl_R, "ce": ce_R}
    return DistilResult(
        loss=torch.dot(kl_weight * kl_R + mix.ce * ce_R, row_weight_R),
        grad_hidden_RH=head.grad_hidden_RH,
        sums={name: (values_R.sum(), num_rows) for name, values_R in named.items()},
    )


def _gradient_in_place(
    logits_CV: Tensor, ids_CK: Tensor, probs_CK: Tensor, target_C1: Tensor, factor_C1: Tensor, mix: LossMix
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace logits by the gradient of each row's loss times its factor.

    Returns:
        Of each row: cross-entropy to the entries, cross-entropy to the target, whether both agree on the likeliest id.
    """
    largest_C1 = logits_CV.amax(1, keepdim=True)
    wanted_C1 = logits_CV.gather(1, target_C1)
    entry_CK = logits_CV.gather(1, ids_CK)
    likeliest_C1 = entry_CK.gather(1, probs_CK.argmax(1, keepdim=True))
    q_CV = torch.softmax(logits_CV, 1, out=logits_CV)
    # The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
    log_z_C1 = largest_C1 - q_CV.amax(1, keepdim=True).log()
    mass_C1 = probs_CK.sum(1, keepdim=True)
    to_entries_C = (probs_CK * (log_z_C1 - entry_CK)).sum(1)
    kl_weight = mix.weight(FORWARD_KL)
    q_CV.mul_(factor_C1 * (kl_weight * mass_C1 + mix.ce))
    q_CV.scatter_add_(1, ids_CK, probs_CK * (-kl_weight * factor_C1))
    if mix.ce > 0.0:
        q_CV.scatter_add_(1, target_C1, -mix.ce * factor_C1)
    return to_entries_C, (log_z_C1 - wanted_C1).squeeze(1), (likeliest_C1 == largest_C1).squeeze(1).to(q_CV.dtype)
