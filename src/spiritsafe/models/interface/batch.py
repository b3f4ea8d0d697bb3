"""Packed batches: documents end to end without padding, with their targets already shifted.

In: token ids and which of them are supervised, and, where a policy drew them, what is known of the draw. Out: flat
tensors of N tokens. Shapes: N tokens, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

IGNORED = -100
"""Target of a position that predicts nothing (torch's ``ignore_index``)."""


@final
@dataclass(frozen=True, kw_only=True)
class DrawnCompletion:
    """What is known of a document that a policy drew.

    Attributes:
        logprobs: Natural log-probability of each supervised token when it was drawn, at the temperature of sampling;
            empty when unknown.
        old: The same as the trainer computes it, under the weights that its updates are measured from; empty: those of
            the drawing count.
        advantage: Of the whole completion.
        group: Number of its group (completions of one prompt) within the step.
    """

    logprobs: tuple[float, ...] = ()
    old: tuple[float, ...] = ()
    advantage: float
    group: int


@final
@dataclass(frozen=True, kw_only=True)
class Document:
    """One training sequence.

    Attributes:
        token_ids: The whole sequence, prompt and completion.
        supervised: For each token, whether the model is trained to *produce* it; the first is never.
        weight: Weight of each of its supervised tokens in the loss.
        drawn: What is known of its drawing, where a policy drew it and learns by reward.
    """

    token_ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    weight: float = 1.0
    drawn: DrawnCompletion | None = None


@final
@dataclass(frozen=True, kw_only=True)
class PackedDrawn:
    """What is known of the drawing of a batch's documents, laid out as the batch.

    Attributes:
        logprobs_N: float32, log-probability that the target of position n had when it was drawn; 0 where there is no
            target or it is unknown.
        is_known_N: bool, whether ``logprobs_N`` says something.
        old_N: float32, what a ratio is taken to: the trainer's own log-probability where a document has it, else
            ``logprobs_N``.
        has_old_N: bool, whether ``old_N`` says something.
        advantages_N: float32, the advantage of the position's document; 0 where there is no target.
        documents_N: int64, the position's document, counted as they were packed; -1 in a shared prefix.
    """

    logprobs_N: Tensor
    is_known_N: Tensor
    old_N: Tensor
    has_old_N: Tensor
    advantages_N: Tensor
    documents_N: Tensor

    def to(self, device: torch.device | str) -> PackedDrawn:
        """The same on a device."""
        return PackedDrawn(
            logprobs_N=self.logprobs_N.to(device),
            is_known_N=self.is_known_N.to(device),
            old_N=self.old_N.to(device),
            has_old_N=self.has_old_N.to(device),
            advantages_N=self.advantages_N.to(device),
            documents_N=self.documents_N.to(device),
        )


@final
@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """Documents end to end.

    Attributes:
        token_ids_N: int64.
        position_ids_N: int64, restarting at 0 in each document.
        targets_N: int64, the token that position n predicts (its successor in the same document), or ``IGNORED``.
        weights_N: float32, 0 where the target is ``IGNORED``.
        lengths: Tokens of each document, in order; they sum to N.
        prefix_length: When not 0, the first "document" is a prefix of so many tokens that all others continue: they see
            it and themselves, and their positions count on from it. It is computed once for all of them.
        drawn: What is known of the documents' drawing, where a policy drew them.
    """

    token_ids_N: Tensor
    position_ids_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    lengths: tuple[int, ...]
    prefix_length: int = 0
    drawn: PackedDrawn | None = None

    @property
    def num_tokens(self) -> int:
        """N."""
        return int(self.token_ids_N.numel())

    @property
    def num_supervised(self) -> int:
        """Positions with a target."""
        return int((self.targets_N != IGNORED).sum())

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on a device."""
        return PackedBatch(
            token_ids_N=self.token_ids_N.to(device),
            position_ids_N=self.position_ids_N.to(device),
            targets_N=self.targets_N.to(device),
            weights_N=self.weights_N.to(device),
            lengths=self.lengths,
            prefix_length=self.prefix_length,
            drawn=None if self.drawn is None else self.drawn.to(device),
        )


def with_filler(batch: PackedBatch, multiple: int) -> PackedBatch:
    """The batch and, where its size is no such multiple, one more document behind it that predicts nothing.

    For a forward pass only: what is known of drawn documents stays as it was.
    """
    filler = -batch.num_tokens % multiple
    if not filler:
        return batch

    def filled(tensor: Tensor, value: int) -> Tensor:
        return torch.cat((tensor, tensor.new_full((filler,), value)))

    return replace(
        batch,
        token_ids_N=filled(batch.token_ids_N, 0),
        position_ids_N=filled(batch.position_ids_N, 0),
        targets_N=filled(batch.targets_N, IGNORED),
        weights_N=filled(batch.weights_N, 0),
        lengths=(*batch.lengths, filler),
    )


def shared_prefix(documents: Sequence[Document]) -> int:
    """How many leading tokens all documents have in common and may share, 0 if sharing would save nothing.

    A shared token, and the one after it, must not be supervised: a prefix predicts nothing.
    """
    if len(documents) < 2:
        return 0
    first = documents[0].token_ids
    length = min(d.supervised.index(True) if True in d.supervised else len(d.supervised) for d in documents) - 1
    for document in documents[1:]:
        if length <= 0:
            return 0
        tokens = document.token_ids
        if tokens[:length] != first[:length]:
            length = next(i for i in range(length) if tokens[i] != first[i])
    return max(length, 0)


def pack_documents(documents: Sequence[Document], *, prefix_length: int = 0) -> PackedBatch:
    """Lay documents end to end.

    Args:
        prefix_length: Leading tokens to hold once for all, as :func:`shared_prefix` found; 0 shares nothing.

    Raises:
        ValueError: No document, an empty one, one whose flags do not match its tokens, one that cannot share the
            prefix, one with another number of log-probabilities than supervised tokens, or some drawn and some not.
    """
    tokens: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    lengths: list[int] = []
    if prefix_length > 0:
        if prefix_length > shared_prefix(documents):
            raise ValueError(f"the documents do not share {prefix_length} unsupervised tokens")
        tokens.extend(documents[0].token_ids[:prefix_length])
        positions.extend(range(prefix_length))
        targets.extend([IGNORED] * prefix_length)
        weights.extend([0.0] * prefix_length)
        lengths.append(prefix_length)
    for document in documents:
        if not document.token_ids or len(document.supervised) != len(document.token_ids):
            raise ValueError("a document needs tokens and one flag for each")
        own = document.token_ids[prefix_length:]
        following = own[1:]
        flags = document.supervised[prefix_length + 1 :]
        tokens.extend(own)
        positions.extend(range(prefix_length, len(document.token_ids)))
        targets.extend(t if f else IGNORED for t, f in zip(following, flags, strict=True))
        targets.append(IGNORED)
        weights.extend(document.weight if f else 0.0 for f in flags)
        weights.append(0.0)
        lengths.append(len(own))
    if not tokens:
        raise ValueError("no documents to pack")
    return PackedBatch(
        token_ids_N=torch.tensor(tokens),
        position_ids_N=torch.tensor(positions),
        targets_N=torch.tensor(targets),
        weights_N=torch.tensor(weights, dtype=torch.float32),
        lengths=tuple(lengths),
        prefix_length=prefix_length,
        drawn=_pack_drawn(documents, prefix_length),
    )


def _pack_drawn(documents: Sequence[Document], prefix_length: int) -> PackedDrawn | None:
    if not any(document.drawn for document in documents):
        return None
    logprobs, old, advantages = ([0.0] * prefix_length for _ in range(3))
    known, has_old, places = [False] * prefix_length, [False] * prefix_length, [-1] * prefix_length
    for place, document in enumerate(documents):
        drawn = document.drawn
        if drawn is None:
            raise ValueError("some documents of a batch were drawn by a policy, and some were not")
        # Position n predicts token n + 1; the last one predicts nothing.
        flags = (*document.supervised[prefix_length + 1 :], False)
        for values, listed, is_listed in (
            (drawn.logprobs, logprobs, known),
            (drawn.old or drawn.logprobs, old, has_old),
        ):
            if values and len(values) != sum(flags):
                raise ValueError(f"{len(values)} log-probabilities for {sum(flags)} tokens")
            left = iter(values)
            listed.extend(next(left) if flag and values else 0.0 for flag in flags)
            is_listed.extend(flag and bool(values) for flag in flags)
        advantages.extend(drawn.advantage if flag else 0.0 for flag in flags)
        places.extend([place] * len(flags))
    return PackedDrawn(
        logprobs_N=torch.tensor(logprobs, dtype=torch.float32),
        is_known_N=torch.tensor(known),
        old_N=torch.tensor(old, dtype=torch.float32),
        has_old_N=torch.tensor(has_old),
        advantages_N=torch.tensor(advantages, dtype=torch.float32),
        documents_N=torch.tensor(places),
    )
