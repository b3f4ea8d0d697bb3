"""What a student minimises beside a teacher, whoever the teacher is: a live model, a cache, several of them.

In: a teacher's signal and packed batches. Out: gradients in the student's parameters. Exact rows go through
:func:`~spiritsafe.distil.losses.exact_head.distil_head`, estimated ones through
:func:`~spiritsafe.distil.losses.sampled_head.sampled_head`; chosen layers may be drawn to the teacher's as well. Of
the teacher's hidden states only the supervised rows are kept, and its logits exist only a chunk at a time.

Shapes: N tokens, R supervised rows, S rows of one part of a signal, H student width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.hidden.match import HiddenMatch
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.losses.exact_head import DistilResult, distil_head
from spiritsafe.distil.losses.sampled_head import sampled_head
from spiritsafe.distil.signal import Signal, SignalPart, TeacherRows, TeacherSignal
from spiritsafe.models import Head, LanguageModel, PackedBatch
from spiritsafe.training import LossResult, SupervisedRows, cross_entropy_head, gradient_buffer


def _add_sums(sums: dict[str, tuple[Tensor, int]], more: Mapping[str, tuple[Tensor, int]]) -> None:
    for name, (total, count) in more.items():
        before, num_before = sums.get(name, (0.0, 0))
        sums[name] = (total + before, count + num_before)


@final
class DistilObjective:
    """A mixture of losses against a teacher's signal on the supervised tokens, with or without hidden states.

    Supervised rows of which the signal says nothing get the mixture's cross-entropy only.

    Args:
        signal: What the teacher says of a batch.
        same_tokenizer: The caller has checked that both models' tokenizers agree token for token; only then may the
            vocabulary sizes differ (by padding), see :mod:`spiritsafe.distil.losses.divergences`.
        hidden: Draws layers of the student to the teacher's, while its weight is not 0.
        logits_bytes: Most memory for logits; None chooses by device.
    """

    def __init__(
        self,
        signal: TeacherSignal,
        mix: LossMix,
        *,
        same_tokenizer: bool = False,
        hidden: HiddenMatch | None = None,
        logits_bytes: int | None = None,
    ) -> None:
        self.shares_prefixes = signal.shares_prefixes
        self._signal = signal
        self._mix = mix
        self._same_tokenizer = same_tokenizer
        self._hidden = hidden
        self._logits_bytes = logits_bytes

    def describe(self) -> dict[str, JSON]:
        """The loss, the teacher and what is matched; the memory bound changes nothing but rounding."""
        return {
            "objective": "distil",
            "mix": {**self._mix.describe()},
            "signal": self._signal.describe(),
            "hidden": None if self._hidden is None else self._hidden.describe(),
        }

    def at_step(self, step: int, num_steps: int) -> None:
        """Anneal the weight of the hidden states."""
        if self._hidden is not None:
            self._hidden.at_step(step, num_steps)

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """Teacher's signal, student forward, loss, student backward.

        Raises:
            CompatibilityError: The vocabularies differ in size without ``same_tokenizer``, the batch supervises
                nothing, or the signal leaves rows out that the mixture has no loss for.
        """
        self._check_vocabulary(model)
        supervised = SupervisedRows.of(batch, normaliser)
        hidden = self._hidden if self._hidden is not None and self._hidden.weight > 0.0 else None
        teacher_layers = () if hidden is None else hidden.teacher_layers
        signal = self._signal.read(batch, supervised.rows_R, layers=teacher_layers)
        hidden_NH, streams = (
            (model(batch), ()) if hidden is None else model.forward_with_layers(batch, hidden.student_layers)
        )
        result = self._head_loss(hidden_NH.detach()[supervised.rows_R], model.head(), signal, supervised)
        loss, sums = result.loss, dict(result.sums)
        roots, gradients = [hidden_NH], [supervised.scatter(result.grad_hidden_RH)]
        if hidden is not None:
            student_RH = [stream.detach()[supervised.rows_R] for stream in streams]
            matched = hidden.match(student_RH, signal.layers_RG, supervised.weights_R)
            loss, sums = loss + matched.loss, {**sums, **matched.sums}
            roots += streams
            gradients += [supervised.scatter(gradient_RH) for gradient_RH in matched.grads_RH]
        torch.autograd.backward(roots, gradients)
        return LossResult(loss=loss, means=sums)

    def _head_loss(self, hidden_RH: Tensor, head: Head, signal: Signal, supervised: SupervisedRows) -> DistilResult:
        """Losses of all parts of a signal, each on its own rows, and of the rows that it leaves out."""
        if len(signal.parts) == 1 and signal.parts[0].index_S is None:
            return self._part_loss(hidden_RH, head, signal.parts[0], supervised.targets_R, supervised.weights_R)
        grad_hidden_RH = torch.zeros_like(hidden_RH)
        loss, sums = hidden_RH.new_zeros((), dtype=torch.float32), dict[str, tuple[Tensor, int]]()
        left_R = torch.ones(hidden_RH.shape[0], dtype=torch.bool, device=hidden_RH.device)
        for part in signal.parts:
            index_S = torch.arange(left_R.numel(), device=left_R.device) if part.index_S is None else part.index_S
            if not index_S.numel():
                continue
            if not bool(left_R[index_S].all()):
                raise CompatibilityError(
                    "Two parts of a teacher's signal speak of the same row.", hint="Give each document one teacher."
                )
            left_R[index_S] = False
            result = self._part_loss(
                hidden_RH[index_S], head, part, supervised.targets_R[index_S], supervised.weights_R[index_S]
            )
            grad_hidden_RH.index_copy_(0, index_S, result.grad_hidden_RH)
            loss = loss + result.loss
            _add_sums(sums, result.sums)
        if bool(left_R.any()):
            index_S = left_R.nonzero().squeeze(1)
            result = self._traces_loss(
                hidden_RH[index_S], head, supervised.targets_R[index_S], supervised.weights_R[index_S]
            )
            grad_hidden_RH.index_copy_(0, index_S, result.grad_hidden_RH)
            loss = loss + result.loss
            _add_sums(sums, result.sums)
        return DistilResult(loss=loss, grad_hidden_RH=grad_hidden_RH, sums=sums)

    def _part_loss(
        self, hidden_SH: Tensor, head: Head, part: SignalPart, targets_S: Tensor, weights_S: Tensor
    ) -> DistilResult:
        weight_VH, grad_weight_VH = head.weight_VH.detach(), gradient_buffer(head.weight_VH)
        if isinstance(part.rows, TeacherRows):
            return distil_head(
                hidden_SH,
                weight_VH,
                part.rows,
                targets_S,
                weights_S,
                mix=self._mix,
                scale=head.scale,
                grad_weight_VH=grad_weight_VH,
                logits_bytes=self._logits_bytes,
            )
        return sampled_head(
            hidden_SH,
            weight_VH,
            part.rows,
            targets_S,
            weights_S,
            mix=self._mix,
            scale=head.scale,
            grad_weight_VH=grad_weight_VH,
            logits_bytes=self._logits_bytes,
        )

    def _traces_loss(self, hidden_SH: Tensor, head: Head, targets_S: Tensor, weights_S: Tensor) -> DistilResult:
        if self._mix.ce == 0.0:
            raise CompatibilityError(
                f"The teacher says nothing of {targets_S.numel()} supervised tokens, and the loss has no "
                "cross-entropy to train them with.",
                hint="Give the mixture some cross-entropy (ce above 0), or capture the teacher on these documents.",
            )
        result = cross_entropy_head(
            hidden_SH,
            head.weight_VH.detach(),
            targets_S,
            weights_S * self._mix.ce,
            scale=head.scale,
            grad_weight_VH=gradient_buffer(head.weight_VH),
            logits_bytes=self._logits_bytes,
        )
        sums = {"ce": (result.cross_entropy, targets_S.numel())}
        return DistilResult(loss=result.loss, grad_hidden_RH=result.grad_hidden_RH, sums=sums)

    def _check_vocabulary(self, student: LanguageModel) -> None:
        ours, theirs = student.vocab_size, self._signal.vocab_size
        if ours != theirs and not self._same_tokenizer:
            raise CompatibilityError(
                f"The student has {ours} tokens in its vocabulary, the teacher {theirs}.",
                hint="Distributions can only be compared over the same tokens: choose a teacher with the student's "
                "tokenizer, or train on the teacher's traces instead.",
            )
