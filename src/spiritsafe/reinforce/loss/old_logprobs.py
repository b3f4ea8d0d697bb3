"""What the trainer gives a round's answers before the first update: what the round's ratios are taken to.

In: the model in training and the documents of a round's steps. Out: log-probabilities of their supervised tokens. The
sampler's own are no stand-in: decoding token by token rounds otherwise, and in half precision that alone is more than
the clip ranges of arXiv 2507.18071. So the pass is the training step's own: the same micro-batches, the same dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch

from spiritsafe.models import Document, LanguageModel
from spiritsafe.reinforce.loss.policy_head import token_logprobs
from spiritsafe.training import Parallel, SupervisedRows, num_supervised, pack_micro_batch, split_step


@torch.no_grad()
def old_logprobs(
    model: LanguageModel,
    steps: Sequence[Sequence[Document]],
    *,
    micro_batch_tokens: int,
    share_prefix: bool,
    temperature: float,
    parallel: Parallel,
) -> list[list[tuple[float, ...]]]:
    """Log-probabilities of each document's supervised tokens, step by step. All processes must call it.

    Args:
        model: In training, before the first of the steps.
        micro_batch_tokens: Of training.
        share_prefix: As training decides it.
        temperature: At which completions were drawn.
        parallel: Each process computes what it will learn from.
    """
    model.train()  # as in a step: what differs there must not differ here
    computed = []
    for step in steps:
        shares = split_step(
            step, num_processes=parallel.size, micro_batch_tokens=micro_batch_tokens, share_prefix=share_prefix
        )
        own = [_of_micro_batch(model, step, places, share_prefix, temperature) for places in shares[parallel.rank]]
        known = {place: old for part in parallel.gather(own) for micro in part for place, old in micro}
        computed.append([known[place] for place in range(len(step))])
    return computed


def _of_micro_batch(
    model: LanguageModel, step: Sequence[Document], places: Sequence[int], share_prefix: bool, temperature: float
) -> list[tuple[int, tuple[float, ...]]]:
    documents, head = [step[place] for place in places], model.head()
    batch = pack_micro_batch(documents, share_prefix=share_prefix).to(head.weight_VH.device)
    supervised = SupervisedRows.of(batch, 1.0)
    logprobs_R = token_logprobs(
        model(batch)[supervised.rows_R], head.weight_VH, supervised.targets_R, scale=head.scale / temperature
    )
    values = iter(logprobs_R.tolist())
    return [
        (place, tuple(islice(values, num_supervised(document))))
        for place, document in zip(places, documents, strict=True)
    ]
