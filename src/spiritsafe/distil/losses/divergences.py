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

:data:`DIVERGENCES` is the one list of them: recipes, heads and reports read it, so a new divergence is a function and
its row there.

Shapes: C rows, V student vocabulary, U teacher vocabulary (U ≤ V: already cut to the common ids), M measures of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from spiritsafe.core.errors import RecipeError


class Rows(NamedTuple):
    """What a divergence sees of some rows, at the temperature: log q, q, p, and log q - log p on the common ids."""

    log_q_CV: Tensor
    q_CV: Tensor
    p_CU: Tensor
    gap_CU: Tensor


class Term(NamedTuple):
    """A divergence of some rows and its derivative.

    Attributes:
        value_C: Of each row.
        slope_CU: q · g on the common ids; where it is centred, the gradient by the scaled logits, there or of all ids.
        factor: Both slopes are multiplied by it.
        rest: g on the ids that only the student has, where the slope is not centred.
        is_centred: Whether Σ q·g is taken off already. Of the others it is, of all at once.
    """

    value_C: Tensor
    slope_CU: Tensor
    factor: float = 1.0
    rest: float = 0.0
    is_centred: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A divergence as all rooms know it.

    Attributes:
        of_rows: Value and derivative; the mixture has the parameters.
        label: In reports.
        measure: In a training's curve.
        needs_whole_vocabulary: Whether a few entries of a teacher's row do not serve. Forward KL alone does without,
            and :func:`~spiritsafe.distil.losses.sampled_head.sampled_head` is its formula.
        told_at_zero: Whether runs' fingerprints hold its weight even where it is 0. Leave it out: only those have it
            that were there when the first runs were made.
    """

    of_rows: Callable[[Rows, LossMix], Term]
    label: str
    measure: str
    needs_whole_vocabulary: bool = True
    told_at_zero: bool = False


def _log_ratios(gap_CU: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """``log(q / m)`` and ``log(p / m)`` for ``m = share·p + (1 - share)·q``, from ``log q - log p``.

    Written from the larger of q and p, so the logarithm's argument stays in [min(share, 1 - share), 1], nothing
    overflows, and both are exactly 0 where p = q.
    """
    other_share_CU = torch.where(gap_CU >= 0.0, gap_CU.new_full((), share), gap_CU.new_full((), 1.0 - share))
    ratio_CU = torch.log1p(torch.expm1(-gap_CU.abs()) * other_share_CU).neg_()
    return ratio_CU + gap_CU.clamp(max=0.0), ratio_CU - gap_CU.clamp(min=0.0)


def _rest(rows: Rows) -> Tensor:
    """What the student gives to ids that only it has: 0 where the vocabularies are equal."""
    return rows.q_CV[:, rows.p_CU.shape[1] :].sum(1)


def _forward_kl(rows: Rows, mix: LossMix) -> Term:
    gradient_CV = rows.q_CV.clone()
    # before any factor: exactly 0 at equality, however products are fused
    (gradient_CV if rows.p_CU.shape == gradient_CV.shape else gradient_CV[:, : rows.p_CU.shape[1]]).sub_(rows.p_CU)
    return Term(-(rows.p_CU * rows.gap_CU).sum(1), gradient_CV, is_centred=True)


def _reverse_kl(rows: Rows, mix: LossMix) -> Term:
    """Q is renormalised over the common ids."""
    common, q_CU, gap_CU = rows.p_CU.shape[1], rows.q_CV, rows.gap_CU
    if q_CU.shape[1] > common:
        shift_C1 = torch.logsumexp(rows.log_q_CV[:, :common], 1, keepdim=True)
        q_CU, gap_CU = (rows.log_q_CV[:, :common] - shift_C1).exp(), gap_CU - shift_C1
    value_C1 = (q_CU * gap_CU).sum(1, keepdim=True)
    return Term(value_C1.squeeze(1), q_CU * (gap_CU - value_C1), is_centred=True)


def _jsd(rows: Rows, mix: LossMix) -> Term:
    beta = mix.jsd_beta
    log_qm_CU, log_pm_CU = _log_ratios(rows.gap_CU, beta)
    rest = -math.log1p(-beta)
    q_part_CU = rows.q_CV[:, : rows.p_CU.shape[1]] * log_qm_CU
    value_C = beta * (rows.p_CU * log_pm_CU).sum(1) + (1.0 - beta) * (q_part_CU.sum(1) + rest * _rest(rows))
    return Term(value_C, q_part_CU, factor=1.0 - beta, rest=rest)


def _skew_forward_kl(rows: Rows, mix: LossMix) -> Term:
    q_CU = rows.q_CV[:, : rows.p_CU.shape[1]]
    log_qm_CU, log_pm_CU = _log_ratios(rows.gap_CU, mix.skew_alpha)
    # g = -(1 - α)·p/m, plus 1 - α; p·q/m as p·exp(log q/m), whose exponent is bounded by -log(1 - α)
    slope_CU = q_CU - rows.p_CU * log_qm_CU.exp()
    return Term((rows.p_CU * log_pm_CU).sum(1), slope_CU, factor=1.0 - mix.skew_alpha, rest=1.0)


def _skew_reverse_kl(rows: Rows, mix: LossMix) -> Term:
    alpha, q_CU = mix.skew_alpha, rows.q_CV[:, : rows.p_CU.shape[1]]
    log_qm_CU, _ = _log_ratios(rows.gap_CU, 1.0 - alpha)
    rest_log = -math.log(alpha)
    # g = log(q/m) - α·q/m, plus α
    slope_CU = q_CU * (log_qm_CU - alpha * torch.expm1(log_qm_CU))
    value_C = (q_CU * log_qm_CU).sum(1) + rest_log * _rest(rows)
    return Term(value_C, slope_CU, rest=rest_log - alpha * (1.0 / alpha - 1.0))


FORWARD_KL = "forward_kl"
"""Its value is told of every mixture, and its gradient is what the others are added to."""

DIVERGENCES = {
    FORWARD_KL: Divergence(
        of_rows=_forward_kl, label="forward KL", measure="kl", needs_whole_vocabulary=False, told_at_zero=True
    ),
    "reverse_kl": Divergence(of_rows=_reverse_kl, label="reverse KL", measure="reverse_kl", told_at_zero=True),
    "jsd": Divergence(of_rows=_jsd, label="Jensen–Shannon divergence", measure="jsd", told_at_zero=True),
    "skew_forward_kl": Divergence(
        of_rows=_skew_forward_kl, label="skew forward KL", measure="skew_kl", told_at_zero=True
    ),
    "skew_reverse_kl": Divergence(
        of_rows=_skew_reverse_kl, label="skew reverse KL", measure="skew_reverse_kl", told_at_zero=True
    ),
}


@final
@dataclass(frozen=True, init=False)
class LossMix:
    """A weighted sum of losses; see the module for each of them.

    Attributes:
        ce: Weight of the cross-entropy on the traces, at temperature 1.
        jsd_beta: β of the generalised Jensen-Shannon divergence, above 0 and below 1.
        skew_alpha: α of the skew divergences, above 0 and below 1.
        temperature: τ of all divergences.
        divergences: Those with a weight, in the order of :data:`DIVERGENCES`, and their weights; given by name.

    Raises:
        RecipeError: A divergence is unknown, a weight is negative or not finite, all are 0, or a parameter is out of
            range.
    """

    ce: float
    jsd_beta: float
    skew_alpha: float
    temperature: float
    divergences: tuple[tuple[str, float], ...]

    def __init__(
        self,
        *,
        ce: float = 0.0,
        jsd_beta: float = 0.5,
        skew_alpha: float = 0.1,
        temperature: float = 1.0,
        **weights: float,
    ) -> None:
        for name in weights.keys() - DIVERGENCES.keys():
            raise RecipeError(f"{name} is no divergence.", hint=f"Divergences are {', '.join(DIVERGENCES)}.")
        settings = {"ce": ce, "jsd_beta": jsd_beta, "skew_alpha": skew_alpha, "temperature": temperature}
        for name, value in {**weights, **settings}.items():
            if not (math.isfinite(value) and value >= 0.0):
                raise RecipeError(f"{name} {value} is not a weight.", hint="Use a finite number, 0 or above.")
        asked = tuple((name, weights[name]) for name in DIVERGENCES if weights.get(name))
        if not ce and not asked:
            raise RecipeError("Every weight of the loss is 0.", hint="Give at least one of them, such as forward_kl=1.")
        for name, value in (("jsd_beta", jsd_beta), ("skew_alpha", skew_alpha)):
            if not 0.0 < value < 1.0:
                raise RecipeError(
                    f"{name} {value} is not between 0 and 1.",
                    hint="At the ends these are no mixtures: use forward_kl or reverse_kl instead.",
                )
        if temperature == 0.0:
            raise RecipeError("temperature 0 is not positive.", hint="Use 1, or 2 for softer targets.")
        vars(self).update(settings, divergences=asked)

    def weight(self, divergence: str) -> float:
        """Of one divergence."""
        return dict(self.divergences).get(divergence, 0.0)

    def describe(self) -> dict[str, float]:
        """All settings by name, for a run's fingerprint."""
        told = {name: 0.0 for name, divergence in DIVERGENCES.items() if divergence.told_at_zero}
        settings = {name: value for name, value in vars(self).items() if name != "divergences"}
        return {**settings, **told, **dict(self.divergences)}


def measure_names(mix: LossMix) -> tuple[str, ...]:
    """What :func:`mix_rows` says of each row, in its order.

    ``kl`` is forward KL; divergences are without τ². ``ce`` is there when it is asked or free (temperature 1).
    """
    ce = ("ce",) if mix.ce > 0.0 or mix.temperature == 1.0 else ()
    others = (DIVERGENCES[name].measure for name, _ in mix.divergences if name != FORWARD_KL)
    return ("teacher_entropy", "agreement", DIVERGENCES[FORWARD_KL].measure, *ce, *others)


def measure_weights(mix: LossMix) -> tuple[float, ...]:
    """The weight of each of :func:`measure_names` in the loss."""
    squared = mix.temperature**2
    weights = {DIVERGENCES[name].measure: weight * squared for name, weight in mix.divergences} | {"ce": mix.ce}
    return tuple(weights.get(name, 0.0) for name in measure_names(mix))


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
        student_scale: Of the student's logits.

    Returns:
        ``[M, C]``: the rows' measures, in the order of :func:`measure_names`.
    """
    temperature, common = mix.temperature, teacher_CU.shape[1]
    log_q_CV = torch.log_softmax(_scaled(student_CV, student_scale / temperature), 1)
    log_p_CU = torch.log_softmax(_scaled(teacher_CU, teacher_scale / temperature), 1)
    q_CV, p_CU = log_q_CV.exp(), log_p_CU.exp()
    gap_CU = log_q_CV[:, :common] - log_p_CU
    rows = Rows(log_q_CV, q_CV, p_CU, gap_CU)
    kl = DIVERGENCES[FORWARD_KL].of_rows(rows, mix)
    measures = [-(p_CU * log_p_CU).sum(1), (log_q_CV.argmax(1) == log_p_CU.argmax(1)).to(gap_CU.dtype), kl.value_C]
    slope_CV = kl.slope_CU.mul_(mix.weight(FORWARD_KL))
    slope_CU = slope_CV if common == slope_CV.shape[1] else slope_CV[:, :common]
    if temperature == 1.0:
        measures.append(-log_q_CV.gather(1, target_C1).squeeze(1))
        if mix.ce > 0.0:
            slope_CV.add_(q_CV, alpha=mix.ce)
    divergences = []
    mixed_CU, mixed_rest = None, 0.0  # q·g of what is not centred, and g on the ids that only the student has
    for name, weight in mix.divergences:
        if name == FORWARD_KL:
            continue
        term = DIVERGENCES[name].of_rows(rows, mix)
        divergences.append(term.value_C)
        if term.is_centred:
            slope_CU.add_(term.slope_CU, alpha=weight * term.factor)
            continue
        mixed_CU = torch.zeros_like(p_CU) if mixed_CU is None else mixed_CU
        mixed_CU.add_(term.slope_CU, alpha=weight * term.factor)
        mixed_rest += weight * term.factor * term.rest
    if mixed_CU is not None:
        mean_C1 = mixed_CU.sum(1, keepdim=True)
        if common < slope_CV.shape[1]:
            mean_C1 = mean_C1 + mixed_rest * q_CV[:, common:].sum(1, keepdim=True)
            slope_CV[:, common:].add_(q_CV[:, common:], alpha=mixed_rest)
        slope_CU.add_(mixed_CU)
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
