"""What a step minimises, as the loop sees it; and the one objective that needs no teacher.

An objective takes a model and a micro-batch, runs forward *and* backward, and returns what it saw. The divisor that
makes micro-batches into a mean (``normaliser``) is known before any of them runs, so no gradient is scaled afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import IGNORED, LanguageModel, PackedBatch
from spiritsafe.training.chunked_head import gradient_buffer
from spiritsafe.training.head import cross_entropy_head


@final
@dataclass(frozen=True, kw_only=True)
class LossResult:
    """What one micro-batch gave, gradients apart.

    Attributes:
        loss: Scalar, without graph: the sum of the rows' weighted losses over the normaliser. The losses of a step's
            micro-batches add up to the loss of the step.
        means: For each metric its sum over some rows and the number of rows, both scalars; a step's metric is the sum
            of sums over the sum of numbers.
    """

    loss: Tensor
    means: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)


class Objective(Protocol):
    """A way to train.

    Attributes:
        shares_prefixes: Whether batches may hold a prefix that their documents share.
    """

    shares_prefixes: bool

    def describe(self) -> dict[str, JSON]:
        """Everything that changes what this objective computes; a checkpoint of another description is refused."""
        ...

    def at_step(self, step: int, num_steps: int) -> None:
        """Told before each step (from 0) which one comes; whatever changes in the course of a run changes here."""
        ...

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """Run a micro-batch forward and backward, adding to the parameters' gradients.

        Args:
            model: The model in training; its parameters hold gradient buffers.
            batch: The micro-batch, on the model's device.
            normaliser: Supervised tokens of the whole step.
        """
        ...


def learn_micro_batch(objective: Objective, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
    """A micro-batch through an objective; of a mixture of experts, with its load-balancing loss added.

    That loss is taken over all tokens of the micro-batch and weighs, times the model's own coefficient, what the
    micro-batch has of the step's supervised tokens, so that the weights of a step add up to 1. The metric
    ``balance_loss`` is the step's mean without the coefficient; at even use it is the number of experts a token passes.
    """
    if model.balance is None:
        return objective(model, batch, normaliser)
    num_learnt = int(((batch.targets_N != IGNORED) & (batch.weights_N != 0.0)).sum())
    share = num_learnt / normaliser
    with model.balance.weighted(share) as losses:
        result = objective(model, batch, normaliser)
    if not losses:
        return result
    loss = torch.stack(losses).sum().float()
    return LossResult(
        loss=result.loss + model.balance.coefficient * share * loss,
        means={**result.means, "balance_loss": (loss * num_learnt, num_learnt)},
    )


@final
@dataclass(frozen=True, kw_only=True)
class SupervisedRows:
    """The rows of a batch that have a target, and their way back.

    Shapes: N tokens, R supervised ones.
    """

    rows_R: Tensor
    targets_R: Tensor
    weights_R: Tensor
    num_tokens: int

    @classmethod
    def of(cls, batch: PackedBatch, normaliser: float) -> SupervisedRows:
        """Find them; weights are divided by the normaliser.

        Raises:
            CompatibilityError: There is none.
        """
        rows_R = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
        if not rows_R.numel():
            raise CompatibilityError("A batch supervises no token.", hint="Leave documents without a completion out.")
        return cls(
            rows_R=rows_R,
            targets_R=batch.targets_N[rows_R],
            weights_R=batch.weights_N[rows_R] / normaliser,
            num_tokens=batch.num_tokens,
        )

    def scatter(self, gradient_RH: Tensor) -> Tensor:
        """Gradient of all N hidden states: zero where nothing is supervised."""
        gradient_NH = gradient_RH.new_zeros((self.num_tokens, gradient_RH.shape[1]))
        return gradient_NH.index_copy_(0, self.rows_R, gradient_RH)


@final
class TracesObjective:
    """Cross-entropy on the supervised tokens (fine-tuning on traces).

    Args:
        logits_bytes: Most memory for logits; None chooses by device.
    """

    shares_prefixes = True

    def __init__(self, *, logits_bytes: int | None = None) -> None:
        self._logits_bytes = logits_bytes

    def describe(self) -> dict[str, JSON]:
        """Its name; the memory bound changes nothing but rounding."""
        return {"objective": "traces"}

    def at_step(self, step: int, num_steps: int) -> None:
        """Nothing changes in the course of a run."""

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """Forward, loss, backward.

        Raises:
            CompatibilityError: The batch supervises nothing.
        """
        supervised = SupervisedRows.of(batch, normaliser)
        num_rows = supervised.rows_R.numel()
        head = model.head()
        hidden_NH = model(batch)
        result = cross_entropy_head(
            hidden_NH.detach()[supervised.rows_R],
            head.weight_VH.detach(),
            supervised.targets_R,
            supervised.weights_R,
            scale=head.scale,
            grad_weight_VH=gradient_buffer(head.weight_VH),
            logits_bytes=self._logits_bytes,
        )
        hidden_NH.backward(supervised.scatter(result.grad_hidden_RH))
        means = {"ce": (result.cross_entropy, num_rows), "accuracy": (result.num_right, num_rows)}
        return LossResult(loss=result.loss, means=means)
