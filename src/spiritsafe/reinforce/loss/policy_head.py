"""The last linear map and a policy's loss, in one pass over chunks of rows.

In: hidden states of the rows that predict drawn tokens, the head's weight, what is known of the draw. Out: the loss,
the gradient of the hidden states, and the weight's gradient added straight into its buffer, as
:mod:`spiritsafe.training.chunked_head` makes them. Log-probabilities and entropy are exact, over the whole
vocabulary, in float32.

Matrix products a row: three (logits, hidden gradient, weight gradient), two with a frozen head. Where a token's loss
depends on its whole sequence, chunks end where sequences end, so it is three as well; a sequence that alone exceeds
the budget takes a fourth, because its log-probabilities are needed before its gradient.

Shapes: R rows, C rows of one chunk, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from spiritsafe.reinforce.loss.policy_loss import PolicyLoss, TokenLoss, policy_loss, reference_penalty
from spiritsafe.training import (
    ChunkedHead,
    ChunkLogits,
    RowLoss,
    check_head_shapes,
    even_slices,
    logits_budget,
    logits_bytes_per_row,
)

_CPU_STRIPE_BYTES = 16 << 20
_CUDA_STRIPE_BYTES = 256 << 20


@final
@dataclass(frozen=True, kw_only=True)
class PolicyRows:
    """The rows of drawn tokens, as a head needs them.

    Attributes:
        targets_R: int64, the token each row predicts.
        weights_R: Weight of each row, already divided by the step's normaliser; the same for all of a sequence.
        advantages_R: Of each row's sequence.
        drawn_R: Log-probability of the target when it was drawn.
        is_known_R: bool; where it is not, the ratio to the drawing policy is taken to be 1.
        sequences_R: int64, which sequence a row belongs to, ascending from 0.
        reference_R: Log-probability of the target under the reference model; None: there is none.
    """

    targets_R: Tensor
    weights_R: Tensor
    advantages_R: Tensor
    drawn_R: Tensor
    is_known_R: Tensor
    sequences_R: Tensor
    reference_R: Tensor | None = None

    def of(self, rows: slice) -> PolicyRows:
        """Some of the rows."""
        reference_R = self.reference_R
        return PolicyRows(
            targets_R=self.targets_R[rows],
            weights_R=self.weights_R[rows],
            advantages_R=self.advantages_R[rows],
            drawn_R=self.drawn_R[rows],
            is_known_R=self.is_known_R[rows],
            sequences_R=self.sequences_R[rows],
            reference_R=None if reference_R is None else reference_R[rows],
        )


@final
@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """Loss and gradient of a policy over R rows.

    Attributes:
        loss: Weighted sum over rows, penalty included.
        grad_hidden_RH: Its gradient, in the hidden states' dtype.
        logprobs_R: Log-probability of each target now.
        entropy_R: Of each row's distribution, in nats.
        token: Loss of each row without weight and without penalty.
        penalty_R: Divergence from the reference by row; None without one.
    """

    loss: Tensor
    grad_hidden_RH: Tensor
    logprobs_R: Tensor
    entropy_R: Tensor
    token: TokenLoss
    penalty_R: Tensor | None


@torch.no_grad()
def token_logprobs(
    hidden_RH: Tensor, weight_VH: Tensor, targets_R: Tensor, *, scale: float, logits_bytes: int | None = None
) -> Tensor:
    """``log softmax(hidden @ weight.T * scale)[target]`` of each row; one matrix product.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    most = _most_rows(hidden_RH, weight_VH, logits_bytes)
    logits = ChunkLogits(hidden_RH, weight_VH, most_rows=most, scale=scale)
    return _first_pass(logits, slice(0, hidden_RH.shape[0]), targets_R)


@torch.no_grad()
def policy_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    rows: PolicyRows,
    *,
    config: PolicyLoss,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> PolicyResult:
    """``sum over rows of weight * (loss + kl_weight * penalty)``, and its gradients.

    Args as of :class:`~spiritsafe.training.ChunkedHead`, ``scale`` apart from the configuration's temperature.

    Raises:
        CompatibilityError: Shapes do not fit together, or a target is outside the vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, rows.targets_R)
    scale = scale / config.temperature
    most = _most_rows(hidden_RH, weight_VH, logits_bytes)
    head = ChunkedHead(hidden_RH, weight_VH, scale=scale, grad_weight_VH=grad_weight_VH, most_rows=most)
    parts: list[_RowLoss] = []
    entropies: list[Tensor] = []
    for span, has_first_pass in _spans(rows, config, most):
        slope_S: Tensor | None = None
        if has_first_pass:
            parts.append(_row_loss(config, _first_pass(head.logits, span, rows.targets_R), rows.of(span)))
            slope_S = parts[-1].slope_R
        loss = _span_loss(config, rows, scale, span.start, slope_S, parts)
        entropies += head.run(loss, [[chunk] for chunk in even_slices(span.start, span.stop, most)])
    return _result(parts, rows, config, head.grad_hidden_RH, torch.cat(entropies))


def _most_rows(hidden_RH: Tensor, weight_VH: Tensor, logits_bytes: int | None) -> int:
    return max(1, logits_budget(hidden_RH, logits_bytes) // logits_bytes_per_row(hidden_RH, weight_VH.shape[0]))


def _first_pass(logits: ChunkLogits, span: slice, targets_R: Tensor) -> Tensor:
    parts = []
    for chunk, logits_CV in logits.in_chunks(span):
        wanted_C = logits_CV.gather(1, targets_R[chunk, None]).squeeze(1)
        parts.append(wanted_C - torch.logsumexp(logits_CV, 1))
    return torch.cat(parts)


@final
@dataclass(frozen=True, kw_only=True)
class _RowLoss:
    """What some rows cost; the slope has weights and penalty in it."""

    logprobs_R: Tensor
    token: TokenLoss
    penalty_R: Tensor | None
    slope_R: Tensor


def _span_loss(
    config: PolicyLoss, rows: PolicyRows, scale: float, start: int, slope_S: Tensor | None, parts: list[_RowLoss]
) -> RowLoss:
    """Loss of a span's rows, which tells their entropy; without slopes of a first pass a chunk makes its own part."""

    def loss(chunk: slice, logits_CV: Tensor, grad_CV: Tensor) -> tuple[Tensor]:
        target_C1 = rows.targets_R[chunk, None]
        logprobs_C, entropy_C = _make_probabilities(logits_CV, target_C1)
        if slope_S is None:
            parts.append(_row_loss(config, logprobs_C, rows.of(chunk)))
            slope_C = parts[-1].slope_R
        else:
            slope_C = slope_S[chunk.start - start : chunk.stop - start]
        # d log p[target] / d logits = one-hot - p
        factor_C1 = slope_C[:, None] * scale
        grad_CV.copy_(logits_CV.mul_(-factor_C1).scatter_add_(1, target_C1, factor_C1))
        return (entropy_C,)

    return loss


def _spans(rows: PolicyRows, config: PolicyLoss, most: int) -> Iterator[tuple[slice, bool]]:
    """Ranges of rows whose losses do not depend on other rows; and whether one must be read before its gradient.

    Where losses depend on whole sequences, as many sequences as fit the budget of ``most`` rows are a range.
    """
    num_rows = rows.targets_R.shape[0]
    if not (config.by_sequence and bool(rows.is_known_R.any())):  # a ratio of 1 needs no other token
        for chunk in even_slices(0, num_rows, most):
            yield chunk, False
        return
    start = stop = 0
    for length in torch.unique_consecutive(rows.sequences_R, return_counts=True)[1].tolist():
        if stop > start and stop + length - start > most:
            yield slice(start, stop), stop - start > most
            start = stop
        stop += length
    yield slice(start, stop), stop - start > most


def _make_probabilities(logits_CV: Tensor, target_C1: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into probabilities in place; log-probability of the targets, and entropy.

    By stripes of a few rows: the copy that the entropy needs is small and still in cache.
    """
    size = _CUDA_STRIPE_BYTES if logits_CV.is_cuda else _CPU_STRIPE_BYTES
    parts = []
    for stripe in even_slices(0, logits_CV.shape[0], size // (logits_CV.shape[1] * logits_CV.itemsize)):
        logits_SV, target_S1 = logits_CV[stripe], target_C1[stripe]
        largest_S1, wanted_S1 = logits_SV.amax(1, keepdim=True), logits_SV.gather(1, target_S1)
        probs_SV = torch.softmax(logits_SV, 1)
        # The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
        log_z_S1 = largest_S1 - probs_SV.amax(1, keepdim=True).log()
        mean_S1 = logits_SV.mul_(probs_SV).sum(1, keepdim=True)
        parts.append(torch.cat((wanted_S1 - log_z_S1, log_z_S1 - mean_S1), 1))
        logits_SV.copy_(probs_SV)
    logprobs_C, entropy_C = torch.cat(parts).unbind(1)
    return logprobs_C, entropy_C


def _row_loss(config: PolicyLoss, logprobs_R: Tensor, rows: PolicyRows) -> _RowLoss:
    drawn_R = torch.where(rows.is_known_R, rows.drawn_R.to(logprobs_R.dtype), logprobs_R)
    advantages_R = rows.advantages_R.to(logprobs_R.dtype)
    token = policy_loss(config, logprobs_R, drawn_R, advantages_R, rows.sequences_R - rows.sequences_R[0])
    slope_R, penalty_R = token.slope_R, None
    if rows.reference_R is not None:
        penalty = reference_penalty(logprobs_R, rows.reference_R.to(logprobs_R.dtype))
        slope_R, penalty_R = slope_R + config.kl_weight * penalty.slope_R, penalty.loss_R
    weights_R = rows.weights_R.to(logprobs_R.dtype)
    return _RowLoss(logprobs_R=logprobs_R, token=token, penalty_R=penalty_R, slope_R=slope_R * weights_R)


def _result(
    parts: list[_RowLoss], rows: PolicyRows, config: PolicyLoss, grad_hidden_RH: Tensor, entropy_R: Tensor
) -> PolicyResult:
    token = TokenLoss(
        loss_R=torch.cat([part.token.loss_R for part in parts]),
        slope_R=torch.cat([part.token.slope_R for part in parts]),
    )
    ratios = [part.token.ratio_R for part in parts if part.token.ratio_R is not None]
    clipped = [part.token.is_clipped_R for part in parts if part.token.is_clipped_R is not None]
    if ratios and clipped:
        token = replace(token, ratio_R=torch.cat(ratios), is_clipped_R=torch.cat(clipped))
    penalties = [part.penalty_R for part in parts if part.penalty_R is not None]
    penalty_R = torch.cat(penalties) if penalties else None
    costs_R = token.loss_R if penalty_R is None else token.loss_R + config.kl_weight * penalty_R
    return PolicyResult(
        loss=torch.dot(costs_R, rows.weights_R.to(costs_R.dtype)),
        grad_hidden_RH=grad_hidden_RH,
        logprobs_R=torch.cat([part.logprobs_R for part in parts]),
        entropy_R=entropy_R,
        token=token,
        penalty_R=penalty_R,
    )
