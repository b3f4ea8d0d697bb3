"""What a teacher says of chunks, whoever keeps it: a live model, or a file of its log-probabilities.

In: paired documents. Out: the log-likelihood of each of their chunks, and where a live model is asked for them its
next-token distributions where chunks start. A chunk's log-likelihood is the sum of those of its tokens (chain rule).
Shapes: T supervised tokens of the teacher, K chunks of all documents, G teacher width, U teacher vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.models import IGNORED, Document, LanguageModel, pack_documents
from spiritsafe.training import ChunkLogits, logits_bytes_per_row, rows_of_chunk, weights_fingerprint


@final
@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """A teacher's view of the realised tokens.

    Attributes:
        log_prob_T: float, natural-log probability of each supervised token; NaN where it is unknown.
        log_boundary_T: Of a boundary token in the place of that token; None when nobody asked.
    """

    log_prob_T: Tensor
    log_boundary_T: Tensor | None = None


@final
@dataclass(frozen=True, kw_only=True)
class ChunkScores:
    """A teacher's view of the chunks of some documents, one document behind the other.

    Attributes:
        log_prob_K: float64, NaN where a token's is unknown.
        log_boundary_K: float64, log-probability of a boundary behind each chunk, 0 behind a document's last; None when
            nobody asked.
        log_before_K: float64, log-probability of a boundary in the place of the chunk's first token; None likewise.
        starts: The teacher's rows where chunks start; None when nobody asked.
    """

    log_prob_K: Tensor
    log_boundary_K: Tensor | None = None
    log_before_K: Tensor | None = None
    starts: TeacherRows | None = None


class ChunkTeacher(Protocol):
    """Where the teacher's view of chunks comes from."""

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what it says; part of a run's fingerprint."""
        ...

    def read(
        self, pairs: Sequence[PairedDocument], *, device: torch.device, boundaries: bool, starts: bool
    ) -> ChunkScores:
        """The teacher's view of the chunks of some documents.

        Args:
            pairs: Documents, in the order wanted.
            device: Where the answer goes.
            boundaries: Whether the log-probability of boundaries is wanted.
            starts: Whether the rows where chunks start are wanted.

        Raises:
            CompatibilityError: This source does not have them.
        """
        ...


@torch.inference_mode()
def score_documents(
    model: LanguageModel,
    documents: Sequence[Document],
    *,
    boundary_ids: Sequence[int] | None = None,
    logits_bytes: int | None = None,
) -> tuple[TokenScores, Tensor]:
    """Log-probabilities of the supervised tokens of some documents, one forward pass, logits a piece at a time.

    Args:
        documents: In its tokens.
        boundary_ids: Its boundary tokens; None leaves them out.
        logits_bytes: Most memory for logits; None: 128 MiB on a CPU, 2 GiB on a GPU.

    Returns:
        The scores, in float32 or wider, and the hidden states of the rows that predict the tokens, ``[T, G]``.
    """
    head = model.head()
    weight_UG = head.weight_VH
    batch = pack_documents(documents).to(weight_UG.device)
    rows_T = (batch.targets_N != IGNORED).nonzero().squeeze(1)
    hidden_TG, targets_T = model(batch)[rows_T], batch.targets_N[rows_T]
    most_rows = rows_of_chunk(hidden_TG, logits_bytes_per_row(hidden_TG, weight_UG.shape[0]), logits_bytes)
    logits = ChunkLogits(hidden_TG, weight_UG, most_rows=most_rows, scale=head.scale)
    log_probs: list[Tensor] = []
    boundaries: list[Tensor] = []
    chosen = None if boundary_ids is None else torch.tensor(boundary_ids, device=weight_UG.device)
    for part, logits_CU in logits.in_chunks():
        log_z_C = logits_CU.logsumexp(1)
        log_probs.append(logits_CU.gather(1, targets_T[part, None]).squeeze(1) - log_z_C)
        if chosen is not None:
            boundaries.append(logits_CU.index_select(1, chosen).logsumexp(1) - log_z_C)
    scores = TokenScores(
        log_prob_T=torch.cat(log_probs), log_boundary_T=None if chosen is None else torch.cat(boundaries)
    )
    return scores, hidden_TG


def _places(pairs: Sequence[PairedDocument]) -> tuple[Tensor, Tensor, Tensor]:
    """For each teacher token its chunk among all; for each chunk its first token; whether it is its document's last."""
    chunks, starts, lasts = [], [], []
    num_chunks = num_tokens = 0
    for pair in pairs:
        chunk_B = pair.alignment.chunk_B.astype(np.int64)
        chunks.append(chunk_B + num_chunks)
        starts.append(np.searchsorted(chunk_B, np.arange(pair.alignment.num_chunks)) + num_tokens)
        lasts.append(np.arange(pair.alignment.num_chunks) == pair.alignment.num_chunks - 1)
        num_chunks += pair.alignment.num_chunks
        num_tokens += chunk_B.size
    return (
        torch.from_numpy(np.concatenate(chunks)),
        torch.from_numpy(np.concatenate(starts)),
        torch.from_numpy(np.concatenate(lasts)),
    )


def chunk_scores(
    pairs: Sequence[PairedDocument], scores: TokenScores, *, starts: TeacherRows | None = None
) -> ChunkScores:
    """Token scores of the documents, end to end, summed over their chunks.

    Args:
        scores: Of the supervised teacher tokens of all of them.
        starts: The teacher's rows of the same tokens, of which those where chunks start are kept.

    Raises:
        CompatibilityError: The number of scores is not that of the tokens.
    """
    chunk_T, start_K, last_K = (t.to(scores.log_prob_T.device) for t in _places(pairs))
    if chunk_T.shape != scores.log_prob_T.shape:
        raise CompatibilityError(
            f"{scores.log_prob_T.numel()} scores for {chunk_T.numel()} tokens of the teacher.",
            hint="Score the documents of the pair table with the tokenizer that they were paired with.",
        )
    log_prob_K = torch.zeros(start_K.shape, dtype=torch.float64, device=chunk_T.device)
    log_prob_K.index_add_(0, chunk_T, scores.log_prob_T.double())
    log_before_K = log_boundary_K = None
    if scores.log_boundary_T is not None:
        # What follows a chunk is predicted by the row of the next chunk's first token.
        log_before_K = scores.log_boundary_T.double()[start_K]
        log_boundary_K = log_before_K.roll(-1).masked_fill(last_K, 0.0)
    if starts is not None:
        starts = TeacherRows(hidden_RG=starts.hidden_RG[start_K], weight_UG=starts.weight_UG, scale=starts.scale)
    return ChunkScores(log_prob_K=log_prob_K, log_boundary_K=log_boundary_K, log_before_K=log_before_K, starts=starts)


@final
class LiveChunkTeacher:
    """A frozen model beside the student, reading its own tokens of the same conversations.

    Args:
        model: The teacher, on the student's device.
        boundary_ids: Its boundary tokens; needed for debiased likelihoods only.
        logits_bytes: Most memory for logits; None chooses by device.
    """

    def __init__(
        self, model: LanguageModel, *, boundary_ids: Sequence[int] | None = None, logits_bytes: int | None = None
    ) -> None:
        self._model = model
        self._boundary_ids = None if boundary_ids is None else tuple(boundary_ids)
        self._logits_bytes = logits_bytes
        self._fingerprint = weights_fingerprint(model)

    def describe(self) -> dict[str, JSON]:
        """Which model, and which boundary tokens it was given."""
        boundaries = None if self._boundary_ids is None else digest(list(self._boundary_ids))
        return {"signal": "live", "teacher": self._fingerprint, "boundaries": boundaries}

    def read(
        self, pairs: Sequence[PairedDocument], *, device: torch.device, boundaries: bool, starts: bool
    ) -> ChunkScores:
        """One forward pass over the teacher's documents.

        NaN from a broken teacher is given as -inf, which makes the loss not finite: NaN in :class:`ChunkScores` says
        that a likelihood is unknown, and such a chunk would silently teach nothing.

        Raises:
            CompatibilityError: Boundaries are wanted and this teacher was given no boundary tokens.
        """
        if boundaries and self._boundary_ids is None:
            raise CompatibilityError(
                "Debiased likelihoods need the teacher's boundary tokens.",
                hint="Give boundary_ids=boundary_tokens(student_bytes, teacher_bytes).teacher.",
            )
        scores, hidden_TG = score_documents(
            self._model,
            [pair.teacher for pair in pairs],
            boundary_ids=self._boundary_ids if boundaries else None,
            logits_bytes=self._logits_bytes,
        )
        broken_T = scores.log_prob_T.isnan()
        boundary_T = None if scores.log_boundary_T is None else scores.log_boundary_T.masked_fill(broken_T, 0.0)
        scores = TokenScores(log_prob_T=scores.log_prob_T.masked_fill(broken_T, -torch.inf), log_boundary_T=boundary_T)
        head = self._model.head()
        rows = TeacherRows(hidden_RG=hidden_TG, weight_UG=head.weight_VH.detach(), scale=head.scale)
        return chunk_scores(pairs, scores, starts=rows if starts else None)
