"""How wrong is a student's gradient when its teacher is kept in a few bytes a token?

In: a student and a live teacher, documents, ways to keep a teacher's rows. Out: for each way its bytes a token and the
relative error of the gradient of forward KL (temperature 1) by the student's last hidden state: of each token, and of
their mean. The mean is what a step of training follows: an unbiased estimate's error of it falls with the number of
tokens, a bias stays.

Shapes: C rows of a chunk, V vocabulary, H student and G teacher width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.distil.cache.estimate import Ints, padded_entries
from spiritsafe.distil.cache.reader import CachedTeacher
from spiritsafe.distil.cache.writer import logits_chunks, merge_documents, supervised_positions
from spiritsafe.distil.signal import document_key
from spiritsafe.models import Document, LanguageModel, pack_documents


@final
@dataclass(frozen=True, kw_only=True)
class CacheCandidate:
    """One way to keep a teacher's rows.

    Attributes:
        name: For the report.
        bytes_per_row: On disk, everything counted.
        estimate: From a document, positions in it and the teacher's probabilities there ``[C, V]`` to what a reader
            would make of the kept rows, ``[C, V]`` as well.
        one_bucket: Whether ids without an estimate are one bucket for teacher and student alike: their target is then
            the missing mass, shared out as the student shares its own among them.
    """

    name: str
    bytes_per_row: float
    estimate: Callable[[Document, Ints, Tensor], Tensor]
    one_bucket: bool = False

    def target(self, document: Document, positions: Ints, probs_CV: Tensor, student_CV: Tensor) -> Tensor:
        """What the student is drawn to: its logits' gradient is its own probabilities minus this."""
        kept_CV = self.estimate(document, positions, probs_CV)
        if not self.one_bucket:
            return kept_CV
        rest_CV = student_CV.masked_fill(kept_CV > 0.0, 0.0)
        missing_C1 = 1.0 - kept_CV.sum(1, keepdim=True)
        return kept_CV + missing_C1 * rest_CV / rest_CV.sum(1, keepdim=True)


@final
class GradientError(Record):
    """One line of the report; errors are relative to the exact gradient's norm.

    Attributes:
        token_error: Root of the mean square over tokens.
        mean_error: Of the mean over all tokens.
    """

    name: str
    bytes_per_row: float
    num_rows: int
    token_error: float
    mean_error: float


def cached_candidate(name: str, cache: CachedTeacher, *, bytes_per_row: float) -> CacheCandidate:
    """What a cache on disk says; documents must be in it with the mask that they were captured with."""

    def estimate(document: Document, positions: Ints, probs_CV: Tensor) -> Tensor:
        cached, rows = cache.document(document_key(document.token_ids))
        ids_RW, kept_RW = (torch.from_numpy(part) for part in padded_entries(rows))
        places = np.minimum(np.searchsorted(cached, positions), len(cached) - 1)
        if not np.array_equal(cached[places], positions):
            raise CompatibilityError(
                f"Rows of the document {document_key(document.token_ids)[:16]}… were not captured in "
                f"{cache.directory}: other tokens of it were supervised then.",
                hint="Measure on the documents that were captured, with the same mask.",
            )
        mine = torch.from_numpy(places)
        out_CV = torch.zeros_like(probs_CV)
        device = probs_CV.device
        return out_CV.scatter_add_(1, ids_RW[mine].to(device), kept_RW[mine].to(device, out_CV.dtype))

    return CacheCandidate(name=name, bytes_per_row=bytes_per_row, estimate=estimate)


@torch.inference_mode()
def gradient_error(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    candidates: Sequence[CacheCandidate],
    *,
    logits_bytes: int | None = None,
) -> list[GradientError]:
    """Measure each candidate on the same rows.

    Args:
        student: Whose gradient it is; of the teacher's vocabulary.
        teacher: Live.
        documents: Their supervised tokens are the rows.
        logits_bytes: Most memory for logits; None chooses by device.

    Raises:
        CompatibilityError: The vocabularies differ in size.
    """
    if student.vocab_size != teacher.vocab_size:
        raise CompatibilityError(
            f"The student has {student.vocab_size} tokens in its vocabulary, the teacher {teacher.vocab_size}.",
            hint="Report on a student with the teacher's tokenizer.",
        )
    head = student.head()
    weight_VH, scale = head.weight_VH.detach().float(), head.scale
    exact_H = torch.zeros(student.hidden_size, dtype=torch.float64)
    exact_square, num_rows = 0.0, 0
    wrong_H = [torch.zeros_like(exact_H) for _ in candidates]
    wrong_square = [0.0 for _ in candidates]
    for document in merge_documents(documents):
        positions = supervised_positions(document)
        batch, rows = pack_documents([document]).to(weight_VH.device), torch.from_numpy(positions)
        hidden_RH, hidden_RG = student(batch)[rows], teacher(batch)[rows]
        for chunk, logits_CV in logits_chunks(teacher, hidden_RG, logits_bytes=logits_bytes):
            p_CV = torch.softmax(logits_CV, 1, out=logits_CV)
            q_CV = torch.softmax(hidden_RH[chunk].float() @ weight_VH.t() * scale, 1)
            gradient_CH = ((q_CV - p_CV) @ weight_VH * scale).double().cpu()
            exact_H += gradient_CH.sum(0)
            exact_square += float(gradient_CH.square().sum())
            num_rows += len(gradient_CH)
            for place, candidate in enumerate(candidates):
                error_CV = p_CV - candidate.target(document, positions[chunk], p_CV, q_CV)
                error_CH = (error_CV @ weight_VH * scale).double().cpu()
                wrong_H[place] += error_CH.sum(0)
                wrong_square[place] += float(error_CH.square().sum())
    return [
        GradientError(
            name=candidate.name,
            bytes_per_row=candidate.bytes_per_row,
            num_rows=num_rows,
            token_error=(wrong_square[place] / exact_square) ** 0.5,
            mean_error=float(wrong_H[place].norm() / exact_H.norm()),
        )
        for place, candidate in enumerate(candidates)
    ]
