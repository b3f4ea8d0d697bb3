"""Packed batches: documents end to end without padding, with their targets already shifted.

In: token ids and which of them are supervised. Out: flat tensors of N tokens. Shapes: N tokens, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = ["IGNORED", "Document", "PackedBatch", "pack_documents"]

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
    """

    token_ids_N: Tensor
    position_ids_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    lengths: tuple[int, ...]

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
        )


def pack_documents(documents: Sequence[Document]) -> PackedBatch:
    """Lay documents end to end.

    Raises:
        ValueError: No document, an empty one, or one whose flags do not match its tokens.
    """
    tokens: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for document in documents:
        if not document.token_ids or len(document.supervised) != len(document.token_ids):
            raise ValueError("a document needs tokens and one flag for each")
        following = document.token_ids[1:]
        flags = document.supervised[1:]
        tokens.extend(document.token_ids)
        positions.extend(range(len(document.token_ids)))
        targets.extend(t if f else IGNORED for t, f in zip(following, flags, strict=True))
        targets.append(IGNORED)
        weights.extend(document.weight if f else 0.0 for f in flags)
        weights.append(0.0)
    if not tokens:
        raise ValueError("no documents to pack")
    return PackedBatch(
        token_ids_N=torch.tensor(tokens),
        position_ids_N=torch.tensor(positions),
        targets_N=torch.tensor(targets),
        weights_N=torch.tensor(weights, dtype=torch.float32),
        lengths=tuple(len(d.token_ids) for d in documents),
    )
