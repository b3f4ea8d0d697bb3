"""What a student's row loses against a teacher's: divergences over the whole vocabulary and their gradient, one pass.

In: logits of both models on the same rows. Out: each row's losses, and the gradient of their weighted sum by the
student's logits. With p the teacher's and q the student's distribution at temperature τ, and y the target:

    forward KL            KL(p ‖ q)
    reverse KL            KL(q ‖ p)
    JSD(β)                β · KL(p ‖ m) + (1 - β) · KL(q ‖ m),  m = β·p + (1 - β)·q     (GKD, arXiv 2306.13649, eq. 1)
    skew forward KL       KL(p ‖ α·p + (1 - α)·q)     (DistiLLM, arXiv 2402.03898, §3.1)
    skew reverse KL       KL(q ‖ (1 - α)·p + α·q)     (the same)
    cross-entropy         -log q₁[y]     (q₁: at temperature 1)

Divergences are multiplied by τ², as in Hinton et al. (arXiv 1503.02531 §2: "Since the magnitudes of the gradients
produced by the soft targets scale as 1/T² it is important to multiply them by T²").

A divergence Σ f(q, p) has the gradient q · (g - Σ q·g) by the student's scaled logits, where g = ∂f/∂q up to a constant
of the row; constants are chosen so that g is exactly 0 where p = q. Everything is computed from log q - log p, so no
finite logits give NaN (up to 1e37: beyond, a difference of two logits is no float32).

Vocabularies of one tokenizer may be padded to different sizes (Qwen2.5: 152064 and 151936). Ids beyond the smaller
size name no token: the teacher is renormalised over the common ids; the student keeps its whole vocabulary, where ids
that only it has get probability 0 from the teacher and so are pushed down, as cross-entropy would. Reverse KL would be
infinite there, so it alone compares the student renormalised over the common ids.

Shapes: C rows, V student vocabulary, U teacher vocabulary (U ≤ V: already cut to the common ids), M measures of a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import RecipeError


@final
@dataclass(frozen=True, kw_only=True)
class LossMix:
    """A weighted sum of losses; see the module for each of them.

    Attributes:
        ce: Weight of the cross-entropy on the traces, at temperature 1.
        forward_kl: Weight of KL(teacher ‖ student): covers all that the teacher does.
        reverse_kl: Weight of KL(student ‖ teacher): drops what the teacher would not do.
        jsd: Weight of the generalised Jensen-Shannon divergence.
        jsd_beta: Its β, above 0 and below 1.
        skew_forward_kl: Weight of the skew forward KL.
        skew_reverse_kl: Weight of the skew reverse KL.
        skew_alpha: Their α, above 0 and below 1.
        temperature: τ of all divergences.

    Raises:
        RecipeError: A weight is negative or not finite, all are 0, or a parameter is out of range.
    """

    ce: float = 0.0
    forward_kl: float = 0.0
    reverse_kl: float = 0.0
    jsd: float = 0.0
    jsd_beta: float = 0.5
    skew_forward_kl: float = 0.0
    skew_reverse_kl: float = 0.0
    skew_alpha: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0.0):
                raise RecipeError(f"{field.name} {value} is not a weight.", hint="Use a finite number, 0 or above.")
        if not any((self.ce, self.forward_kl, self.reverse_kl, self.jsd, self.skew_forward_kl, self.skew_reverse_kl)):
            raise RecipeError("Every weight of the loss is 0.", hint="Give at least one of them, such as forward_kl=1.")
        for name, value in (("jsd_beta", self.jsd_beta), ("skew_alpha", self.skew_alpha)):
            if not 0.0 < value < 1.0:
                raise RecipeError(
                    f"{name} {value} is not between 0 and 1.",
                    hint="At the ends these are no mixtures: use forward_kl or reverse_kl instead.",
                )
        if self.temperature == 0.0:
            raise RecipeError("temperature 0 is not positive.", hint="Use 1, or 2 for softer targets.")


def measure_names(mix: LossMix) -> tuple[str, ...]:
    """What :func:`mix_rows` says of each row, in its order.

    ``kl`` is forward KL; divergences are without τ². ``ce`` is there when it is asked or free (temperature 1).
    """
    named = {
        "ce": mix.ce > 0.0 or mix.temperature == 1.0,
        "reverse_kl": mix.reverse_kl > 0.0,
        "jsd": mix.jsd > 0.0,
        "skew_kl": mix.skew_forward_kl > 0.0,
        "skew_reverse_kl": mix.skew_reverse_kl > 0.0,
    }
    return ("teacher_entropy", "agreement", "kl", *(name for name, wanted in named.items() if wanted))


def measure_weights(mix: LossMix) -> tuple[float, ...]:
    """The weight of each of :func:`measure_names` in the loss."""
    squared = mix.temperature**2
    weight = {
        "ce": mix.ce,
        "kl": mix.forward_kl * squared,
        "reverse_kl": mix.reverse_kl * squared,
        "jsd": mix.jsd * squared,
        "skew_kl": mix.skew_forward_kl * squared,
        "skew_reverse_kl": mix.skew_reverse_kl * squared,
    }
    return tuple(weight.get(name, 0.0) for name in measure_names(mix))


def _log_ratios(gap_CU: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """``log(q / m)`` and ``log(p / m)`` for ``m = share·p + (1 - share)·q``, from ``log q - log p``.

    Written from the larger of q and p, so the logarithm's argument stays in [min(share, 1 - share), 1], nothing
    overflows, and both are exactly 0 where p = q.
    """
    other_share_CU = torch.where(gap_CU >= 0.0, gap_CU.new_full((), share), gap_CU.new_full((), 1.0 - share))
    ratio_CU = torch.log1p(torch.expm1(-gap_CU.abs()) * other_share_CU).neg_()
    return ratio_CU + gap_CU.clamp(max=0.0), ratio_CU - gap_CU.clamp(min=0.0)


def _mixtures(q_CV: Tensor, p_CU: Tensor, gap_CU: Tensor, mix: LossMix) -> tuple[list[Tensor], Tensor, float]:
    """Divergences to mixtures of p and q.

    Returns:
        Each one's value on the common ids; the weighted sum of q·g on them; g on the ids that only the student has.
    """
    common = p_CU.shape[1]
    q_CU = q_CV[:, :common]
    rest_C = q_CV[:, common:].sum(1)  # 0 where the vocabularies are equal
    values: list[Tensor] = []
    slopes_CU, rest_slope = torch.zeros_like(p_CU), 0.0
    if mix.jsd > 0.0:
        beta = mix.jsd_beta
        log_qm_CU, log_pm_CU = _log_ratios(gap_CU, beta)
        rest_log = -math.log1p(-beta)
        q_part_CU = q_CU * log_qm_CU
        values.append(beta * (p_CU * log_pm_CU).sum(1) + (1.0 - beta) * (q_part_CU.sum(1) + rest_log * rest_C))
        slopes_CU.add_(q_part_CU, alpha=mix.jsd * (1.0 - beta))
        rest_slope += mix.jsd * (1.0 - beta) * rest_log
    alpha = mix.skew_alpha
    if mix.skew_forward_kl > 0.0:
        log_qm_CU, log_pm_CU = _log_ratios(gap_CU, alpha)
        values.append((p_CU * log_pm_CU).sum(1))
        # g = -(1 - α)·p/m, plus 1 - α; p·q/m as p·exp(log q/m), whose exponent is bounded by -log(1 - α)
        slopes_CU.add_(q_CU - p_CU * log_qm_CU.exp(), alpha=mix.skew_forward_kl * (1.0 - alpha))
        rest_slope += mix.skew_forward_kl * (1.0 - alpha)
    if mix.skew_reverse_kl > 0.0:
        log_qm_CU, _ = _log_ratios(gap_CU, 1.0 - alpha)
        rest_log = -math.log(alpha)
        values.append((q_CU * log_qm_CU).sum(1) + rest_log * rest_C)
        # g = log(q/m) - α·q/m, plus α
        slopes_CU.add_(q_CU * (log_qm_CU - alpha * torch.expm1(log_qm_CU)), alpha=mix.skew_reverse_kl)
        rest_slope += mix.skew_reverse_kl * (rest_log - alpha * (1.0 / alpha - 1.0))
    return values, slopes_CU, rest_slope


def _reverse_kl(log_q_CV: Tensor, q_CV: Tensor, gap_CU: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q ‖ p) of each row and its gradient on the common ids, q renormalised over them."""
    common = gap_CU.shape[1]
    q_CU = q_CV
    if q_CV.shape[1] > common:
        shift_C1 = torch.logsumexp(log_q_CV[:, :common], 1, keepdim=True)
        q_CU, gap_CU = (log_q_CV[:, :common] - shift_C1).exp(), gap_CU - shift_C1
    value_C1 = (q_CU * gap_CU).sum(1, keepdim=True)
    return value_C1.squeeze(1), q_CU * (gap_CU - value_C1)


def mix_rows(
    student_CV: Tensor,
    teacher_CU: Tensor,
    target_C1: Tensor,
    factor_C1: Tensor,
    grad_CV: Tensor,
    mix: LossMix,
    student_scale: float,
    teacher_scale: float,
) -> Tensor:
    """Losses of some rows, and their gradient by the student's unscaled logits.

    Plain tensor code over whole rows: a GPU gets it compiled into a few kernels, a CPU runs it on
    blocks of rows that stay in its cache.

    Args:
        student_CV: The student's logits, before its scale.
        teacher_CU: The teacher's, over the common ids.
        target_C1: The token each row predicts.
        factor_C1: Weight of each row, times ``student_scale``.
        grad_CV: Where the gradient goes; any float dtype, may be ``student_CV`` itself.
        mix: The loss.
        student_scale: Of the student's logits.
        teacher_scale: Of the teacher's.

    Returns:
        ``[M, C]``: the rows' measures, in the order of :func:`measure_names`.
    """
    temperature, common = mix.temperature, teacher_CU.shape[1]
    log_q_CV = torch.log_softmax(_scaled(student_CV, student_scale / temperature), 1)
    log_p_CU = torch.log_softmax(_scaled(teacher_CU, teacher_scale / temperature), 1)
    q_CV, p_CU = log_q_CV.exp(), log_p_CU.exp()
    gap_CU = log_q_CV[:, :common] - log_p_CU
    measures = [
        -(p_CU * log_p_CU).sum(1),
        (log_q_CV.argmax(1) == log_p_CU.argmax(1)).to(gap_CU.dtype),
        -(p_CU * gap_CU).sum(1),
    ]
    slope_CV = q_CV.clone()
    slope_CU = slope_CV if common == slope_CV.shape[1] else slope_CV[:, :common]
    slope_CU.sub_(p_CU)  # before any factor: exactly 0 at equality, however products are fused
    slope_CV.mul_(mix.forward_kl)
    if temperature == 1.0:
        measures.append(-log_q_CV.gather(1, target_C1).squeeze(1))
        if mix.ce > 0.0:
            slope_CV.add_(q_CV, alpha=mix.ce)
    divergences = []
    if mix.reverse_kl > 0.0:
        reverse_C, reverse_CU = _reverse_kl(log_q_CV, q_CV, gap_CU)
        divergences.append(reverse_C)
        slope_CU.add_(reverse_CU, alpha=mix.reverse_kl)
    if mix.jsd > 0.0 or mix.skew_forward_kl > 0.0 or mix.skew_reverse_kl > 0.0:
        values, mixture_CU, rest_slope = _mixtures(q_CV, p_CU, gap_CU, mix)
        divergences += values
        mean_C1 = mixture_CU.sum(1, keepdim=True)
        if common < slope_CV.shape[1]:
            mean_C1 = mean_C1 + rest_slope * q_CV[:, common:].sum(1, keepdim=True)
            slope_CV[:, common:].add_(q_CV[:, common:], alpha=rest_slope)
        slope_CU.add_(mixture_CU)
        slope_CV.sub_(q_CV * mean_C1)
    if temperature != 1.0:
        slope_CV.mul_(temperature)
        if mix.ce > 0.0:
            log_q_CV = torch.log_softmax(_scaled(student_CV, student_scale), 1)
            measures.append(-log_q_CV.gather(1, target_C1).squeeze(1))
            slope_CV.add_(log_q_CV.exp(), alpha=mix.ce)
    if mix.ce > 0.0:
        slope_CV.scatter_add_(1, target_C1, slope_CV.new_full((1, 1), -mix.ce).expand_as(target_C1))
    grad_CV.copy_(slope_CV.mul_(factor_C1))
    return torch.stack(measures + divergences)


def _scaled(logits: Tensor, factor: float) -> Tensor:
    return logits if factor == 1.0 else logits * factor
