"""Learning by reward, as the training loop sees it.

In: a model in training and a micro-batch of documents that a policy drew. Out: gradients, the loss, and what says
whether learning is healthy: entropy, ratio, how far trainer and sampler are from each other and from a reference.
Advantages and weights of documents come with them (:class:`~spiritsafe.models.DrawnCompletion`); here is only the
loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.models import LanguageModel, LoraBase, PackedBatch
from spiritsafe.reinforce.loss.policy_head import PolicyResult, PolicyRows, policy_head, token_logprobs
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss, reference_penalty
from spiritsafe.training import LossResult, SupervisedRows, gradient_buffer, weights_fingerprint


@final
class PolicyObjective:
    """The loss of a policy on documents that it, or an older or remote one, drew.

    Ratios are taken to what the trainer itself computed before a round's first update (``Drawn.old``), where that is
    known, so that the sampler's rounding (of which clip ranges like those of "gspo" are not far) clips nothing; else to
    what is known of the draw. Truncation corrects for the draw, so it is always measured from that.

    A step's metrics (means over drawn tokens, unless said otherwise): ``policy_loss`` (as weighted in the loss, without
    penalty), ``entropy`` (nats, at the temperature of sampling); where the loss uses a ratio ``ratio`` and
    ``clipped_share`` (over sequences, if the ratio is a sequence's); where it is known how probable tokens were when
    drawn ``kl_sampler`` (k3, KL of the sampler from the trainer) and ``gap`` (mean absolute difference of
    log-probabilities); with a reference ``kl_reference`` (k3).

    Args:
        reference: The frozen model that ``loss.kl_weight`` keeps the policy near, on the same device.
        on_policy: Documents are learnt from once, by the very weights that drew them: ratios are 1 by definition. What
            is known of the draw then goes into metrics only.
        logits_bytes: Most memory for logits; None chooses by device.

    Raises:
        RecipeError: A reference without weight or a weight without reference; truncation where ratios are 1.
    """

    def __init__(
        self,
        loss: PolicyLoss,
        *,
        reference: LanguageModel | None = None,
        on_policy: bool = False,
        logits_bytes: int | None = None,
    ) -> None:
        if (reference is not None) != (loss.kl_weight > 0.0):
            raise RecipeError(
                f"kl_weight is {loss.kl_weight}, and there is {'a' if reference else 'no'} reference model.",
                hint="Give a reference model and a kl_weight above 0, or neither.",
            )
        if on_policy and loss.truncation is not None:
            raise RecipeError(
                "Truncation corrects for a policy that differs from the one in training; here they are the same.",
                hint="Leave truncation out, or say that the documents are not on-policy.",
            )
        self._loss = loss
        self._reference = reference
        self._on_policy = on_policy
        self._logits_bytes = logits_bytes
        self.shares_prefixes = reference is None or reference.shares_prefixes
        self._description: dict[str, JSON] = {
            "objective": "policy",
            "loss": loss.to_json(),
            "on_policy": on_policy,
            "reference": None if reference is None else weights_fingerprint(reference),
        }

    def describe(self) -> dict[str, JSON]:
        """The loss and the reference; the memory bound changes nothing but rounding."""
        return self._description

    def at_step(self, step: int, num_steps: int) -> None:
        """Nothing changes in the course of a run."""

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        """Forward, loss, backward.

        Raises:
            CompatibilityError: The batch supervises nothing or was not drawn, or the reference has another vocabulary.
        """
        supervised = SupervisedRows.of(batch, normaliser)
        rows = self._rows(model, batch, supervised)
        head = model.head()
        hidden_NH = model(batch)
        result = policy_head(
            hidden_NH.detach()[supervised.rows_R],
            head.weight_VH.detach(),
            self._compared(rows, batch, supervised),
            config=self._loss,
            scale=head.scale,
            grad_weight_VH=gradient_buffer(head.weight_VH),
            logits_bytes=self._logits_bytes,
        )
        hidden_NH.backward(supervised.scatter(result.grad_hidden_RH))
        return LossResult(loss=result.loss, means=self._means(result, rows, normaliser))

    def _rows(self, model: LanguageModel, batch: PackedBatch, supervised: SupervisedRows) -> PolicyRows:
        if batch.drawn is None:
            raise CompatibilityError(
                "A batch does not say how its documents were drawn.",
                hint="Learning by reward needs documents with an advantage (Document.drawn).",
            )
        index_R = supervised.rows_R
        return PolicyRows(
            targets_R=supervised.targets_R,
            weights_R=supervised.weights_R,
            advantages_R=batch.drawn.advantages_N[index_R],
            drawn_R=batch.drawn.logprobs_N[index_R],
            is_known_R=batch.drawn.is_known_N[index_R],
            sequences_R=batch.drawn.documents_N[index_R],
            reference_R=self._reference_logprobs(model, batch, supervised),
        )

    def _compared(self, rows: PolicyRows, batch: PackedBatch, supervised: SupervisedRows) -> PolicyRows:
        """The rows with what ratios are taken to; truncation corrects for the draw itself."""
        if self._on_policy or batch.drawn is None:
            return replace(rows, is_known_R=torch.zeros_like(rows.is_known_R))
        if self._loss.truncation is not None:
            return rows
        index_R = supervised.rows_R
        return replace(rows, drawn_R=batch.drawn.old_N[index_R], is_known_R=batch.drawn.has_old_N[index_R])

    @torch.no_grad()  # not inference mode: what FSDP gathers in it could not be trained with afterwards
    def _reference_logprobs(
        self, model: LanguageModel, batch: PackedBatch, supervised: SupervisedRows
    ) -> Tensor | None:
        if self._reference is None:
            return None
        if self._reference.vocab_size != model.vocab_size:
            raise CompatibilityError(
                f"The model has {model.vocab_size} tokens in its vocabulary, its reference "
                f"{self._reference.vocab_size}.",
                hint="The reference should be the model as it was before.",
            )
        # a model that is spread over processes is another object than the one that its adapters were put on
        reference = LoraBase(model) if isinstance(self._reference, LoraBase) else self._reference
        head = reference.head()
        return token_logprobs(
            reference(batch)[supervised.rows_R],
            head.weight_VH,
            supervised.targets_R,
            scale=head.scale / self._loss.temperature,
            logits_bytes=self._logits_bytes,
        )

    def _means(self, result: PolicyResult, rows: PolicyRows, normaliser: float) -> Mapping[str, tuple[Tensor, int]]:
        num_rows, token = rows.targets_R.numel(), result.token
        means = {
            "policy_loss": (torch.dot(token.loss_R, rows.weights_R.to(token.loss_R.dtype)) * normaliser, num_rows),
            "entropy": (result.entropy_R.sum(), num_rows),
        }
        if token.ratio_R is not None and token.is_clipped_R is not None and not self._on_policy:
            shares_R, count = torch.ones_like(token.ratio_R), num_rows
            if self._loss.by_sequence:
                counts_S = torch.bincount(rows.sequences_R)
                shares_R, count = 1.0 / counts_S[rows.sequences_R], int((counts_S > 0).sum())
            means["ratio"] = ((token.ratio_R * shares_R).sum(), count)
            means["clipped_share"] = ((token.is_clipped_R * shares_R).sum(), count)
        num_known = int(rows.is_known_R.sum())
        if num_known:
            drawn_R = rows.drawn_R[rows.is_known_R].to(result.logprobs_R.dtype)
            now_R = result.logprobs_R[rows.is_known_R]
            # k3 of tokens drawn by the sampler: its roles of p and q are the other way round than for a reference
            means["kl_sampler"] = (reference_penalty(drawn_R, now_R).loss_R.sum(), num_known)
            means["gap"] = ((now_R - drawn_R).abs().sum(), num_known)
        if result.penalty_R is not None:
            means["kl_reference"] = (result.penalty_R.sum(), num_rows)
        return means
