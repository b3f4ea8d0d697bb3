"""Hidden-state matching: a few of the student's streams are drawn to what its teacher's streams say there.

In: streams of chosen layers at the supervised rows. Out: a loss and its gradient by each student stream, made in
closed form, so no graph and no activation is kept for it. All that is fitted (projections, channel scales) is constant
and lives here: the student has no parameter more or less than without matching, and neither has the optimiser.

Raw streams have a few channels a hundred times larger than the others ("massive activations", Sun et al., arXiv
2402.17762), which would be all that a cosine or a squared error sees. So both sides are first put into *channel
units*, ``z = (stream - centre_H) / spread_H``, with the mean of the projected teacher and the pooled spread of teacher
and student over calibration rows. Then with y the teacher's and z the student's row

    loss_r = a · (1 - cos(z_r, y_r)) + b · ‖z_r - y_r‖² / H

Since ``spread_H²`` is the mean of ``y²`` and ``z²``, no channel contributes more than 4 to the sum over channels of
the expected squared error when training starts, and H is the mean of both rows' squared lengths: the second term is a
squared error relative to the size of the streams. The scale is fixed, not taken from the batch, so that the loss of a
step does not depend on how it is cut into micro-batches.

Shapes: R supervised rows, C rows at once, G teacher and H student width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.hidden.projections import Projection, tensor_digest
from spiritsafe.distil.hidden.streams import ChannelMoments

_ROWS_AT_ONCE = 4096
_LEAST_SPREAD = 1e-2
"""Least spread of a channel, as a share of the median channel's: silent channels are not blown up."""


@final
@dataclass(frozen=True, kw_only=True)
class ChannelUnits:
    """``(stream - centre_H) * inverse_H``: every channel of a stream at a size of about 1.

    Attributes:
        centre_H: float32.
        inverse_H: float32, one over the spread.
    """

    centre_H: Tensor
    inverse_H: Tensor

    @classmethod
    def of(cls, target: ChannelMoments, student: ChannelMoments) -> ChannelUnits:
        """Centre and pooled spread from the projected teacher's and the student's channels.

        ``spread² = ½ (E[(u - centre)²] + E[(s - centre)²])``, centre the target's mean.

        Raises:
            NumericalError: Most channels do not vary.
        """
        square_H = (target.variance + student.variance + (student.mean - target.mean).square()) / 2.0
        spread_H = square_H.sqrt()
        least = _LEAST_SPREAD * spread_H.median()
        if not bool(least > 0):
            raise NumericalError(
                f"Most channels of a stream do not vary over {target.num_rows} calibration rows.",
                hint="Give more and different calibration documents.",
            )
        inverse_H = spread_H.clamp_min(least).reciprocal()
        return cls(centre_H=target.mean.to(torch.float32), inverse_H=inverse_H.to(torch.float32))


@final
@dataclass(frozen=True, kw_only=True)
class MatchedPair:
    """A layer of the student and what it is drawn to.

    Attributes:
        student_layer: From 0; its output stream.
        teacher_layer: From 0; its output stream.
        projection: Teacher's stream to student's width.
        units: In which both are compared.
        share: Of the whole loss, relative to the other pairs.
    """

    student_layer: int
    teacher_layer: int
    projection: Projection
    units: ChannelUnits
    share: float = 1.0

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what it computes."""
        return {
            "student_layer": self.student_layer,
            "teacher_layer": self.teacher_layer,
            "share": self.share,
            "units": tensor_digest(self.units.centre_H, self.units.inverse_H),
            **self.projection.describe(),
        }


@final
@dataclass(frozen=True, kw_only=True)
class HiddenResult:
    """Loss and gradients over R rows.

    Attributes:
        loss: Scalar, times the current weight.
        grads_RH: For each pair its gradient by the student's stream, in that stream's dtype; zero in rows left out.
        sums: ``hidden_cosine`` (1 - cos) and ``hidden_error`` (the relative squared error): unweighted sums over the
            rows looked at, averaged over pairs by their shares, and the number of these rows.
    """

    loss: Tensor
    grads_RH: tuple[Tensor, ...]
    sums: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)


def match_rows(student_CH: Tensor, target_CH: Tensor, units: ChannelUnits) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both terms of each row and their gradients by the student's stream.

    Args:
        student_CH: The student's rows, at least float32.
        target_CH: The projected teacher's, of the same dtype.
        units: In which they are compared.

    Returns:
        ``1 - cos`` ``[C]``, squared error over H ``[C]``, and the gradient of each ``[C, H]``.
    """
    centre_H = units.centre_H.to(student_CH.device, student_CH.dtype)
    inverse_H = units.inverse_H.to(student_CH.device, student_CH.dtype)
    z_CH, y_CH = (student_CH - centre_H) * inverse_H, (target_CH - centre_H) * inverse_H
    difference_CH = z_CH - y_CH
    error_C = difference_CH.square().mean(1)
    error_grad_CH = difference_CH * (inverse_H * (2.0 / inverse_H.numel()))
    tiny = torch.finfo(z_CH.dtype).tiny ** 0.5
    length_C1 = z_CH.norm(dim=1, keepdim=True).clamp_min(tiny)
    unit_z_CH, unit_y_CH = z_CH / length_C1, y_CH / y_CH.norm(dim=1, keepdim=True).clamp_min(tiny)
    # 1 - cos as half the squared chord: exactly 0 for equal rows, no cancellation near them.
    cosine_C = (unit_z_CH - unit_y_CH).square().sum(1) / 2.0
    # d(1 - cos)/dz = (cos · z/|z| - y/|y|) / |z|
    cosine_grad_CH = ((1.0 - cosine_C)[:, None] * unit_z_CH - unit_y_CH) / length_C1 * inverse_H
    return cosine_C, error_C, cosine_grad_CH, error_grad_CH


@final
class HiddenMatch:
    """Matching of chosen layers, with a weight that falls to 0 during the run.

    Args:
        pairs: Which layers, and how they are compared.
        weight: Of this loss beside the others, at step 0.
        until: Share of the run after which the weight is 0.
        schedule: How it falls: half a cosine, or a straight line.
        share_of_tokens: Share of the supervised rows looked at, drawn anew for each micro-batch; their weights are
            divided by it, so the expected gradient is that of all rows. Cut otherwise into micro-batches, or
            among processes, a step draws other rows.
        cosine: Weight a of the cosine term.
        error: Weight b of the relative squared error.

    Attributes:
        student_layers: In the order of the streams that :meth:`match` takes.
        teacher_layers: The same.
        weight: Current; while it is 0 no stream is needed.

    Raises:
        RecipeError: A number is out of its range, or there is no pair.
    """

    def __init__(
        self,
        pairs: Sequence[MatchedPair],
        *,
        weight: float,
        until: float = 0.5,
        schedule: Literal["cosine", "linear"] = "cosine",
        share_of_tokens: float = 1.0,
        cosine: float = 1.0,
        error: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not pairs or min(pair.share for pair in pairs) <= 0.0:
            raise RecipeError(
                "Hidden-state matching needs pairs of layers, each with a positive share.", hint="Name one."
            )
        if not (0.0 < weight < math.inf and 0.0 < until <= 1.0 and 0.0 < share_of_tokens <= 1.0):
            raise RecipeError(
                f"weight {weight}, until {until} or share_of_tokens {share_of_tokens} is out of range.",
                hint="Use a weight above 0 and shares above 0 and up to 1; without matching, leave it out.",
            )
        if min(cosine, error) < 0.0 or not 0.0 < cosine + error < math.inf:
            raise RecipeError(
                f"cosine {cosine} and error {error} are no weights of a loss.",
                hint="Use numbers from 0, at least one of them above.",
            )
        self.pairs = tuple(pairs)
        self.student_layers = tuple(pair.student_layer for pair in pairs)
        self.teacher_layers = tuple(pair.teacher_layer for pair in pairs)
        self.weight = weight
        self._start_weight, self._until = weight, until
        self._schedule, self._share_of_tokens = schedule, share_of_tokens
        self._cosine, self._error, self._seed = cosine, error, seed
        whole = sum(pair.share for pair in pairs)
        self._shares = tuple(pair.share / whole for pair in pairs)
        self._step, self._num_matched = 0, 0

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what it computes, with digests of what was fitted; the same at every step."""
        return {
            "pairs": [pair.describe() for pair in self.pairs],
            "weight": self._start_weight,
            "until": self._until,
            "schedule": self._schedule,
            "share_of_tokens": self._share_of_tokens,
            "cosine": self._cosine,
            "error": self._error,
            "seed": self._seed,
        }

    def at_step(self, step: int, num_steps: int) -> None:
        """Set the weight for a step (from 0) and start its draws anew."""
        progress = min(1.0, step / (self._until * num_steps))
        falling = 1.0 - progress if self._schedule == "linear" else (1.0 + math.cos(math.pi * progress)) / 2.0
        self.weight = self._start_weight * falling  # exactly 0 at progress 1, by either schedule
        self._step, self._num_matched = step, 0

    def _draw(self, num_rows: int, device: torch.device) -> Tensor | None:
        """Rows to look at, ascending: a function of the seed, the step and the place of the micro-batch in it."""
        place, self._num_matched = self._num_matched, self._num_matched + 1
        count = math.ceil(self._share_of_tokens * num_rows)
        if count == num_rows:
            return None
        seed = derive_seed(self._seed, "hidden rows", self._step, place)
        drawn = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))[:count]
        return drawn.sort().values.to(device)

    @torch.no_grad()
    def match(self, student_RH: Sequence[Tensor], teacher_RG: Sequence[Tensor], weights_R: Tensor) -> HiddenResult:
        """Loss of the module's formula over a micro-batch's supervised rows, and its gradients.

        Args:
            student_RH: For each pair the student's stream.
            teacher_RG: For each pair the teacher's.
            weights_R: Weight of each row, already divided by the step's normaliser.

        Raises:
            CompatibilityError: The streams are not those of the pairs.
        """
        num_rows = weights_R.shape[0]
        self._check(student_RH, teacher_RG, num_rows)
        rows = self._draw(num_rows, weights_R.device)
        count = num_rows if rows is None else rows.numel()
        row_weights = (weights_R if rows is None else weights_R[rows]) * (num_rows / count)
        loss = torch.zeros((), dtype=torch.float64 if student_RH[0].dtype == torch.float64 else torch.float32)
        loss = loss.to(weights_R.device)
        cosine, error = torch.zeros_like(loss), torch.zeros_like(loss)
        grads: list[Tensor] = []
        for pair, share, student, teacher in zip(self.pairs, self._shares, student_RH, teacher_RG, strict=True):
            factors = row_weights.to(loss.dtype) * (share * self.weight)
            grad_RH = torch.empty_like(student) if rows is None else torch.zeros_like(student)
            for start in range(0, count, _ROWS_AT_ONCE):
                span = slice(start, min(start + _ROWS_AT_ONCE, count))
                where = span if rows is None else rows[span]
                one_C, two_C, grad_one_CH, grad_two_CH = match_rows(
                    student[where].to(loss.dtype), pair.projection(teacher[where]).to(loss.dtype), pair.units
                )
                loss += torch.dot(one_C.mul(self._cosine).add_(two_C, alpha=self._error), factors[span])
                cosine += one_C.sum() * share
                error += two_C.sum() * share
                grad_CH = grad_one_CH.mul_(self._cosine).add_(grad_two_CH, alpha=self._error)
                grad_RH[where] = grad_CH.mul_(factors[span, None]).to(grad_RH.dtype)
            grads.append(grad_RH)
        sums = {"hidden_cosine": (cosine, count), "hidden_error": (error, count)}
        return HiddenResult(loss=loss, grads_RH=tuple(grads), sums=sums)

    def _check(self, student_RH: Sequence[Tensor], teacher_RG: Sequence[Tensor], num_rows: int) -> None:
        if not len(student_RH) == len(teacher_RG) == len(self.pairs):
            raise CompatibilityError(
                f"{len(student_RH)} student and {len(teacher_RG)} teacher streams do not fit {len(self.pairs)} pairs.",
                hint="Ask both models for this match's student_layers and teacher_layers, in that order.",
            )
        for pair, student, teacher in zip(self.pairs, student_RH, teacher_RG, strict=True):
            width = pair.units.centre_H.numel()
            if student.shape != (num_rows, width) or teacher.shape[0] != num_rows:
                raise CompatibilityError(
                    f"Streams {tuple(student.shape)} and {tuple(teacher.shape)} do not fit {num_rows} rows of width "
                    f"{width}.",
                    hint="Give the supervised rows of both models, of the student this match was made for.",
                )
