"""What a student minimises with a live teacher beside it.

In: a frozen teacher and packed batches. Out: gradients in the student's parameters. The teacher reads the same packed
batch; of its hidden states only the supervised rows are kept, and its logits exist only a chunk at a time.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distill.loss_head import TeacherRows, forward_kl_head
from spiritsafe.models.batch import PackedBatch
from spiritsafe.models.interface import LanguageModel
from spiritsafe.training.head import gradient_buffer
from spiritsafe.training.objective import LossResult, SupervisedRows
from spiritsafe.training.state import weights_fingerprint

__all__ = ["ForwardKLObjective"]


@final
class ForwardKLObjective:
    """``(1 - ce_share) · τ² · KL(teacher ‖ student) + ce_share · cross-entropy`` on the supervised tokens.

    Args:
        teacher: Frozen; on the student's device.
        temperature: τ of the KL part.
        ce_share: Weight of the cross-entropy on the traces, 0 to 1.
        same_tokenizer: The caller has checked that both models' tokenizers agree token for token; only then may the
            vocabulary sizes differ (by padding), see :mod:`spiritsafe.distill.loss_head`.
        logits_bytes: Most memory for logits; None chooses by device.

    Raises:
        RecipeError: ``temperature`` or ``ce_share`` is out of range.
    """

    def __init__(
        self,
        teacher: LanguageModel,
        *,
        temperature: float = 1.0,
        ce_share: float = 0.0,
        same_tokenizer: bool = False,
        logits_bytes: int | None = None,
    ) -> None:
        if not temperature > 0.0:
            raise RecipeError(f"temperature {temperature} is not positive.", hint="Use 1, or 2 for softer targets.")
        if not 0.0 <= ce_share < 1.0:
            raise RecipeError(
                f"ce_share {ce_share} is not in [0, 1).",
                hint="Use a share below 1; training on traces alone is TracesObjective and needs no teacher.",
            )
        self._teacher = teacher
        self._temperature = temperature
        self._ce_share = ce_share
        self.shares_prefixes = teacher.shares_prefixes
        self._same_tokenizer = same_tokenizer
        self._logits_bytes = logits_bytes
        self._teacher_fingerprint = weights_fingerprint(teacher)

    def describe(self) -> dict[str, JSON]:
        """Its parameters and which teacher; the memory bound changes nothing but rounding."""
        return {
            "objective": "forward_kl",
            "temperature": self._temperature,
            "ce_share": self._ce_share,
            "teacher": self._teacher_fingerprint,
        }

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """Teacher forward, student forward, loss, student backward.

        Raises:
            CompatibilityError: The vocabularies differ in size without ``same_tokenizer``, or the batch supervises
                nothing.
        """
        self._check(model)
        supervised = SupervisedRows.of(batch, normaliser)
        teacher = self._teacher_rows(batch, supervised.rows_R)
        head = model.head()
        hidden_NH = model(batch)
        result = forward_kl_head(
            hidden_NH.detach()[supervised.rows_R],
            head.weight_VH.detach(),
            teacher,
            supervised.targets_R,
            supervised.weights_R,
            temperature=self._temperature,
            ce_share=self._ce_share,
            scale=head.scale,
            grad_weight_VH=gradient_buffer(head.weight_VH),
            logits_bytes=self._logits_bytes,
        )
        hidden_NH.backward(supervised.scatter(result.grad_hidden_RH))
        num_rows = supervised.rows_R.numel()
        means: dict[str, tuple[Tensor, int]] = {
            "kl": (result.kl, num_rows),
            "teacher_entropy": (result.teacher_entropy, result.num_watched),
            "agreement": (result.num_agreeing, result.num_watched),
        }
        if result.cross_entropy is not None:
            means["ce"] = (result.cross_entropy, num_rows)
        return LossResult(loss=result.loss, means=means)

    @torch.inference_mode()
    def _teacher_rows(self, batch: PackedBatch, rows_R: Tensor) -> TeacherRows:
        head = self._teacher.head()
        return TeacherRows(hidden_RG=self._teacher(batch)[rows_R], weight_UG=head.weight_VH.detach(), scale=head.scale)

    def _check(self, student: LanguageModel) -> None:
        ours, theirs = student.vocab_size, self._teacher.vocab_size
        if ours != theirs and not self._same_tokenizer:
            raise CompatibilityError(
                f"The student has {ours} tokens in its vocabulary, the teacher {theirs}.",
                hint="Distributions can only be compared over the same tokens: choose a teacher with the student's "
                "tokenizer, or train on the teacher's traces instead.",
            )
