"""Which layer of a student answers which layer of its teacher.

In: the layers that pruning kept, or two models and calibration documents. Out: pairs (student layer, teacher layer),
ascending in both; a layer's number (from 0) stands for the stream *after* it. The last layer of either model is never
paired: the logits already say everything about its stream. Shapes: R sampled rows, S student and T teacher layers.

A student cut in depth from its teacher holds teacher layer ``kept[j]`` as its layer j. What its layer j hands on is
read by its layer j + 1, which was the teacher's ``kept[j + 1]`` and there read the stream after ``kept[j + 1] - 1``.
So student layer j is paired with teacher layer ``kept[j + 1] - 1``, not with ``kept[j]``: it has to do the work of the
layers that were removed behind it. Where none was removed the two are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.hidden.streams import calibration_batches, supervised_streams
from spiritsafe.models import Document, LanguageModel

_LAYERS_AT_ONCE = 4
"""Streams held together while similarities are measured."""

_TOKENS_PER_BATCH = 4096


def spaced_layers(num_layers: int, num_pairs: int) -> tuple[int, ...]:
    """So many layers (or as many as there are), evenly spaced; the deepest is the last but one.

    Raises:
        CompatibilityError: No pair is asked for, or the model has only one layer.
    """
    if num_pairs < 1 or num_layers < 2:
        raise CompatibilityError(
            f"{num_pairs} layers of a model with {num_layers} cannot be matched.",
            hint="Ask for at least one pair, of models with at least two layers; the last layer is left to the logits.",
        )
    candidates = num_layers - 1
    count = min(num_pairs, candidates)
    return tuple((index + 1) * candidates // count - 1 for index in range(count))


def pairs_from_kept_layers(kept: Sequence[int], num_pairs: int) -> tuple[tuple[int, int], ...]:
    """Pairs for a student that holds some layers of its teacher, see the module's text.

    Args:
        kept: The teacher's layers in the student, ascending.
        num_pairs: How many; fewer if the student has fewer layers before its last.

    Raises:
        CompatibilityError: ``kept`` is not ascending, holds less than two layers, or no pair is asked for.
    """
    if list(kept) != sorted(set(kept)) or (kept and kept[0] < 0):
        raise CompatibilityError(
            f"{list(kept)} are not the layers that pruning kept.", hint="List them ascending, each once."
        )
    return tuple((layer, kept[layer + 1] - 1) for layer in spaced_layers(len(kept), num_pairs))


def _gram(rows_RH: Tensor) -> Tensor:
    """Centred Gram matrix of norm 1: the same number as from features, at a size that no width changes."""
    rows_RH = rows_RH.to(torch.float64)
    rows_RH = rows_RH - rows_RH.mean(0)
    gram_RR = rows_RH @ rows_RH.T
    norm: Tensor = gram_RR.square().sum().sqrt()
    return gram_RR / norm.clamp_min(torch.finfo(torch.float64).tiny)


def _alignment(first_RR: Tensor, second_RR: Tensor) -> float:
    """Linear centred kernel alignment, 0 to 1: no rotation or scale changes it (Kornblith et al., arXiv 1905.00414)."""
    return float((first_RR * second_RR).sum())


def _standardised(rows_RH: Tensor) -> Tensor:
    """Every channel with variance 1: otherwise a few huge ones would be all that the similarity sees."""
    spread_H = rows_RH.std(0, correction=0)
    return (rows_RH - rows_RH.mean(0)) / torch.where(spread_H > 0, spread_H, 1.0)


def align_monotone(similarity_ST: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """For each row a column, strictly ascending, so that the sum of similarities is largest.

    Dynamic programme: the best sum that ends in column t of row s is its similarity plus the best sum of row s - 1
    that ends before t. Of equal alternatives the earliest column is taken.

    Raises:
        CompatibilityError: There are fewer columns than rows.
    """
    num_rows, num_columns = len(similarity_ST), len(similarity_ST[0])
    if num_columns < num_rows:
        raise CompatibilityError(
            f"{num_rows} student layers cannot be paired with {num_columns} teacher layers in order.",
            hint="Ask for fewer pairs; both models' last layers are left out.",
        )
    best = list(similarity_ST[0])
    steps: list[list[int]] = []
    for row in similarity_ST[1:]:
        before: list[int] = [-1]
        for column in range(1, num_columns):
            last = before[-1]
            before.append(column - 1 if last < 0 or best[column - 1] > best[last] else last)
        best = [
            float("-inf") if before[column] < 0 else row[column] + best[before[column]] for column in range(num_columns)
        ]
        steps.append(before)
    column = max(range(num_columns), key=best.__getitem__)
    path = [column]
    for before in reversed(steps):
        column = before[column]
        path.append(column)
    return tuple(reversed(path))


def _grams(model: LanguageModel, documents: Sequence[Document], layers: Sequence[int], num_rows: int) -> list[Tensor]:
    """Normalised Gram matrices of the streams after some layers, on rows spread over the documents."""
    device = next(model.parameters()).device
    total = sum(sum(document.supervised[1:]) for document in documents)
    stride = -(-total // num_rows)
    grams: list[Tensor] = []
    for start in range(0, len(layers), _LAYERS_AT_ONCE):
        some = layers[start : start + _LAYERS_AT_ONCE]
        rows: list[list[Tensor]] = [[] for _ in some]
        seen = 0
        for batch in calibration_batches(documents, tokens_per_batch=_TOKENS_PER_BATCH, device=device):
            streams = supervised_streams(model, batch, some)
            first = -seen % stride
            seen += streams[0].shape[0]
            for kept, stream_RH in zip(rows, streams, strict=True):
                kept.append(stream_RH[first::stride])
        grams.extend(_gram(_standardised(torch.cat(kept))) for kept in rows)
    return grams


def pairs_by_similarity(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    num_pairs: int,
    *,
    num_rows: int = 512,
    num_documents: int = 64,
) -> tuple[tuple[int, int], ...]:
    """Evenly spaced student layers, each with a teacher layer, so that the summed similarity is largest.

    Similarity is linear CKA of streams whose channels are standardised; teacher layers ascend with student layers.

    Args:
        teacher: Another with the same tokens; its width does not matter.
        documents: Calibration text; supervised rows count.
        num_pairs: How many; fewer if the student has fewer layers before its last.
        num_rows: Rows compared, spread over the documents; memory is their square for each layer.
        num_documents: Documents read, spread over those given.

    Raises:
        CompatibilityError: The models have too few layers, or no token is supervised.
        NumericalError: A stream is not finite.
    """
    chosen = spaced_layers(student.num_layers, num_pairs)
    some = documents[:: -(-len(documents) // num_documents)] if documents else documents
    student_grams = _grams(student, some, chosen, num_rows)
    teacher_grams = _grams(teacher, some, range(max(teacher.num_layers - 1, 0)), num_rows)
    if not teacher_grams:
        raise CompatibilityError(
            "A teacher of one layer has no layer before its last.", hint="Leave hidden-state matching out."
        )
    similarity_ST = [[_alignment(one, other) for other in teacher_grams] for one in student_grams]
    return tuple(zip(chosen, align_monotone(similarity_ST), strict=True))
