"""Packed batches: documents end to end without padding, with their targets already shifted.

In: token ids and which of them are supervised. Out: flat tensors of N tokens. Shapes: N tokens, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = ["IGNORED", "Document", "PackedBatch", "pack_documents", "shared_prefix"]

IGNORED = -100
"""Target of a position that predicts nothing (torch's ``ignore_index``)."""


@final
@dataclass(frozen=True, kw_only=True)
class Document:
    """One training sequence.

    Attributes:
        token_ids: The whole sequence, prompt and completion.
        supervised: For each token, whether the model is trained to *produce* it; the first is never.
        weight: Weight of each of its supervised tokens in the loss.
    """

    token_ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    weight: float = 1.0


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
    """

    token_ids_N: Tensor
    position_ids_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    lengths: tuple[int, ...]
    prefix_length: int = 0

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
        documents: What to pack.
        prefix_length: Leading tokens to hold once for all, as :func:`shared_prefix` found; 0 shares nothing.

    Raises:
        ValueError: No document, an empty one, one whose flags do not match its tokens, or one that cannot share the
            prefix.
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
    )
