"""From a round's answers to the documents of its steps: which groups are learnt from, and with what advantages.

In: a round. Out: documents that carry advantages, log-probabilities at drawing and weights. A group whose rewards are
all the same has no advantage: its gradient is zero, so it costs nothing here and is never seen by the model. (A penalty
for leaving a reference would pull on it too; it pulls on the other groups.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import Document, DrawnCompletion
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.advantages import aggregation_weights, group_advantages
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rounds.store import PolicyRound, RewardedAnswer

Group = Sequence[RewardedAnswer]


def _rewarded(group: Group) -> list[tuple[RewardedAnswer, float]]:
    """The answers that count, with their rewards."""
    return [(answer, answer.reward) for answer in group if answer.reward is not None]


def _advantages(groups: Sequence[Group], loss: PolicyLoss) -> list[list[float]]:
    rewards = [[reward for _, reward in _rewarded(group)] for group in groups]
    return group_advantages(rewards, baseline=loss.baseline, scale=loss.scale)


def has_advantage(group: Group, loss: PolicyLoss) -> bool:
    """Whether anything can be learnt from the answers to one problem."""
    unscaled = loss.model_copy(update={"scale": "none"})
    return any(_advantages([group], unscaled)[0])


def kept_groups(groups: Sequence[Group], config: ReinforceConfig) -> list[Group]:
    """The first ``prompts_per_round`` groups that have an advantage."""
    return [group for group in groups if has_advantage(group, config.loss)][: config.prompts_per_round]


def documents_of_steps(
    round_: PolicyRound, config: ReinforceConfig, prompt_ids: Mapping[str, Sequence[int]]
) -> list[list[Document]]:
    """The documents of each step of a round; a step may have none.

    Args:
        prompt_ids: Tokens of each problem's prompt.
    """
    return [[document for _, document in step] for step in answers_of_steps(round_, config, prompt_ids)]


def answers_of_steps(
    round_: PolicyRound, config: ReinforceConfig, prompt_ids: Mapping[str, Sequence[int]]
) -> list[list[tuple[RewardedAnswer, Document]]]:
    """As :func:`documents_of_steps`, each document with the answer that it is of."""
    kept = kept_groups(round_.groups, config)
    Random(derive_seed(config.seed, "round order", round_.header.round_index)).shuffle(kept)
    num_steps = config.steps_per_round
    bounds = [len(kept) * step // num_steps for step in range(num_steps + 1)]
    return [_documents_of_step(kept[first:last], config, prompt_ids) for first, last in pairwise(bounds)]


def _documents_of_step(
    groups: Sequence[Group], config: ReinforceConfig, prompt_ids: Mapping[str, Sequence[int]]
) -> list[tuple[RewardedAnswer, Document]]:
    if not groups:
        return []
    chosen = [
        (answer, advantage, number)
        for number, (group, advantages) in enumerate(zip(groups, _advantages(groups, config.loss), strict=True))
        for (answer, _), advantage in zip(_rewarded(group), advantages, strict=True)
        # Fine-tuning on right answers: the wrong ones are no part of the mean over tokens either.
        if advantage or config.loss.method != "rft"
    ]
    lengths = [len(answer.token_ids) for answer, _, _ in chosen]
    weights = aggregation_weights(lengths, config.loss.aggregation, max_tokens=config.sampling.max_tokens)
    return [
        (answer, _document(prompt_ids[answer.problem_id], answer, advantage=a, group=g, weight=weight))
        for (answer, a, g), weight in zip(chosen, weights, strict=True)
    ]


def _document(
    prompt_ids: Sequence[int], answer: RewardedAnswer, *, advantage: float, group: int, weight: float
) -> Document:
    return Document(
        token_ids=(*prompt_ids, *answer.token_ids),
        supervised=(*[False] * len(prompt_ids), *[True] * len(answer.token_ids)),
        weight=weight,
        drawn=DrawnCompletion(logprobs=answer.logprobs, old=answer.old, advantage=advantage, group=group),
    )
