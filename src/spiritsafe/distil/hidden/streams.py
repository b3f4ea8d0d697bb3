"""Residual streams of student and teacher on calibration documents, and their statistics in float64.

In: models and documents. Out: the streams after chosen layers at the supervised rows, a batch at a time, and sums over
all of them. Neither all layers nor all tokens are ever held together. Shapes: N tokens of a batch, R supervised rows,
G teacher and H student width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.models import IGNORED, Document, LanguageModel, PackedBatch, pack_documents


def calibration_batches(
    documents: Sequence[Document], *, tokens_per_batch: int, device: torch.device
) -> Iterator[PackedBatch]:
    """Documents in order, packed into batches of at most so many tokens (a longer document is a batch of its own).

    Raises:
        CompatibilityError: No token is supervised.
    """
    if not any(flag for document in documents for flag in document.supervised[1:]):
        raise CompatibilityError(
            "The calibration documents supervise no token, so there are no streams to compare.",
            hint="Give documents with completions.",
        )
    waiting: list[Document] = []
    num_tokens = 0
    for document in documents:
        if not any(document.supervised[1:]):
            continue
        if waiting and num_tokens + len(document.token_ids) > tokens_per_batch:
            yield pack_documents(waiting).to(device)
            waiting, num_tokens = [], 0
        waiting.append(document)
        num_tokens += len(document.token_ids)
    if waiting:
        yield pack_documents(waiting).to(device)


@torch.no_grad()
def supervised_streams(model: LanguageModel, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, ...]:
    """The streams after some layers at the batch's supervised rows, ``[R, width]`` each, in float64.

    Raises:
        CompatibilityError: A layer is not there.
        NumericalError: A stream is not finite.
    """
    rows_R = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
    streams = model.forward_with_layers(batch, layers)[1]
    found = tuple(stream[rows_R].to(torch.float64) for stream in streams)
    for layer, stream in zip(layers, found, strict=True):
        if not bool(torch.isfinite(stream).all()):
            raise NumericalError(
                f"The stream after layer {layer} is not finite on the calibration documents.",
                hint="Load this model in float32 or bfloat16, or leave hidden-state matching out.",
            )
    return found


@final
class ChannelMoments:
    """Count, mean and variance of each channel, a chunk of rows at a time.

    Means and centred sums are merged (Chan, Golub and LeVeque 1979), so that channels with a huge mean lose
    no digits.

    Args:
        width: Number of channels.
        device: Of the sums.
    """

    def __init__(self, width: int, device: torch.device | str = "cpu") -> None:
        self.num_rows = 0
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self.mean)

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Take ``[R, width]`` in."""
        rows = rows.to(torch.float64)
        mean = rows.mean(0)
        total, shift = self.num_rows + rows.shape[0], mean - self.mean
        self._squares += (rows - mean).square().sum(0) + shift.square() * (self.num_rows * rows.shape[0] / total)
        self.mean = self.mean + shift * (rows.shape[0] / total)
        self.num_rows = total

    @property
    def variance(self) -> Tensor:
        """Population variance of each channel."""
        return self._squares / max(1, self.num_rows)


@final
class StreamMoments:
    """Means and covariances of a teacher's and a student's stream on the same rows, a chunk at a time, in float64.

    Args:
        teacher_width: G.
        student_width: H.
        device: Of the sums.
    """

    def __init__(self, teacher_width: int, student_width: int, device: torch.device | str = "cpu") -> None:
        self.num_rows = 0
        self.teacher_mean_G = torch.zeros(teacher_width, dtype=torch.float64, device=device)
        self.student_mean_H = torch.zeros(student_width, dtype=torch.float64, device=device)
        self._products_GG = self.teacher_mean_G.new_zeros((teacher_width, teacher_width))
        self._products_GH = self.teacher_mean_G.new_zeros((teacher_width, student_width))
        self._squares_H = torch.zeros_like(self.student_mean_H)

    @torch.no_grad()
    def add(self, student_RH: Tensor, teacher_RG: Tensor) -> None:
        """Take the same rows of both in."""
        student_RH, teacher_RG = student_RH.to(torch.float64), teacher_RG.to(torch.float64)
        num_new = teacher_RG.shape[0]
        student_mean_H, teacher_mean_G = student_RH.mean(0), teacher_RG.mean(0)
        total = self.num_rows + num_new
        shift_H, shift_G = student_mean_H - self.student_mean_H, teacher_mean_G - self.teacher_mean_G
        student_RH, teacher_RG = student_RH - student_mean_H, teacher_RG - teacher_mean_G
        # Sums of centred products about the new common mean, as in ChannelMoments.
        share = self.num_rows * num_new / total
        self._products_GG.addmm_(teacher_RG.T, teacher_RG).add_(torch.outer(shift_G, shift_G), alpha=share)
        self._products_GH.addmm_(teacher_RG.T, student_RH).add_(torch.outer(shift_G, shift_H), alpha=share)
        self._squares_H += student_RH.square().sum(0) + shift_H.square() * share
        self.student_mean_H = self.student_mean_H + shift_H * (num_new / total)
        self.teacher_mean_G = self.teacher_mean_G + shift_G * (num_new / total)
        self.num_rows = total

    @property
    def teacher_covariance_GG(self) -> Tensor:
        """``E[(t - mean)ᵀ (t - mean)]``."""
        return self._products_GG / max(1, self.num_rows)

    @property
    def cross_covariance_GH(self) -> Tensor:
        """``E[(t - mean)ᵀ (s - mean)]``."""
        return self._products_GH / max(1, self.num_rows)

    @property
    def student_variance_H(self) -> Tensor:
        """Of each student channel."""
        return self._squares_H / max(1, self.num_rows)
