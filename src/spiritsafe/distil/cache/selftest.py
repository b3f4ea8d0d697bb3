"""Does a cache still say what its teacher says? Re-scores some documents with the live teacher and compares.

In: a cache, its teacher, documents. Out: numbers, text, and an error when they are beyond tolerance.

1. The fingerprint of the live teacher is that of the cache.
2. KL from the live distribution to the cached one, over the head ids and the rest as one bucket: rounding leaves about
   1e-5 nats, another teacher or another alignment of rows leaves tenths.
3. The kept head probabilities against the live ones; likewise the entropy.
4. Is the mean unbiased? For some random directions g of the teacher's hidden space the cached mean of w_i · g over the
   ids minus the exact one, summed over rows and divided by the root of its sum of squares, is about standard normal.

Shapes: C rows of a chunk, W entries of a row, V vocabulary, G teacher width, J directions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.records import Record
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.cache.estimate import padded_entries
from spiritsafe.distil.cache.reader import CachedTeacher
from spiritsafe.distil.cache.writer import logits_chunks, merge_documents, teacher_identity
from spiritsafe.distil.signal import document_key
from spiritsafe.models import Document, LoadedModel, pack_documents

_DIRECTIONS = 4
_MOST_Z = 5.0
"""For a right cache the largest of four standard normals is beyond this once in 400,000 tests."""

_SMALL_BIAS = 1e-4
"""In units of the values' spread over the vocabulary: rounding errors of two forward passes are not a bias."""


@final
class SelfTestReport(Record):
    """What a comparison found.

    Attributes:
        num_documents: Re-scored.
        num_rows: Of them.
        mean_kl: KL(live || cached) over head ids and the rest as one bucket, mean over rows, in nats.
        largest_kl: Of any row.
        head_error: Root mean square of log(cached / live) over head ids, weighted by probability.
        entropy_error: Root mean square, in nats.
        largest_z: Of the directions; absent for an estimator that does not claim to be unbiased.
        tolerance: Largest mean KL that passes.
        passed: Whether mean KL and z are within bounds.
    """

    num_documents: int
    num_rows: int
    mean_kl: float
    largest_kl: float
    head_error: float
    entropy_error: float
    largest_z: float | None
    tolerance: float
    passed: bool

    def text(self) -> str:
        """For people."""
        z = "not claimed" if self.largest_z is None else f"largest z {self.largest_z:.2f} (bound {_MOST_Z:g})"
        return (
            f"Teacher cache, {self.num_rows} rows of {self.num_documents} documents re-scored: "
            f"{'passed' if self.passed else 'FAILED'}\n"
            f"  KL(live || cached)  mean {self.mean_kl:.2e}, largest {self.largest_kl:.2e} nats "
            f"(tolerance {self.tolerance:g})\n"
            f"  head probabilities  {self.head_error:.2%} rms\n"
            f"  entropy             {self.entropy_error:.2e} nats rms\n"
            f"  unbiasedness        {z}"
        )


@torch.inference_mode()
def self_test(
    directory: Path,
    teacher: LoadedModel,
    documents: Sequence[Document],
    *,
    num_documents: int = 16,
    seed: int = 0,
    tolerance: float = 2e-3,
) -> SelfTestReport:
    """Re-score a sample of cached documents.

    Args:
        teacher: The live model that it should be of.
        documents: Where the sample is drawn from; a cache keeps no tokens.
        num_documents: How many to re-score.
        seed: Of the sample and the directions.
        tolerance: Largest mean KL that passes, in nats.

    Raises:
        CompatibilityError: The teacher is not the one of the cache, or none of the documents is in it.
        IntegrityError: A file is damaged, or the cache does not say what the teacher says.
    """
    # 1
    identity = teacher_identity(teacher)
    cache = CachedTeacher(directory, tokenizer=identity.tokenizer)
    wanted: dict[str, JSON] = dict(identity.to_json())
    cache.manifest.fingerprint.require(wanted, where=f"in {directory}")
    merged = merge_documents(documents)
    known = [place for place, document in enumerate(merged) if document_key(document.token_ids) in cache]
    if not known:
        raise CompatibilityError(
            f"None of the {len(documents)} documents is in the teacher cache {directory}.",
            hint="Give the documents that it was captured on.",
        )
    chosen = random.Random(derive_seed("self-test", seed)).sample(known, min(num_documents, len(known)))
    # 2, 3
    measured = [_compare(cache, teacher, merged[place], seed) for place in chosen]
    kl_R, head_R, entropy_R, gap_RJ = (torch.cat(parts) for parts in zip(*measured, strict=True))
    # 4: what the server's top k leave out is a bias that is known, and stated elsewhere
    spread_J = (gap_RJ.square().sum(0) + (_SMALL_BIAS * len(gap_RJ)) ** 2).sqrt()
    unbiased = cache.manifest.fingerprint.estimator != "served_top_k"
    z = float((gap_RJ.sum(0).abs() / spread_J).max()) if unbiased else None
    mean_kl = float(kl_R.mean())
    report = SelfTestReport(
        num_documents=len(chosen),
        num_rows=len(kl_R),
        mean_kl=mean_kl,
        largest_kl=float(kl_R.max()),
        head_error=float(head_R.mean().sqrt()),
        entropy_error=float(entropy_R.square().mean().sqrt()),
        largest_z=z,
        tolerance=tolerance,
        passed=mean_kl <= tolerance and (z is None or z <= _MOST_Z),
    )
    if not report.passed:
        raise IntegrityError(
            f"The teacher cache {directory} does not say what its teacher says.\n{report.text()}",
            hint="Capture it again, and check that the documents are tokenized as they were then.",
        )
    return report


def _compare(
    cache: CachedTeacher, teacher: LoadedModel, document: Document, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each cached row of a document: KL, squared error of the head, entropy error, gap along each direction."""
    model = teacher.model
    head = model.head()
    positions, estimates = cache.document(document_key(document.token_ids))
    ids_RW, probs_RW = (torch.from_numpy(part) for part in padded_entries(estimates))
    # The head alone, in the same padded places; draws say nothing of the probability of their id.
    num_head_R = torch.from_numpy(estimates.num_head_R)
    in_head_RW = torch.arange(ids_RW.shape[1]) < num_head_R[:, None]
    rest_R = (1.0 - (probs_RW * in_head_RW).sum(1)).clamp(min=0.0)
    generator = torch.Generator().manual_seed(derive_seed("self-test", "directions", seed))
    direction_GJ = torch.randn(model.hidden_size, _DIRECTIONS, generator=generator).to(head.weight_VH)
    value_VJ = (head.weight_VH @ direction_GJ).double().cpu()
    value_VJ /= value_VJ.std(0)
    hidden_RG = model(pack_documents([document]).to(head.weight_VH.device))[torch.from_numpy(positions)]
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for chunk, logits_CV in logits_chunks(model, hidden_RG, logits_bytes=None):
        log_p_CV = torch.log_softmax(logits_CV, 1).double().cpu()
        p_CV = log_p_CV.exp()
        in_head_CW, cached_CW = in_head_RW[chunk], probs_RW[chunk]
        live_CW = log_p_CV.gather(1, ids_RW[chunk])
        # Each ratio is measured where it is defined; elsewhere both sides are 0.
        log_ratio_CW = torch.where(in_head_CW, live_CW - cached_CW.clamp(min=1e-38).log(), 0.0)
        head_p_CW = torch.where(in_head_CW, live_CW.exp(), 0.0)
        live_rest_C = p_CV.scatter(1, torch.where(in_head_CW, ids_RW[chunk], ids_RW[chunk][:, :1]), 0.0).sum(1)
        live_rest_C = torch.where(num_head_R[chunk] > 0, live_rest_C, 1.0)
        rest_C = rest_R[chunk].clamp(min=1e-38)
        rest_kl_C = torch.where(live_rest_C > 0.0, live_rest_C * (live_rest_C.clamp(min=1e-38) / rest_C).log(), 0.0)
        entropy_C = -(p_CV * log_p_CV.clamp(min=-1e4)).sum(1)
        mean_CJ = torch.einsum("cw,cwj->cj", cached_CW, value_VJ[ids_RW[chunk]])
        parts.append(
            (
                ((head_p_CW * log_ratio_CW).sum(1) + rest_kl_C).clamp(min=0.0),
                (head_p_CW * log_ratio_CW.square()).sum(1),
                entropy_C - torch.from_numpy(estimates.entropy_R[chunk]),
                mean_CJ - p_CV @ value_VJ,
            )
        )
    kl, error, entropy, gap = (torch.cat(column) for column in zip(*parts, strict=True))
    return kl, error, entropy, gap
