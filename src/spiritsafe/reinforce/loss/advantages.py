"""From rewards to advantages, and from lengths to the weights that make a sum over tokens the mean a method wants.

In: rewards of each group (completions of one prompt), lengths of completions. Out: plain numbers, which become
:class:`~spiritsafe.models.DrawnCompletion` and the weight of a document. Pure and exact: a group whose rewards
are all the same has advantages of exactly 0, so it can be found and left out before anything is computed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

Baseline = Literal["mean", "leave_one_out", "none"]
Scale = Literal["none", "group", "batch"]
Aggregation = Literal["token", "sequence", "constant"]

_STD_FLOOR = 1e-4
"""Added to a standard deviation, as TRL does."""


def group_advantages(
    rewards: Sequence[Sequence[float]], *, baseline: Baseline = "mean", scale: Scale = "none"
) -> list[list[float]]:
    """How much better each completion is than what was to be expected of its prompt.

    Args:
        rewards: For each group the rewards of its completions; groups may differ in size.
        baseline: What is subtracted. "mean": the group's mean (GRPO, arXiv 2402.03300 §4.1.2; without scaling Dr.GRPO,
            2503.20783 §3.2). "leave_one_out": the mean of the others (RLOO, 2402.14740 §3.3). "none": nothing.
        scale: What it is divided by. "group": the standard deviation (n - 1) of the group's rewards (GRPO); "batch":
            that of all rewards (arXiv 2508.08221); "none": nothing.

    Returns:
        Advantages, group by group. A group without differences has exact zeros, unless ``baseline`` is "none".

    Raises:
        ValueError: A reward is not a finite number.
    """
    pooled = [reward for group in rewards for reward in group]
    if not all(map(math.isfinite, pooled)):
        raise ValueError("a reward is not a finite number; leave attempts that could not be scored out")
    centred = [_subtract(group, baseline) for group in rewards]
    if scale == "none":
        return centred
    of_batch = _deviation(pooled)
    return [
        [value / ((of_batch if scale == "batch" else _deviation(group)) + _STD_FLOOR) for value in values]
        for group, values in zip(rewards, centred, strict=True)
    ]


def _subtract(group: Sequence[float], baseline: Baseline) -> list[float]:
    if baseline == "none":
        return list(group)
    if not group or min(group) == max(group):
        return [0.0] * len(group)
    total = math.fsum(group)
    if baseline == "mean":
        return [reward - total / len(group) for reward in group]
    return [reward - (total - reward) / (len(group) - 1) for reward in group]


def _deviation(rewards: Sequence[float]) -> float:
    return statistics.stdev(rewards) if len(rewards) > 1 else 0.0


def aggregation_weights(lengths: Sequence[int], kind: Aggregation, *, max_tokens: int) -> list[float]:
    """Weights of documents under which the trainer's mean over supervised tokens is the mean that a method wants.

    With l the loss of a token, w these weights, n completions and T supervised tokens in all,
    ``sum_i w_i sum_t l_it / T`` is then:

    * "token": the mean over all tokens of the step, every weight is 1. That is DAPO's (arXiv 2503.14476 eq. 8) as TRL
      and verl compute it; the equation, read as it stands, takes the mean over each prompt's tokens, then over prompts;
    * "sequence": the mean over completions of the mean over their tokens (GRPO, 2402.03300 eq. 3);
    * "constant": the sum over tokens over ``n * max_tokens`` (Dr.GRPO, 2503.20783 §3.2: no bias by length).

    Args:
        lengths: Supervised tokens of each completion of one step, all of them.
        max_tokens: Most tokens a completion may have; used by "constant".

    Raises:
        ValueError: A completion has no token, or more than ``max_tokens``.
    """
    if any(not 1 <= length <= max_tokens for length in lengths):
        raise ValueError(f"completions have from 1 to max_tokens = {max_tokens} tokens, not {sorted(set(lengths))}")
    total, count = sum(lengths), len(lengths)
    if kind == "token":
        return [1.0] * count
    if kind == "sequence":
        return [total / (count * length) for length in lengths]
    return [total / (count * max_tokens)] * count


def overlong_penalty(num_tokens: int, *, limit: int, buffer: int) -> float:
    """What a long completion loses of its reward: 0, then a ramp to -1 at the limit (DAPO, arXiv 2503.14476 eq. 13).

    Args:
        num_tokens: Tokens of the completion.
        limit: L_max, where the whole penalty is reached.
        buffer: L_cache, tokens before the limit where it begins; 0: no penalty up to the limit.

    Raises:
        ValueError: The buffer is negative or longer than the limit.
    """
    if not 0 <= buffer <= limit:
        raise ValueError(f"buffer must be from 0 to limit = {limit}, not {buffer}")
    if num_tokens > limit:
        return -1.0
    excess = num_tokens - (limit - buffer)
    return -excess / buffer if excess > 0 else 0.0
