"""Losses of reinforcement learning: what each token costs and how that changes with its new log-probability.

In: log-probabilities of drawn tokens as the model in training gives them and as they were when drawn, and advantages.
Out: for each token its loss and the loss's derivative by its log-probability. Pure functions, no model. All that tells
the methods apart stands in :class:`PolicyLoss`: the surrogate here, and from
:mod:`~spiritsafe.reinforce.loss.advantages` the baseline, the scaling and the mean.

Shapes: R rows (drawn tokens), S sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spiritsafe.core.records import Record
from spiritsafe.reinforce.loss.advantages import Aggregation, Baseline, Scale

PolicyMethod = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "rft"]

_PRESETS: Mapping[str, Mapping[str, Any]] = {
    # arXiv 2402.03300 eq. 3
    "grpo": {"clip_low": 0.2, "clip_high": 0.2, "baseline": "mean", "scale": "group", "aggregation": "sequence"},
    # arXiv 2503.20783 §3.2: without the two terms that favour long wrong answers and easy or hard prompts
    "dr_grpo": {"clip_low": 0.2, "clip_high": 0.2, "baseline": "mean", "scale": "none", "aggregation": "constant"},
    # arXiv 2503.14476 §3.1: "we set the clipping parameter ε_low to 0.2 and ε_high to 0.28"
    "dapo": {"clip_low": 0.2, "clip_high": 0.28, "baseline": "mean", "scale": "group", "aggregation": "token"},
    # arXiv 2507.18071 §5.1: clipping ranges of 3e-4 and 4e-4
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4, "baseline": "mean", "scale": "group", "aggregation": "sequence"},
    # arXiv 2506.13585 eq. 4 and 5; weights up to 5 as in arXiv 2510.13786
    "cispo": {"clip_low": None, "clip_high": 4.0, "baseline": "mean", "scale": "group", "aggregation": "token"},
    # arXiv 2402.14740: REINFORCE with the mean of the others as baseline; dividing by a constant changes no direction
    "rloo": {
        "clip_low": None,
        "clip_high": None,
        "baseline": "leave_one_out",
        "scale": "none",
        "aggregation": "constant",
    },
    # rejection-sampled fine-tuning: the advantage is the reward, so right answers are learnt and wrong ones are not
    "rft": {"clip_low": None, "clip_high": None, "baseline": "none", "scale": "none", "aggregation": "token"},
}


class PolicyLoss(Record):
    """Which loss. What is not given is as in the method's paper; a resolved record names all of it.

    Attributes:
        method: Chooses the surrogate and the presets of all that follows.
        clip_low: A ratio below ``1 - clip_low`` gives no gradient where the advantage is negative.
        clip_high: A ratio above ``1 + clip_high`` gives none where it is positive. With "cispo" the weight of a token
            is its ratio, at most ``1 + clip_high``, and no token is left out.
        truncation: For rollouts of an engine that computes other probabilities than the trainer (a server), or of older
            weights: each token's policy gradient is weighted by its ratio of trainer to sampler, at most this
            (truncated importance sampling; with "gspo" the sequence's ratio). It takes the place of clipping. None:
            the ratio is clipped.
        kl_weight: Of the penalty for leaving a reference model (k3, unbiased and never negative).
        temperature: At which completions are drawn; log-probabilities are those at this temperature.
        aggregation: The mean over tokens, see :func:`~spiritsafe.reinforce.loss.advantages.aggregation_weights`.
        baseline: What is subtracted from rewards, see :func:`~spiritsafe.reinforce.loss.advantages.group_advantages`.
        scale: What advantages are divided by.
    """

    method: PolicyMethod
    clip_low: float | None = Field(default=None, gt=0.0, lt=1.0)
    clip_high: float | None = Field(default=None, gt=0.0)
    truncation: float | None = Field(default=None, ge=1.0)
    kl_weight: float = Field(default=0.0, ge=0.0)
    temperature: float = Field(default=1.0, gt=0.0)
    aggregation: Aggregation = "token"
    baseline: Baseline = "mean"
    scale: Scale = "none"

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_method(cls, given: Any) -> Any:
        method = given.get("method") if isinstance(given, Mapping) else None
        if not isinstance(method, str) or method not in _PRESETS:
            return given
        preset = dict(_PRESETS[method])
        if given.get("truncation") is not None and method != "cispo":
            preset |= {"clip_low": None, "clip_high": None}
        return {**preset, **given}

    @model_validator(mode="after")
    def _options_can_take_effect(self) -> Self:
        clips = (self.clip_low is not None, self.clip_high is not None)
        if self.truncation is not None and self.method in ("cispo", "rft"):
            why = {"cispo": "its weights are truncated by clip_high already", "rft": "it weighs no token by a ratio"}
            raise ValueError(f"truncation has no effect with {self.method}: {why[self.method]}")
        if self.truncation is not None and any(clips):
            raise ValueError("clip_low and clip_high have no effect beside truncation, which takes their place")
        if self.method in ("rloo", "rft") and any(clips):
            raise ValueError(f"clip_low and clip_high have no effect with {self.method}, which has no ratio")
        if self.method == "cispo" and clips != (False, True):
            raise ValueError("cispo needs clip_high, and clip_low has no effect with it")
        if self.method in ("grpo", "dr_grpo", "dapo", "gspo") and self.truncation is None and not all(clips):
            raise ValueError(f"{self.method} needs clip_low and clip_high, or truncation")
        if self.method == "rft" and (self.baseline, self.scale) != ("none", "none"):
            raise ValueError("rft learns from answers by their reward: baseline and scale must be none")
        return self

    @property
    def clips(self) -> bool:
        """Whether it bounds the ratio of the model now to what the model was (not to what another engine drew)."""
        return self.clip_high is not None

    @property
    def by_sequence(self) -> bool:
        """Whether a token's loss depends on its whole sequence."""
        return self.method == "gspo"


@final
@dataclass(frozen=True, kw_only=True)
class TokenLoss:
    """Loss of R tokens.

    Attributes:
        loss_R: Of each.
        slope_R: Derivative by the log-probability of the same token. With a sequence's ratio: of the sum over the
            sequence's tokens, which must all have the same weight.
        ratio_R: Probability now over probability when drawn (of the sequence, where that is used); None where the loss
            uses none.
        is_clipped_R: Where the bound on the ratio holds; None where there is none.
    """

    loss_R: Tensor
    slope_R: Tensor
    ratio_R: Tensor | None = None
    is_clipped_R: Tensor | None = None


def clipped_loss(log_ratio_R: Tensor, advantages_R: Tensor, *, clip_low: float, clip_high: float) -> TokenLoss:
    """``-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)``, r the ratio (arXiv 2402.03300 eq. 3, 2507.18071 eq. 5).

    Its derivative by the log-probability is ``-r A`` where the first is the smaller, else 0.

    Args:
        log_ratio_R: Log-probability now minus when drawn; or the sequence's mean of it, in each of its rows.
        advantages_R: Of each row.
        clip_low: Below ``1 - clip_low`` a negative advantage gives no gradient.
        clip_high: Above ``1 + clip_high`` a positive one gives none.
    """
    ratio_R = log_ratio_R.exp()
    is_clipped_R = ((advantages_R < 0) & (ratio_R < 1 - clip_low)) | ((advantages_R > 0) & (ratio_R > 1 + clip_high))
    free_R = ratio_R * advantages_R
    bound_R = ratio_R.clamp(1 - clip_low, 1 + clip_high) * advantages_R
    return TokenLoss(
        loss_R=-torch.minimum(free_R, bound_R),
        slope_R=torch.where(is_clipped_R, torch.zeros_like(free_R), -free_R),
        ratio_R=ratio_R,
        is_clipped_R=is_clipped_R,
    )


def truncated_loss(logprobs_R: Tensor, log_ratio_R: Tensor, advantages_R: Tensor, *, cap: float) -> TokenLoss:
    """``-min(r, cap) A log p``, the weight taken as given (CISPO, arXiv 2506.13585 eq. 4).

    Args:
        logprobs_R: Log-probability now.
        log_ratio_R: The same minus when drawn; or the sequence's mean of it.
        advantages_R: Of each row.
        cap: Most that a token weighs.
    """
    ratio_R = log_ratio_R.exp()
    slope_R = -ratio_R.clamp(max=cap) * advantages_R
    return TokenLoss(loss_R=slope_R * logprobs_R, slope_R=slope_R, ratio_R=ratio_R, is_clipped_R=ratio_R > cap)


def likelihood_loss(logprobs_R: Tensor, advantages_R: Tensor) -> TokenLoss:
    """``-A log p``: REINFORCE (arXiv 2402.14740); with the reward as advantage, fine-tuning on right answers."""
    return TokenLoss(loss_R=-advantages_R * logprobs_R, slope_R=-advantages_R)


def reference_penalty(logprobs_R: Tensor, reference_R: Tensor) -> TokenLoss:
    """``q/p - log(q/p) - 1`` with p now and q the reference's probability (k3, arXiv 2402.03300 eq. 4).

    Its expectation over tokens drawn from p is KL(p ‖ q), and it is never negative.
    """
    log_ratio_R = reference_R - logprobs_R
    growth_R = torch.expm1(log_ratio_R)
    return TokenLoss(loss_R=growth_R - log_ratio_R, slope_R=-growth_R)


def sequence_log_ratios(log_ratio_R: Tensor, sequences_R: Tensor) -> Tensor:
    """The mean log-ratio of each row's sequence, in each of its rows (arXiv 2507.18071 eq. 7).

    Args:
        log_ratio_R: Of all tokens of the sequences.
        sequences_R: int64, which sequence a row belongs to, from 0.
    """
    num_sequences = int(sequences_R.max()) + 1
    sums_S = log_ratio_R.new_zeros(num_sequences).index_add_(0, sequences_R, log_ratio_R)
    counts_S = torch.bincount(sequences_R, minlength=num_sequences)
    return (sums_S / counts_S)[sequences_R]


def policy_loss(
    config: PolicyLoss, logprobs_R: Tensor, drawn_R: Tensor, advantages_R: Tensor, sequences_R: Tensor
) -> TokenLoss:
    """The loss that a configuration names, without the penalty.

    Args:
        logprobs_R: Log-probability of each drawn token now.
        drawn_R: The same when it was drawn.
        advantages_R: Of each row's sequence.
        sequences_R: int64, which sequence a row belongs to; with ``config.by_sequence`` all its rows must be there.
    """
    log_ratio_R = logprobs_R - drawn_R
    if config.by_sequence:
        log_ratio_R = sequence_log_ratios(log_ratio_R, sequences_R)
    if config.truncation is not None:
        return truncated_loss(logprobs_R, log_ratio_R, advantages_R, cap=config.truncation)
    if config.clip_high is None:
        return likelihood_loss(logprobs_R, advantages_R)
    if config.clip_low is None:
        return truncated_loss(logprobs_R, log_ratio_R, advantages_R, cap=1.0 + config.clip_high)
    return clipped_loss(log_ratio_R, advantages_R, clip_low=config.clip_low, clip_high=config.clip_high)
