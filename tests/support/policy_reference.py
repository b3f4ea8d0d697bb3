"""Losses of reinforcement learning written plainly with autograd, one sequence after the other, and drawn documents."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tiny_training import VOCAB
from torch import Tensor

from spiritsafe.models.interface.batch import Document, DrawnCompletion
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss

LOSSES: dict[str, PolicyLoss] = {
    **{m: PolicyLoss(method=m) for m in ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "rft")},
    "dapo wide": PolicyLoss(method="dapo", clip_low=0.7, clip_high=2.5),
    "gspo wide": PolicyLoss(method="gspo", clip_low=0.1, clip_high=0.2),
    "cispo tight": PolicyLoss(method="cispo", clip_high=0.1),
    "truncated": PolicyLoss(method="dapo", truncation=1.3),
    "truncated sequences": PolicyLoss(method="gspo", truncation=1.05),
    "truncated rloo": PolicyLoss(method="rloo", truncation=2.0),
    "warm": PolicyLoss(method="grpo", temperature=1.7),
    "penalised": PolicyLoss(method="gspo", clip_low=0.1, clip_high=0.2, kl_weight=0.3, temperature=0.8),
}


def sequence_loss(config: PolicyLoss, now: Tensor, drawn: Tensor, advantage: float) -> Tensor:
    """Loss of each token of one sequence, as the method's paper writes it."""
    ratio = torch.exp(now - drawn)
    if config.method == "gspo":
        ratio = (now - drawn).mean().exp() * torch.ones_like(now)
    if config.method == "cispo" or config.truncation is not None:
        cap = config.truncation or 1.0 + float(config.clip_high or 0.0)
        return -torch.clamp(ratio, max=cap).detach() * advantage * now
    if config.method in ("rloo", "rft"):
        return -advantage * now
    assert config.clip_low is not None
    assert config.clip_high is not None
    clipped = torch.clamp(ratio, 1 - config.clip_low, 1 + config.clip_high)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def reference_term(now: Tensor, reference: Tensor) -> Tensor:
    """k3."""
    return torch.exp(reference - now) - (reference - now) - 1


def drawn_documents(
    num_groups: int,
    group_size: int,
    *,
    seed: int = 0,
    prompt: tuple[int, int] = (4, 12),
    answer: tuple[int, int] = (1, 20),
    system: int = 0,
    known: bool = True,
    weights: bool = True,
) -> list[Document]:
    """Groups of random completions with random advantages and log-probabilities; the groups interleaved."""
    rng = random.Random(seed)
    header = tuple(rng.randrange(VOCAB) for _ in range(system))
    documents = []
    for group in range(num_groups):
        ask = header + tuple(rng.randrange(VOCAB) for _ in range(rng.randint(*prompt)))
        for _ in range(group_size):
            own = tuple(rng.randrange(VOCAB) for _ in range(rng.randint(*answer)))
            documents.append(
                Document(
                    token_ids=ask + own,
                    supervised=(False,) * len(ask) + (True,) * len(own),
                    weight=rng.uniform(0.5, 2.0) if weights else 1.0,
                    drawn=DrawnCompletion(
                        logprobs=tuple(rng.uniform(-6.0, -2.5) for _ in own) if known else (),
                        advantage=rng.uniform(-1.0, 1.0),
                        group=group,
                    ),
                )
            )
    rng.shuffle(documents)
    return documents


def cut_rows(values: Tensor, documents: Sequence[Document]) -> list[Tensor]:
    """A tensor of all documents' supervised rows, as one tensor a document."""
    return list(values.split([sum(document.supervised[1:]) for document in documents]))
