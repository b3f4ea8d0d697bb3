"""What an attempt earns: the verifier's word, or, for controls, its form alone or a coin.

In: a verdict, how the attempt ended and how long it is. Out: a number, or None for an attempt that says nothing of the
model (its verifier broke, or nothing was drawn): it is left out of its group, not counted as wrong.
"""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import FinishReason, Record, Verdict
from spiritsafe.core.seeds import SEED_BITS, derive_seed
from spiritsafe.reinforce.loss.advantages import overlong_penalty

RewardKind = Literal["verifier", "format", "random"]


@final
class RewardConfig(Record):
    """What is rewarded.

    Attributes:
        kind: "verifier": 1 for a correct answer, else 0; so form counts only where the answer is right. "format": 1 for
            any answer that could be read, a control of how much form alone brings. "random": a coin, a control of how
            much comes from training on one's own text whatever it says (arXiv 2506.10947).
        rate: Share of 1s that the coin throws.
        partial: The verifier's score in place of 1 or 0, where it gives part marks.
        grades_truncated: Whether an attempt that ran into the limit of tokens may earn something; else it earns 0.
        overlong_buffer: Tokens before the limit in which the reward falls by up to 1 (DAPO, arXiv 2503.14476 eq. 13);
            0: no penalty.
    """

    kind: RewardKind = "verifier"
    rate: float = Field(default=0.5, gt=0.0, lt=1.0)
    partial: bool = False
    grades_truncated: bool = False
    overlong_buffer: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _options_can_take_effect(self) -> Self:
        default = type(self).model_fields["rate"].default
        if self.kind != "random" and self.rate != default:
            raise ValueError(f'rate has no effect on a reward of kind "{self.kind}"')
        if self.kind == "random" and (self.grades_truncated or self.overlong_buffer):
            raise ValueError("a coin does not look at the text: leave grades_truncated and overlong_buffer out")
        if self.kind != "verifier" and self.partial:
            raise ValueError(f'partial has no effect on a reward of kind "{self.kind}"')
        return self


def reward_of(
    config: RewardConfig,
    verdict: Verdict,
    *,
    finish_reason: FinishReason,
    num_tokens: int,
    max_tokens: int,
    coin: tuple[JSON, ...],
) -> float | None:
    """What one attempt earns.

    Args:
        verdict: Of the task's verifier.
        finish_reason: How the attempt ended.
        num_tokens: Tokens that can be learnt from.
        max_tokens: Most that there could be.
        coin: Parts of the seed of this attempt's own coin.

    Returns:
        The reward; None when the attempt is to be left out.
    """
    if not num_tokens or finish_reason in ("error", "refused"):
        return None
    if config.kind == "random":
        return float(derive_seed(*coin) / 2**SEED_BITS < config.rate)
    if verdict.status == "unscored":
        return None
    if config.kind == "format":
        earned = float(verdict.status != "unparsed")
    else:
        earned = verdict.score if config.partial else float(verdict.status == "correct")
    if finish_reason == "length" and not config.grades_truncated:
        earned = 0.0
    return earned + overlong_penalty(num_tokens, limit=max_tokens, buffer=config.overlong_buffer)
