"""Distilling from a teacher with another tokenizer, of another family: the objective that the training loop calls.

In: packed documents of the student that were paired with the teacher's tokens before training. Out: gradients in the
student's parameters. The teacher may be live or a file of its log-probabilities (``teachers``, ``scores_file``).
Shapes: N tokens, R supervised rows, K chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cross_tokenizer.head import AcrossMix, ChunkRows, OneToOne, across_head
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument, PairTable
from spiritsafe.distil.cross_tokenizer.teachers import ChunkScores, ChunkTeacher
from spiritsafe.distil.cross_tokenizer.vocabulary import VocabularyMap
from spiritsafe.distil.signal import TeacherRows, document_keys
from spiritsafe.models import LanguageModel, PackedBatch
from spiritsafe.training import LossResult, SupervisedRows, gradient_buffer


def _check_ids(largest: int, vocab_size: int, which: str) -> None:
    if largest >= vocab_size:
        raise CompatibilityError(
            f"Token {largest} is outside the {which} model's vocabulary of {vocab_size}.",
            hint=f"Use the tokenizer that belongs to the {which}.",
        )


def _student_chunks(pairs: Sequence[PairedDocument], device: torch.device) -> tuple[Tensor, Tensor]:
    """For each supervised row its chunk among all, and for each chunk whether it is its document's last."""
    chunks, lasts, num_chunks = [], [], 0
    for pair in pairs:
        chunks.append(pair.alignment.chunk_A.astype(np.int64) + num_chunks)
        lasts.append(np.arange(pair.alignment.num_chunks) == pair.alignment.num_chunks - 1)
        num_chunks += pair.alignment.num_chunks
    chunk_R, last_K = torch.from_numpy(np.concatenate(chunks)), torch.from_numpy(np.concatenate(lasts))
    return chunk_R.to(device), last_K.to(device)


def _given(chunk_R: Tensor, targets_R: Tensor, boundary_V: Tensor | None) -> Tensor | None:
    """For each chunk whether its first token is a boundary: of the student's tokens, as the teacher's starts alike."""
    if boundary_V is None:
        return None
    first_R = torch.cat((chunk_R.new_ones(1, dtype=torch.bool), chunk_R.diff() > 0))
    return boundary_V[targets_R[first_R]]


def _likelihoods(scores: ChunkScores, given_K: Tensor | None) -> Tensor:
    """The teacher's log-likelihoods of chunks, debiased by the boundaries that were asked for."""
    teacher_K = scores.log_prob_K
    if scores.log_boundary_K is not None:
        teacher_K = teacher_K + scores.log_boundary_K
    if scores.log_before_K is not None and given_K is not None:
        teacher_K = teacher_K - scores.log_before_K * given_K
    return teacher_K


def join_chunks(
    chunk_R: Tensor, last_K: Tensor, scores: ChunkScores, *, least_boundary: float
) -> tuple[Tensor, Tensor, ChunkScores]:
    """Join each chunk after which the teacher finds a boundary too improbable with the next of its document.

    Args:
        chunk_R: For each student row its chunk.
        last_K: Whether a chunk is its document's last.
        scores: The teacher's view, with boundaries.
        least_boundary: The probability below which chunks are joined.

    Returns:
        The three, of the joined chunks.

    Raises:
        CompatibilityError: The scores hold no boundaries.
    """
    if scores.log_boundary_K is None or scores.log_before_K is None:
        raise CompatibilityError("There are no boundaries to join by.", hint="Ask the teacher for boundaries.")
    ends_K = last_K | (scores.log_boundary_K >= math.log(least_boundary))
    begins_K = torch.cat((ends_K.new_ones(1), ends_K[:-1]))
    joined_K = begins_K.cumsum(0) - 1
    log_prob = scores.log_prob_K.new_zeros(int(joined_K[-1]) + 1).index_add_(0, joined_K, scores.log_prob_K)
    starts = scores.starts
    if starts is not None:
        starts = TeacherRows(hidden_RG=starts.hidden_RG[begins_K], weight_UG=starts.weight_UG, scale=starts.scale)
    joined = ChunkScores(
        log_prob_K=log_prob,
        log_boundary_K=scores.log_boundary_K[ends_K],
        log_before_K=scores.log_before_K[begins_K],
        starts=starts,
    )
    return joined_K[chunk_R], last_K[ends_K], joined


@final
class AcrossTokenizersObjective:
    """Chunk likelihoods of a teacher with another tokenizer, mixed with cross-entropy and a one-to-one term.

    Args:
        teacher: Its view of the chunks, live or cached.
        pairs: The student's documents paired with the teacher's.
        mix: What the loss is made of.
        common: Tokens of both vocabularies; needed when ``mix.one_to_one`` is above 0.
        boundary_ids: The student's boundary tokens; needed when ``mix.debias`` is not "none".
        logits_bytes: Most memory for logits; None chooses by device.

    Raises:
        CompatibilityError: What the mix needs is missing.
    """

    shares_prefixes = True

    def __init__(
        self,
        teacher: ChunkTeacher,
        pairs: PairTable,
        mix: AcrossMix,
        *,
        common: VocabularyMap | None = None,
        boundary_ids: Sequence[int] | None = None,
        logits_bytes: int | None = None,
    ) -> None:
        if mix.one_to_one > 0.0 and (common is None or not common.num_tokens):
            raise CompatibilityError(
                "The one-to-one term needs tokens that both vocabularies have, and there are none.",
                hint="Give common=map_vocabularies(student_bytes, teacher_bytes), or set one_to_one to 0.",
            )
        if mix.debias != "none" and not boundary_ids:
            raise CompatibilityError(
                "Debiased likelihoods need the student's boundary tokens.",
                hint="Give boundary_ids=boundary_tokens(student_bytes, teacher_bytes).student.",
            )
        self._teacher, self._pairs, self._mix = teacher, pairs, mix
        self._debiases = mix.debias != "none"
        self._common = common if mix.one_to_one > 0.0 else None
        self._boundary_ids = tuple(boundary_ids or ()) if self._debiases else ()
        self._logits_bytes = logits_bytes

    def describe(self) -> dict[str, JSON]:
        """The mix, the teacher and which documents are paired; the memory bound changes nothing but rounding."""
        common = self._common
        pairs_of_ids = None if common is None else [common.student_M.tolist(), common.teacher_M.tolist()]
        return {
            "objective": "across_tokenizers",
            **asdict(self._mix),
            "teacher": self._teacher.describe(),
            "pairs": self._pairs.fingerprint,
            "common": None if pairs_of_ids is None else digest(pairs_of_ids),
            "boundary_ids": digest(list(self._boundary_ids)) if self._debiases else None,
        }

    def at_step(self, step: int, num_steps: int) -> None:
        """Nothing changes in the course of a run."""

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """The teacher's view of the chunks, student forward, loss, student backward.

        Raises:
            CompatibilityError: A document was not paired, the batch supervises nothing, or ids are outside the model's
                vocabulary.
        """
        supervised = SupervisedRows.of(batch, normaliser)
        head = model.head()
        device = head.weight_VH.device
        pairs = self._find(batch, supervised.rows_R)
        scores = self._teacher.read(pairs, device=device, boundaries=self._debiases, starts=self._mix.one_to_one > 0.0)
        chunk_R, last_K = _student_chunks(pairs, device)
        if self._mix.least_boundary > 0.0:
            chunk_R, last_K, scores = join_chunks(chunk_R, last_K, scores, least_boundary=self._mix.least_boundary)
        boundary_V = self._boundary_flags(model.vocab_size, device) if self._debiases else None
        given_K = _given(chunk_R, supervised.targets_R, boundary_V) if self._mix.debias == "both" else None
        one_to_one = self._one_to_one(scores.starts, model.vocab_size)
        hidden_NH = model(batch)
        result = across_head(
            hidden_NH.detach()[supervised.rows_R],
            head.weight_VH.detach(),
            supervised.targets_R,
            supervised.weights_R,
            ChunkRows(
                chunk_R=chunk_R,
                teacher_K=_likelihoods(scores, given_K).to(device),
                follows_K=~last_K,
                boundary_V=boundary_V,
                given_K=given_K,
            ),
            mix=self._mix,
            one_to_one=one_to_one,
            scale=head.scale,
            grad_weight_VH=gradient_buffer(head.weight_VH),
            logits_bytes=self._logits_bytes,
        )
        hidden_NH.backward(supervised.scatter(result.grad_hidden_RH))
        return LossResult(loss=result.loss, means=result.sums)

    def _find(self, batch: PackedBatch, rows_R: Tensor) -> list[PairedDocument]:
        """The pair of each document of a batch."""
        lengths = batch.lengths[1:] if batch.prefix_length else batch.lengths
        rows = rows_R.cpu().numpy()
        ends = np.cumsum(lengths) + batch.prefix_length
        own = np.split(batch.position_ids_N.cpu().numpy()[rows], np.searchsorted(rows, ends)[:-1])
        return [self._pairs.find(key, mine) for key, mine in zip(document_keys(batch), own, strict=True)]

    def _boundary_flags(self, vocab_size: int, device: torch.device) -> Tensor:
        flags_V = torch.zeros(vocab_size, dtype=torch.bool, device=device)
        _check_ids(max(self._boundary_ids), vocab_size, "student")
        flags_V[list(self._boundary_ids)] = True
        return flags_V

    def _one_to_one(self, starts: TeacherRows | None, vocab_size: int) -> OneToOne | None:
        if starts is None or self._common is None:
            return None
        _check_ids(int(self._common.student_M.max()), vocab_size, "student")
        _check_ids(int(self._common.teacher_M.max()), starts.weight_UG.shape[0], "teacher")
        return OneToOne(teacher=starts, common=self._common)
