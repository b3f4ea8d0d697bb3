"""A student's head against a teacher's: any mixture of losses and its gradient, in one pass over chunks of rows.

In: hidden states and heads of student and teacher, on the same rows. Out: the weighted loss, its gradients, and what
the rows say. Four matrix products a row (student logits, teacher logits, hidden gradient, weight gradient) whatever is
mixed, three with a frozen head; the whole vocabulary, row mathematics in float32, memory bound by a byte budget however
many rows there are. The gradient is made while a chunk's logits are at hand, and takes their place. The losses are
those of :mod:`spiritsafe.distil.losses.divergences`, which also says how vocabularies of different sizes are compared.

Two [C, V] matrices exist at a time: the student's logits, then gradient, and the teacher's logits. With half-precision
inputs the gradient is written in half precision instead, over several chunks: the weight gradient, as large as the
head, is then read and written fewer times.

Shapes: R rows, C rows of a chunk, B rows of a block, H student and G teacher hidden width, V student and U teacher
vocabulary, M measures of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.losses.divergences import LossMix, measure_names, measure_weights, mix_rows
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.models import logits_dtype
from spiritsafe.training import ChunkedHead, ChunkLogits, check_head_shapes, even_slices, logits_budget

_BLOCK_BYTES = 1 << 20
"""Logits of a block, for each thread: with the row mathematics' intermediates it stays in a core's cache."""
_COPIES = count()


@final
@dataclass(frozen=True, kw_only=True)
class DistilResult:
    """Loss and gradient over R rows.

    Attributes:
        loss: Weighted sum over rows, a scalar.
        grad_hidden_RH: Its gradient by the student's hidden states, in their dtype.
        sums: For each measure its unweighted sum over rows, and the number of rows. Always ``kl``
            (forward KL), ``teacher_entropy`` and ``agreement`` (rows on which both find the same token likeliest);
            ``ce``, ``reverse_kl``, ``jsd``, ``skew_kl``, ``skew_reverse_kl`` where they are in the mix, ``ce`` also
            at temperature 1. In nats, at the temperature, without τ²; ``ce`` at temperature 1.
    """

    loss: Tensor
    grad_hidden_RH: Tensor
    sums: Mapping[str, tuple[Tensor, int]]


@torch.no_grad()
def distil_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    teacher: TeacherRows,
    targets_R: Tensor,
    weights_R: Tensor,
    *,
    mix: LossMix,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> DistilResult:
    """Loss of a mixture and its gradients.

    Args as of :func:`~spiritsafe.training.cross_entropy_head`, all of the student; ``teacher`` is the same rows' side.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the student's vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    _check_teacher(hidden_RH, teacher)
    common = min(weight_VH.shape[0], teacher.weight_UG.shape[0])
    row_weight_R = weights_R.to(logits_dtype(hidden_RH))
    groups = _plan_rows(hidden_RH, weight_VH.shape[0], common, logits_bytes)
    most_rows = max(chunk.stop - chunk.start for group in groups for chunk in group)
    teacher_logits = ChunkLogits(teacher.hidden_RG, teacher.weight_UG[:common], most_rows=most_rows)

    def loss(rows: slice, student_CV: Tensor, grad_CV: Tensor) -> tuple[Tensor]:
        teacher_CU, factor_C1 = teacher_logits(rows), row_weight_R[rows, None] * scale
        target_C1 = targets_R[rows, None]
        return (_run_rows(student_CV, teacher_CU, target_C1, factor_C1, grad_CV, mix, scale, teacher.scale),)

    head = ChunkedHead(hidden_RH, weight_VH, grad_weight_VH=grad_weight_VH, most_rows=most_rows)
    (measures_MR,) = head.run(loss, groups)
    return _collect(measures_MR, row_weight_R, head.grad_hidden_RH, mix)


def _plan_rows(hidden_RH: Tensor, vocab: int, common: int, logits_bytes: int | None) -> list[list[slice]]:
    """Groups of rows whose gradient is multiplied at once, each in chunks whose logits exist at once.

    In one precision the two are the same. Otherwise the gradient of a group gets half the budget and the logits of a
    chunk the other half; a CPU makes half-precision products beside the float32 logits.
    """
    num_rows, budget = hidden_RH.shape[0], logits_budget(hidden_RH, logits_bytes)
    wide, narrow = logits_dtype(hidden_RH).itemsize, hidden_RH.dtype.itemsize
    row_bytes = wide * (vocab + common)
    if wide == narrow:
        return [[chunk] for chunk in even_slices(0, num_rows, budget // row_bytes)]
    if not hidden_RH.is_cuda:
        row_bytes += narrow * vocab
    groups = even_slices(0, num_rows, budget // (2 * narrow * vocab))
    return [even_slices(group.start, group.stop, budget // (2 * row_bytes)) for group in groups]


def _backend(device: torch.device) -> str | None:
    """Which compiler makes the row mathematics; None: it runs as it is written."""
    return "inductor" if device.type == "cuda" else None


@lru_cache
def _compiled(backend: str, mix: LossMix, scale: float, teacher_scale: float) -> Callable[..., Tensor]:
    """:func:`mix_rows` of one mixture as a function of tensors only."""

    def rows(student_CV: Tensor, teacher_CU: Tensor, target_C1: Tensor, factor_C1: Tensor, grad_CV: Tensor) -> Tensor:
        return mix_rows(student_CV, teacher_CU, target_C1, factor_C1, grad_CV, mix, scale, teacher_scale)

    # The compiler counts recompilations, and learns which numbers vary, for each code object: a copy for each mixture.
    rows.__code__ = rows.__code__.replace(co_name=f"rows_{next(_COPIES)}")
    return torch.compile(rows, backend=backend)


def _run_rows(
    student_CV: Tensor,
    teacher_CU: Tensor,
    target_C1: Tensor,
    factor_C1: Tensor,
    grad_CV: Tensor,
    mix: LossMix,
    scale: float,
    teacher_scale: float,
) -> Tensor:
    """:func:`mix_rows`, compiled or on blocks of rows."""
    backend = _backend(student_CV.device)
    if backend is not None:
        for tensor in (student_CV, teacher_CU, target_C1, factor_C1, grad_CV):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)  # one compilation for chunks of all lengths
        return _compiled(backend, mix, scale, teacher_scale)(student_CV, teacher_CU, target_C1, factor_C1, grad_CV)
    num_rows, vocab = student_CV.shape
    # A softmax splits rows between threads, not a row.
    most = torch.get_num_threads() * max(1, _BLOCK_BYTES // (vocab * student_CV.itemsize))
    return torch.cat(
        [
            mix_rows(
                student_CV[block],
                teacher_CU[block],
                target_C1[block],
                factor_C1[block],
                grad_CV[block],
                mix,
                scale,
                teacher_scale,
            )
            for block in even_slices(0, num_rows, most)
        ],
        1,
    )


def _collect(measures_MR: Tensor, weights_R: Tensor, grad_hidden_RH: Tensor, mix: LossMix) -> DistilResult:
    in_loss = [(row, weight) for row, weight in enumerate(measure_weights(mix)) if weight > 0.0]
    loss = torch.stack([weight * (measures_MR[row] * weights_R).sum() for row, weight in in_loss]).sum()
    totals_M = measures_MR.sum(1)
    sums = {name: (totals_M[row], weights_R.numel()) for row, name in enumerate(measure_names(mix))}
    return DistilResult(loss=loss, grad_hidden_RH=grad_hidden_RH, sums=sums)


def _check_teacher(hidden_RH: Tensor, teacher: TeacherRows) -> None:
    if teacher.hidden_RG.shape != (hidden_RH.shape[0], teacher.weight_UG.shape[1]):
        raise CompatibilityError(
            f"Teacher hidden states {tuple(teacher.hidden_RG.shape)} fit neither its head "
            f"{tuple(teacher.weight_UG.shape)} nor the student's {hidden_RH.shape[0]} rows.",
            hint="Run teacher and student on the same batch and keep the same rows of both.",
        )
