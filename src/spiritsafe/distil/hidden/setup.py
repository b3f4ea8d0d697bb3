"""Making a hidden-state match from two models and calibration documents, in closed form.

In: student and teacher, what pruning knows of how one became the other, documents. Out: a :class:`HiddenMatch`. Layers
are paired first, then each pair's projection is found, then the units in which its streams are compared; one pair's
statistics are in memory at a time. Shapes: G teacher and H student width, R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.hidden.layer_pairs import pairs_by_similarity, pairs_from_kept_layers
from spiritsafe.distil.hidden.match import ChannelUnits, HiddenMatch, MatchedPair
from spiritsafe.distil.hidden.projections import IndexProjection, Projection, fit_low_rank, fit_procrustes
from spiritsafe.distil.hidden.streams import ChannelMoments, StreamMoments, calibration_batches, supervised_streams
from spiritsafe.models import Document, LanguageModel

ProjectionMethod = Literal["auto", "index", "procrustes", "low_rank"]
"""``auto``: the pruning index map where it is known, else Procrustes."""

_TOKENS_PER_BATCH = 4096


def make_hidden_match(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    *,
    num_pairs: int = 3,
    kept_layers: Sequence[int] | None = None,
    kept_channels: Sequence[int] | None = None,
    weight: float,
    until: float = 0.5,
    schedule: Literal["cosine", "linear"] = "cosine",
    share_of_tokens: float = 1.0,
    seed: int = 0,
    method: ProjectionMethod = "auto",
    rank: int | None = None,
) -> HiddenMatch:
    """Pair layers, find projections, measure units.

    Args:
        student: As it enters training; on the teacher's device.
        teacher: Frozen, of the same tokenizer.
        documents: Calibration documents; their supervised rows count. Fitted projections need several times as many
            such rows as the student has channels.
        num_pairs: Layers to match; fewer where the student has fewer before its last.
        kept_layers: For each student layer the teacher layer it was, when the student was cut from the teacher; None
            pairs layers by similarity.
        kept_channels: For each student channel the teacher channel it was, when the width was cut.
        weight: Of the loss at step 0.
        until: Share of the run after which it is 0.
        schedule: How it falls.
        share_of_tokens: Share of supervised rows looked at in each micro-batch.
        seed: Of the draw of rows.
        method: Kind of projection.
        rank: Of ``low_rank``; None: half the narrower width.

    Raises:
        RecipeError: An option cannot take effect, or a number is out of range.
        CompatibilityError: The models, layers, channels or documents do not fit together.
        NumericalError: A stream is not finite or does not vary.
    """
    if rank is not None and method != "low_rank":
        raise RecipeError(f"rank {rank} means nothing to method {method!r}.", hint='Use method "low_rank" or no rank.')
    indices = _index_map(student, teacher, kept_layers, kept_channels, method)
    if kept_layers is None:
        layers = pairs_by_similarity(student, teacher, documents, num_pairs)
    else:
        layers = pairs_from_kept_layers(kept_layers, num_pairs)
    pairs = []
    for student_layer, teacher_layer in layers:
        projection: Projection
        if indices is not None:
            projection = IndexProjection(indices, teacher.hidden_size)
        else:
            moments = _moments(student, teacher, documents, student_layer, teacher_layer)
            narrower = min(student.hidden_size, teacher.hidden_size)
            fitted_rank = rank if rank is not None else max(1, narrower // 2)
            projection = fit_low_rank(moments, fitted_rank) if method == "low_rank" else fit_procrustes(moments)
        units = _units(student, teacher, documents, student_layer, teacher_layer, projection)
        pairs.append(
            MatchedPair(student_layer=student_layer, teacher_layer=teacher_layer, projection=projection, units=units)
        )
    return HiddenMatch(pairs, weight=weight, until=until, schedule=schedule, share_of_tokens=share_of_tokens, seed=seed)


def _index_map(
    student: LanguageModel,
    teacher: LanguageModel,
    kept_layers: Sequence[int] | None,
    kept_channels: Sequence[int] | None,
    method: ProjectionMethod,
) -> Sequence[int] | None:
    """Teacher channels of the student's, if pruning tells and the method does not set it aside; checks what it tells.

    Without ``kept_channels`` the identity is known only of a student that was cut from the teacher in depth alone:
    two models of one width that grew up apart do not share channels.
    """
    if kept_layers is not None and (len(kept_layers) != student.num_layers or max(kept_layers) >= teacher.num_layers):
        raise CompatibilityError(
            f"Kept layers {list(kept_layers)} do not make a student of {student.num_layers} layers from a teacher of "
            f"{teacher.num_layers}.",
            hint="Give the layers that cut this very student from this very teacher.",
        )
    if kept_channels is not None and len(kept_channels) != student.hidden_size:
        raise CompatibilityError(
            f"{len(kept_channels)} kept channels do not make a student of width {student.hidden_size}.",
            hint="Give the index map that cut this very student.",
        )
    if method in ("procrustes", "low_rank"):
        return None
    if kept_channels is not None:
        return kept_channels
    if kept_layers is not None and student.hidden_size == teacher.hidden_size:
        return range(student.hidden_size)
    if method == "index":
        raise RecipeError(
            "Method 'index' needs the channels that pruning kept.",
            hint="Give kept_channels, or use method 'auto', which fits a map where none is known.",
        )
    return None


def _moments(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    student_layer: int,
    teacher_layer: int,
) -> StreamMoments:
    device = next(student.parameters()).device
    moments = StreamMoments(teacher.hidden_size, student.hidden_size, device)
    for batch in calibration_batches(documents, tokens_per_batch=_TOKENS_PER_BATCH, device=device):
        (student_RH,) = supervised_streams(student, batch, (student_layer,))
        (teacher_RG,) = supervised_streams(teacher, batch, (teacher_layer,))
        moments.add(student_RH, teacher_RG)
    return moments


@torch.no_grad()
def _units(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    student_layer: int,
    teacher_layer: int,
    projection: Projection,
) -> ChannelUnits:
    device = next(student.parameters()).device
    target, own = ChannelMoments(student.hidden_size, device), ChannelMoments(student.hidden_size, device)
    for batch in calibration_batches(documents, tokens_per_batch=_TOKENS_PER_BATCH, device=device):
        (student_RH,) = supervised_streams(student, batch, (student_layer,))
        (teacher_RG,) = supervised_streams(teacher, batch, (teacher_layer,))
        target.add(projection(teacher_RG))
        own.add(student_RH)
    return ChannelUnits.of(target, own)
