"""Forward KL against a live teacher, mixed with cross-entropy, in one pass over chunks of rows.

In: hidden states and heads of student and teacher, on the same rows. Out: the loss, its gradient, and what student and
teacher say of each other. Four matrix products a row (student logits, teacher logits, hidden gradient, weight
gradient), the whole vocabulary, logits in float32, memory bound by a byte budget however many rows there are.

With p the teacher's and q the student's distribution at temperature τ, and y the target, each row's loss is

    (1 - λ) · τ² · KL(p ‖ q) + λ · (-log q₁[y])        (q₁: at temperature 1)

τ² as in Hinton et al. (arXiv 1503.02531 §2: "Since the magnitudes of the gradients produced by the soft targets scale
as 1/T² it is important to multiply them by T²"). Its gradient by the student's logits is
(1 - λ) · τ · (q - p) + λ · (q₁ - e_y).

Vocabularies of one tokenizer may be padded to different sizes (Qwen2.5: 152064 and 151936). Ids beyond the smaller
size name no token: the teacher is renormalised over the common ids; the student keeps its whole vocabulary, where ids
that only it has get probability 0 from the teacher and so are pushed down, as cross-entropy would.

Shapes: R rows, C rows of a chunk, H student and G teacher hidden width, V student and U teacher vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training.head import (
    add_weight_gradient,
    check_head_shapes,
    logits_buffer,
    logits_bytes_per_row,
    logits_dtype,
    make_logits,
    row_chunks,
)

__all__ = ["ForwardKLResult", "TeacherRows", "forward_kl_head"]

_WATCHED_ROWS = 32
"""Rows of a chunk on which entropy and agreement are measured."""


@final
@dataclass(frozen=True, kw_only=True)
class TeacherRows:
    """A teacher's view of the supervised rows.

    Attributes:
        hidden_RG: Its hidden states after the final norm.
        weight_UG: Its head.
        scale: Of its logits.
    """

    hidden_RG: Tensor
    weight_UG: Tensor
    scale: float = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class ForwardKLResult:
    """Loss and gradient over R rows.

    Attributes:
        loss: Weighted sum over rows.
        grad_hidden_RH: Its gradient by the student's hidden states, in their dtype.
        kl: Unweighted sum of KL(teacher ‖ student) at the temperature, without τ², in nats.
        cross_entropy: Unweighted sum of the student's cross-entropy; None when it is neither asked nor free
            (temperature other than 1 and no cross-entropy in the loss).
        teacher_entropy: Sum over the watched rows of the teacher's entropy at the temperature, in nats.
        num_agreeing: Watched rows on which both find the same token likeliest.
        num_watched: Number of watched rows, spread evenly.
    """

    loss: Tensor
    grad_hidden_RH: Tensor
    kl: Tensor
    cross_entropy: Tensor | None
    teacher_entropy: Tensor
    num_agreeing: Tensor
    num_watched: int


@final
@dataclass(frozen=True, kw_only=True)
class _RowStats:
    """What a chunk's rows say; the gradient is where the student's logits were."""

    kl_C: Tensor
    ce_C: Tensor | None
    entropy: Tensor
    num_agreeing: Tensor
    num_watched: int


def _softmax_in_place(logits_CV: Tensor) -> Tensor:
    """Turn logits into probabilities and return log of the normaliser of each row.

    The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
    """
    largest_C = logits_CV.amax(1)
    torch.softmax(logits_CV, 1, out=logits_CV)
    return largest_C - logits_CV.amax(1).log()


def _gradient_in_place(
    student_CV: Tensor, teacher_CU: Tensor, target_C1: Tensor, spare_CV: Tensor, temperature: float, ce_share: float
) -> _RowStats:
    """Replace the student's logits by the gradient of each row's loss; uses up the teacher's logits and the spare."""
    common = teacher_CU.shape[1]
    wanted_C = student_CV.gather(1, target_C1).squeeze(1)
    if temperature != 1.0:
        student_CV.mul_(1.0 / temperature)
        teacher_CU.mul_(1.0 / temperature)
    watched = slice(None, None, max(1, student_CV.shape[0] // _WATCHED_ROWS))
    watched_logits = teacher_CU[watched].clone()
    agreeing = student_CV[watched].argmax(1) == watched_logits.argmax(1)

    # KL = sum p (t - s) - log Z_t + log Z_s; exactly zero where the logits are equal.
    difference_CU = torch.sub(teacher_CU, student_CV[:, :common], out=spare_CV[:, :common])
    teacher_log_z_C = _softmax_in_place(teacher_CU)
    kl_C = difference_CU.mul_(teacher_CU).sum(1).sub_(teacher_log_z_C)
    entropy = teacher_log_z_C[watched].sum() - watched_logits.mul_(teacher_CU[watched]).sum()

    ce_C = None
    if temperature == 1.0:
        student_log_z_C = _softmax_in_place(student_CV)
        ce_C = student_log_z_C - wanted_C
        student_CV[:, :common].sub_(teacher_CU, alpha=1.0 - ce_share)
    else:
        if ce_share > 0.0:
            torch.mul(student_CV, temperature, out=spare_CV)
            ce_C = _softmax_in_place(spare_CV) - wanted_C
        student_log_z_C = _softmax_in_place(student_CV)
        student_CV[:, :common].sub_(teacher_CU)
        student_CV.mul_((1.0 - ce_share) * temperature)
        if ce_share > 0.0:
            student_CV.add_(spare_CV, alpha=ce_share)
    if ce_share > 0.0:
        student_CV.scatter_add_(1, target_C1, student_CV.new_full(target_C1.shape, -ce_share))
    return _RowStats(
        kl_C=kl_C.add_(student_log_z_C),
        ce_C=ce_C,
        entropy=entropy,
        num_agreeing=agreeing.sum(),
        num_watched=agreeing.numel(),
    )


def _check_teacher(hidden_RH: Tensor, teacher: TeacherRows) -> None:
    if teacher.hidden_RG.shape != (hidden_RH.shape[0], teacher.weight_UG.shape[1]):
        raise CompatibilityError(
            f"Teacher hidden states {tuple(teacher.hidden_RG.shape)} fit neither its head "
            f"{tuple(teacher.weight_UG.shape)} nor the student's {hidden_RH.shape[0]} rows.",
            hint="Run teacher and student on the same batch and keep the same rows of both.",
        )


@torch.no_grad()
def forward_kl_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    teacher: TeacherRows,
    targets_R: Tensor,
    weights_R: Tensor,
    *,
    temperature: float = 1.0,
    ce_share: float = 0.0,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> ForwardKLResult:
    """Loss of the module's formula and its gradients.

    Args:
        hidden_RH: The student's hidden states of supervised rows only.
        weight_VH: Its head.
        teacher: The teacher's side of the same rows.
        targets_R: The token each row predicts.
        weights_R: Weight of each row, already divided by the step's normaliser.
        temperature: τ of the KL part.
        ce_share: λ.
        scale: Of the student's logits.
        grad_weight_VH: Buffer that the weight's gradient is added to; None leaves that product out.
        logits_bytes: Most memory for logits; None: 128 MiB on a CPU, 2 GiB on a GPU.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the student's vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    _check_teacher(hidden_RH, teacher)
    vocab, common = weight_VH.shape[0], min(weight_VH.shape[0], teacher.weight_UG.shape[0])
    teacher_weight_UG, row_weight_R = teacher.weight_UG[:common], weights_R.to(logits_dtype(hidden_RH))
    row_bytes = 2 * logits_bytes_per_row(hidden_RH, vocab) + logits_bytes_per_row(teacher.hidden_RG, common)
    chunks = row_chunks(hidden_RH, row_bytes=row_bytes, logits_bytes=logits_bytes)
    most = max(chunk.stop - chunk.start for chunk in chunks)
    student_buffer = logits_buffer(hidden_RH, most, vocab)
    teacher_buffer = logits_buffer(teacher.hidden_RG, most, common)
    spare = hidden_RH.new_empty((most, vocab), dtype=row_weight_R.dtype)
    grad_hidden_RH = torch.empty_like(hidden_RH)
    stats: list[_RowStats] = []
    for chunk in chunks:
        hidden_CH = hidden_RH[chunk]
        student_CV = make_logits(hidden_CH, weight_VH, scale, student_buffer)
        teacher_CU = make_logits(teacher.hidden_RG[chunk], teacher_weight_UG, teacher.scale, teacher_buffer)
        stats.append(
            _gradient_in_place(
                student_CV,
                teacher_CU.to(student_CV.dtype),
                targets_R[chunk, None],
                spare[: hidden_CH.shape[0]],
                temperature,
                ce_share,
            )
        )
        grad_CV = student_CV.mul_(row_weight_R[chunk, None] * scale).to(hidden_CH.dtype)
        torch.mm(grad_CV, weight_VH, out=grad_hidden_RH[chunk])
        if grad_weight_VH is not None:
            add_weight_gradient(grad_weight_VH, grad_CV, hidden_CH)
    return _collect(stats, row_weight_R, grad_hidden_RH, temperature, ce_share)


def _collect(
    stats: list[_RowStats], weights_R: Tensor, grad_hidden_RH: Tensor, temperature: float, ce_share: float
) -> ForwardKLResult:
    kl_R = torch.cat([s.kl_C for s in stats])
    loss = (1.0 - ce_share) * temperature**2 * torch.dot(kl_R, weights_R)
    ces = [s.ce_C for s in stats if s.ce_C is not None]
    ce_R = torch.cat(ces) if ces else None
    if ce_R is not None and ce_share > 0.0:
        loss = loss + ce_share * torch.dot(ce_R, weights_R)
    return ForwardKLResult(
        loss=loss,
        grad_hidden_RH=grad_hidden_RH,
        kl=kl_R.sum(),
        cross_entropy=None if ce_R is None else ce_R.sum(),
        teacher_entropy=torch.stack([s.entropy for s in stats]).sum(),
        num_agreeing=torch.stack([s.num_agreeing for s in stats]).sum(),
        num_watched=sum(s.num_watched for s in stats),
    )
