"""How a teacher's stream becomes a target of the student's width: fixed maps, found without gradient descent.

In: the index map of a pruned student, or statistics of both streams on calibration documents. Out: a
:class:`Projection`, a constant of the loss: it belongs to no model, no optimiser and no checkpoint.

* :class:`IndexProjection`: the student's channel h was the teacher's channel ``indices[h]``. No fit, no distortion.
* :func:`fit_procrustes`: the (semi-)orthogonal map that best turns the teacher's centred stream into the student's.
* :func:`fit_low_rank`: reduced-rank ridge regression of the student's stream on the teacher's.

Shapes: R rows, G teacher and H student width, K rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest_bytes
from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.distil.hidden.streams import StreamMoments

_DEAD = 1e-12
"""A channel whose variance is below this share of the largest says nothing."""


def tensor_digest(*tensors: Tensor) -> str:
    """Digest of shapes and values, in float32: what distinguishes two fits."""
    parts = [tensor.detach().to("cpu", torch.float32).contiguous() for tensor in tensors]
    shapes = ";".join(str(tuple(part.shape)) for part in parts)
    return digest_bytes(shapes.encode() + b"".join(part.numpy().tobytes() for part in parts))


class Projection(Protocol):
    """A fixed map from the teacher's stream to the student's width."""

    def __call__(self, teacher_RG: Tensor) -> Tensor:
        """``[R, H]`` in at least float32."""
        ...

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what it computes."""
        ...


@final
class IndexProjection:
    """Some of the teacher's channels, as pruning chose them; all of them in order is the identity.

    Args:
        indices: For each student channel the teacher channel it was.
        teacher_width: G.

    Raises:
        CompatibilityError: An index is not a teacher channel, or comes twice.
    """

    def __init__(self, indices: Sequence[int], teacher_width: int) -> None:
        if not indices or len(set(indices)) != len(indices) or not 0 <= min(indices) <= max(indices) < teacher_width:
            raise CompatibilityError(
                f"{len(indices)} channels between {min(indices, default=0)} and {max(indices, default=0)} are no "
                f"selection from a teacher of width {teacher_width}.",
                hint="Give the index map that cut the student: each teacher channel at most once.",
            )
        self.indices, self.teacher_width = tuple(indices), teacher_width
        self._is_identity = self.indices == tuple(range(teacher_width))
        self._indices_H = torch.tensor(self.indices)

    def __call__(self, teacher_RG: Tensor) -> Tensor:
        """The chosen channels, ``[R, H]``."""
        teacher_RG = teacher_RG.to(torch.promote_types(teacher_RG.dtype, torch.float32))
        if self._is_identity:
            return teacher_RG
        self._indices_H = self._indices_H.to(teacher_RG.device)
        return teacher_RG[:, self._indices_H]

    def describe(self) -> dict[str, JSON]:
        """The index map's digest."""
        name = "identity" if self._is_identity else "index"
        return {"projection": name, "digest": tensor_digest(self._indices_H)}


@final
class AffineProjection:
    """``(t - mean_G) · left_GK · right_KH + bias_H``.

    Args:
        name: How it was found.
        mean_G: Subtracted first, so that channels with a huge mean lose no digits.
        left_GK: First factor, or the whole matrix.
        right_KH: Second factor; None leaves it out (then K = H).
        bias_H: Added last.
    """

    def __init__(self, *, name: str, mean_G: Tensor, left_GK: Tensor, right_KH: Tensor | None, bias_H: Tensor) -> None:
        self.name = name
        self.mean_G, self.left_GK, self.right_KH, self.bias_H = mean_G, left_GK, right_KH, bias_H
        self._ready: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def _tensors(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The factors where the stream is; converted once."""
        if (device, dtype) not in self._ready:
            factors = [self.mean_G, self.bias_H, self.left_GK, *([] if self.right_KH is None else [self.right_KH])]
            self._ready[device, dtype] = tuple(factor.to(device, dtype) for factor in factors)
        return self._ready[device, dtype]

    def __call__(self, teacher_RG: Tensor) -> Tensor:
        """The affine image, ``[R, H]``."""
        dtype = torch.promote_types(teacher_RG.dtype, torch.float32)
        mean_G, bias_H, *factors = self._tensors(teacher_RG.device, dtype)
        image = teacher_RG.to(dtype) - mean_G
        for factor in factors:
            image = image @ factor
        return image + bias_H

    def describe(self) -> dict[str, JSON]:
        """How it was found and the digest of what was found."""
        tensors = [self.mean_G, self.left_GK, self.bias_H, *([] if self.right_KH is None else [self.right_KH])]
        return {"projection": self.name, "rank": self.left_GK.shape[1], "digest": tensor_digest(*tensors)}


def _check_alive(moments: StreamMoments) -> None:
    for what, variance in (
        ("teacher", moments.teacher_covariance_GG.diagonal()),
        ("student", moments.student_variance_H),
    ):
        if not bool((variance > 0).any()):
            raise NumericalError(
                f"The {what}'s stream does not vary over {moments.num_rows} calibration rows.",
                hint="Give more and different calibration documents.",
            )


def _spread(variance: Tensor) -> Tensor:
    """Standard deviations, 1 for channels that do not vary (they are 0 once centred)."""
    return torch.where(variance > _DEAD * variance.max(), variance, torch.ones_like(variance)).sqrt()


@torch.no_grad()
def fit_procrustes(moments: StreamMoments) -> AffineProjection:
    """The orthogonal map from the teacher's centred stream to the student's, then each channel at the student's scale.

    With ``M = E[tᵀ s] = U Σ Vᵀ`` of centred streams, ``Q = U Vᵀ`` maximises ``tr(Qᵀ M)`` over matrices with
    orthonormal columns (rows, if the teacher is narrower); between equal widths that is the least-squares rotation
    (Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem"). A direction counts fully however
    little it varies, so a few huge channels do not decide the map. They would decide a common scale factor, therefore
    each target channel gets the standard deviation that the student's channel has. An exact rotation is recovered
    exactly.

    Args:
        moments: Of both streams on calibration rows.

    Raises:
        CompatibilityError: There are not more rows than channels, so the map would be arbitrary.
        NumericalError: A stream does not vary.
    """
    width = min(moments.cross_covariance_GH.shape)
    if moments.num_rows <= width:
        raise CompatibilityError(
            f"{moments.num_rows} calibration rows do not determine an orthogonal map of rank {width}.",
            hint="Give several times as many supervised calibration tokens as the narrower model has channels.",
        )
    _check_alive(moments)
    left, _, right = torch.linalg.svd(moments.cross_covariance_GH, full_matrices=False)
    rotation_GH = left @ right
    covariance_GG = moments.teacher_covariance_GG
    image_variance_H = (rotation_GH * (covariance_GG @ rotation_GH)).sum(0)
    student_variance_H = moments.student_variance_H
    dead = student_variance_H <= _DEAD * student_variance_H.max()
    gain_H = torch.where(dead, 0.0, student_variance_H.sqrt() / _spread(image_variance_H))
    return AffineProjection(
        name="procrustes",
        mean_G=moments.teacher_mean_G,
        left_GK=rotation_GH * gain_H,
        right_KH=None,
        bias_H=moments.student_mean_H,
    )


@torch.no_grad()
def fit_low_rank(moments: StreamMoments, rank: int, *, ridge: float = 1e-3) -> AffineProjection:
    """Reduced-rank ridge regression of the student's stream on the teacher's.

    In channels standardised on both sides it minimises ``E‖s - t W‖² + ridge · ‖W‖²`` over W of rank at most ``rank``:
    with ``W* = (C_tt + ridge·I)⁻¹ C_ts`` the solution is ``W* V Vᵀ``, V the leading eigenvectors of ``C_tsᵀ W*``
    (Mukherjee and Zhu 2011, "Reduced rank ridge regression and its kernel extensions"). Standardising keeps a
    few huge channels from taking all of the rank and of the ridge.

    Args:
        moments: Of both streams on calibration rows.
        rank: K, at most the narrower width.
        ridge: Penalty, in units of a channel's variance.

    Raises:
        CompatibilityError: The rank is not between 1 and the narrower width, or the ridge is not positive.
        NumericalError: A stream does not vary.
    """
    cross_GH, covariance_GG = moments.cross_covariance_GH, moments.teacher_covariance_GG
    if not (1 <= rank <= min(cross_GH.shape) and ridge > 0.0):
        raise CompatibilityError(
            f"Rank {rank} and ridge {ridge} do not fit streams of width {tuple(cross_GH.shape)}.",
            hint="Use a rank from 1 to the narrower width and a ridge above 0.",
        )
    _check_alive(moments)
    teacher_G, student_H = _spread(covariance_GG.diagonal()), _spread(moments.student_variance_H)
    cross_GH = cross_GH / teacher_G[:, None] / student_H
    covariance_GG = covariance_GG / teacher_G[:, None] / teacher_G
    penalised_GG = covariance_GG + ridge * torch.eye(len(teacher_G), dtype=torch.float64, device=teacher_G.device)
    weight_GH = torch.cholesky_solve(cross_GH, torch.linalg.cholesky(penalised_GG))
    explained_HH = cross_GH.T @ weight_GH
    vectors_HK = torch.linalg.eigh((explained_HH + explained_HH.T) / 2.0).eigenvectors[:, -rank:]
    return AffineProjection(
        name="low_rank",
        mean_G=moments.teacher_mean_G,
        left_GK=(weight_GH @ vectors_HK) / teacher_G[:, None],
        right_KH=vectors_HK.T * student_H,
        bias_H=moments.student_mean_H,
    )
