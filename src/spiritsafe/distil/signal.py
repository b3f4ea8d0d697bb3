"""What a teacher says of a batch, whoever keeps it: a live model, a cache on disk, a server.

In: a packed batch and which of its rows are supervised. Out: for those rows either the teacher's last hidden states
and head (exact), or a few ids with probabilities (an estimate that a cache or a server can hold). An objective does not
know which source it reads. Shapes: N tokens, R supervised rows, S rows of one part, G teacher width, U teacher
vocabulary, K entries of a sampled row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.models import LanguageModel, PackedBatch
from spiritsafe.training import weights_fingerprint


@final
@dataclass(frozen=True, kw_only=True)
class TeacherRows:
    """A teacher's exact view of some rows.

    Attributes:
        hidden_RG: Its hidden states after the final norm.
    """

    hidden_RG: Tensor
    weight_UG: Tensor
    scale: float = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class SampledRows:
    """An estimate of a teacher's distribution, a few entries a row, at temperature 1.

    Attributes:
        ids_RK: int64 token ids; an id may appear more than once, its probabilities then add up.
        probs_RK: float32, 0 where a row has fewer than K entries; a row sums to 1.
        entropy_R: float32, the teacher's exact entropy in nats.
        unbiased: Whether the expectation of a row over the draws is the teacher's distribution.
    """

    ids_RK: Tensor
    probs_RK: Tensor
    entropy_R: Tensor
    unbiased: bool = True


@final
@dataclass(frozen=True, kw_only=True)
class SignalPart:
    """What one source says of some of the supervised rows.

    Attributes:
        index_S: Which of the R rows, ascending; None: all of them.
        rows: The teacher's view of exactly these rows.
    """

    index_S: Tensor | None
    rows: TeacherRows | SampledRows


@final
@dataclass(frozen=True, kw_only=True)
class Signal:
    """What a teacher says of one batch.

    Attributes:
        parts: Together they hold each supervised row once, or fewer: rows in no part have no teacher.
        layers_RG: For each layer asked for, the stream after it at the supervised rows.
    """

    parts: tuple[SignalPart, ...]
    layers_RG: tuple[Tensor, ...] = field(default=())


class TeacherSignal(Protocol):
    """Where a teacher's view of a batch comes from.

    Attributes:
        shares_prefixes: Whether batches may hold a prefix that their documents share.
    """

    shares_prefixes: bool
    vocab_size: int

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what it says; part of a run's fingerprint."""
        ...

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        """The teacher's view of rows of a batch.

        Args:
            batch: In the teacher's own tokens.
            rows_R: Supervised positions, ascending.
            layers: Layers (from 0) whose output stream is wanted as well.

        Raises:
            CompatibilityError: This source cannot serve this batch or these layers.
        """
        ...


@final
class LiveTeacher:
    """A frozen model beside the student: exact, one forward pass a batch.

    Args:
        model: The teacher, on the student's device.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.shares_prefixes = model.shares_prefixes
        self.vocab_size = model.vocab_size
        self._fingerprint = weights_fingerprint(model)

    def describe(self) -> dict[str, JSON]:
        """Which model."""
        return {"signal": "live", "teacher": self._fingerprint}

    @torch.inference_mode()
    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        """One forward pass; of its hidden states only the supervised rows are kept."""
        head = self.model.head()
        hidden_NG, streams = self.model.forward_with_layers(batch, layers) if layers else (self.model(batch), ())
        rows = TeacherRows(hidden_RG=hidden_NG[rows_R], weight_UG=head.weight_VH.detach(), scale=head.scale)
        parts = (SignalPart(index_S=None, rows=rows),)
        return Signal(parts=parts, layers_RG=tuple(stream_NG[rows_R] for stream_NG in streams))


def document_key(token_ids: Sequence[int] | NDArray[np.int64]) -> str:
    """What a document is called in a cache: the digest of its tokens."""
    return sha256(np.asarray(token_ids, dtype="<i4").tobytes()).hexdigest()


def document_keys(batch: PackedBatch) -> list[str]:
    """The key of each document of a batch, in order; a shared prefix belongs to each of them."""
    tokens = batch.token_ids_N.cpu().numpy().astype("<i4")
    prefix = tokens[: batch.prefix_length]
    keys: list[str] = []
    start = batch.prefix_length
    for length in batch.lengths[1:] if batch.prefix_length else batch.lengths:
        own = tokens[start : start + length]
        keys.append(document_key(np.concatenate((prefix, own)).tolist()))
        start += length
    return keys
