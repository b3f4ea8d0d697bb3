"""What a round says of the policy: reward, length, entropy, pass@k, and what was wasted.

In: a round. Out: one flat row of numbers, a line of ``rounds.jsonl``. All statistics are over the answers that were
drawn, kept or not, unless their name says otherwise; they depend on which problems were due, so they show the course of
a run, and are no score of the model: that is what the development evaluation is for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.rounds.documents import has_advantage, kept_groups
from spiritsafe.reinforce.rounds.store import PolicyRound, RewardedAnswer


def pass_at_k(num_correct: int, num_scored: int, k: int) -> float:
    """Chance that k of a problem's scored attempts hold a correct one: ``1 - C(n-c, k) / C(n, k)``, unbiased.

    (arXiv 2107.03374 eq. 1.)

    Raises:
        ValueError: There are fewer than k.
    """
    if not 0 <= num_correct <= num_scored or not 1 <= k <= num_scored:
        raise ValueError(f"pass@{k} of {num_scored} attempts with {num_correct} correct is not defined")
    return 1.0 - math.comb(num_scored - num_correct, k) / math.comb(num_scored, k)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _percentile(lengths: Sequence[int], share: float) -> int:
    """The smallest length that so large a share of all does not exceed."""
    return sorted(lengths)[max(0, math.ceil(share * len(lengths)) - 1)]


def statistics(
    round_: PolicyRound, config: ReinforceConfig, *, pool: Mapping[str, float], dev: tuple[int, float] | None
) -> dict[str, Any]:
    """The round's row.

    Args:
        pool: Shares of the pool after the round, as :meth:`~spiritsafe.reinforce.pool.PromptPool.shares` gives them.
        dev: The newest development evaluation before the round: finished steps, score.

    Returns:
        Values that are not known are None: shares and means over nothing, entropy without log-probabilities.
    """
    header, answers = round_.header, round_.answers
    kept = kept_groups(round_.groups, config)
    return {
        "round": header.round_index,
        "num_prompts": len(round_.groups),
        "num_draws": len(header.draws),
        "num_answers": len(answers),
        "num_kept_groups": len(kept),
        "share_without_advantage": _mean([not has_advantage(group, config.loss) for group in round_.groups]),
        "reward_mean": _mean([answer.reward for answer in answers if answer.reward is not None]),
        "reward_mean_kept": _mean([a.reward for group in kept for a in group if a.reward is not None]),
        **_verdicts(round_, config),
        **_lengths(answers),
        "entropy": _entropy(answers),
        "staleness": header.staleness,
        "draw_seconds": header.draw_seconds,
        "grade_seconds": header.grade_seconds,
        **pool,
        "dev_step": None if dev is None else dev[0],
        "dev_score": None if dev is None else dev[1],
    }


def _verdicts(round_: PolicyRound, config: ReinforceConfig) -> dict[str, Any]:
    status = Counter(answer.verdict.status for answer in round_.answers)
    num_scored = status.total() - status["unscored"]
    counts = [Counter(answer.verdict.status for answer in group) for group in round_.groups]
    whole = [(of["correct"], of.total()) for of in counts if not of["unscored"] and of.total() == config.group_size]
    return {
        "pass_at_1": status["correct"] / num_scored if num_scored else None,
        "pass_at_k": _mean([pass_at_k(right, asked, config.group_size) for right, asked in whole]),
        "k": config.group_size,
        "share_parsed": (status["correct"] + status["wrong"]) / num_scored if num_scored else None,
        "num_unparsed": status["unparsed"],
        "num_unscored": status["unscored"],
    }


def _lengths(answers: Sequence[RewardedAnswer]) -> dict[str, Any]:
    drawn = [answer for answer in answers if answer.token_ids]
    lengths = [len(answer.token_ids) for answer in drawn]
    right = [len(answer.token_ids) for answer in drawn if answer.verdict.status == "correct"]
    wrong = [len(answer.token_ids) for answer in drawn if answer.verdict.status in ("wrong", "unparsed")]
    return {
        "num_tokens": sum(lengths),
        "num_failed": len(answers) - len(drawn),
        "tokens_mean": _mean(lengths),
        "tokens_p95": _percentile(lengths, 0.95) if lengths else None,
        "tokens_mean_correct": _mean(right),
        "tokens_mean_wrong": _mean(wrong),
        "share_truncated": _mean([answer.finish_reason == "length" for answer in drawn]),
    }


def _entropy(answers: Sequence[RewardedAnswer]) -> float | None:
    """Mean of -log q over drawn tokens: an unbiased estimate of the policy's entropy at the sampling temperature."""
    return _mean([-logprob for answer in answers for logprob in answer.logprobs])
