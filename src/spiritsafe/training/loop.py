"""The training loop: documents in, a trained model out, killed and resumed without a trace.

In: a model, documents, an objective and a configuration. Out: the model's parameters, changed in place, and a
:class:`TrainResult`; in the directory ``metrics.jsonl`` (one line a step) and, while it runs, ``state.pt``. On a CPU a
resumed run equals the unbroken one bit for bit (same number of threads). Exercised by ``pytest tests/unit/training``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import NumericalError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files import append_line, ensure_directory, read_json_lines, write_json, write_text
from spiritsafe.models.batch import Document
from spiritsafe.models.interface import LanguageModel
from spiritsafe.training.config import TrainConfig, learning_rate_at
from spiritsafe.training.memory import kept_memory
from spiritsafe.training.objective import Objective
from spiritsafe.training.optimiser import AdamW
from spiritsafe.training.packing import (
    StepPlan,
    check_documents,
    num_supervised,
    pack_micro_batch,
    split_micro_batches,
)
from spiritsafe.training.precision import choose_dtype
from spiritsafe.training.state import load_state, save_state, weights_fingerprint

__all__ = ["METRICS_FILE", "Evaluate", "TrainResult", "train"]

METRICS_FILE = "metrics.jsonl"

Evaluate = Callable[[LanguageModel, int], Mapping[str, float]]
"""Called with the model and the number of finished steps; what it returns is kept with that step's metrics."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run did, over all its sittings.

    Attributes:
        steps: Updates.
        tokens: Tokens read, prompts included.
        supervised_tokens: Tokens learnt from.
        final_loss: Loss of the last step.
        curve: One record a step: step, loss, learning_rate, grad_norm, tokens, supervised_tokens, tokens_per_s,
            changed_share, update_ratio, seconds, the objective's own means, and ``evaluation`` where one was made.
        seconds: Spent in steps; evaluations and checkpoints are not counted.
    """

    steps: int
    tokens: int
    supervised_tokens: int
    final_loss: float
    curve: tuple[Mapping[str, Any], ...]
    seconds: float


def train(
    model: LanguageModel,
    documents: Sequence[Document],
    objective: Objective,
    config: TrainConfig,
    *,
    directory: Path,
    events: EventSink | None = None,
    evaluate: Evaluate | None = None,
) -> TrainResult:
    """Train a model in place; continue where an earlier call with the same arguments was interrupted.

    Args:
        model: The starting model, the same in each call; its parameters become the compute dtype.
        documents: What to learn from; each is used once an epoch.
        objective: What a step minimises.
        config: How.
        directory: For metrics and checkpoints.
        events: Hears progress and each step's metrics.
        evaluate: Called after each ``config.eval_every`` steps and after the last.

    Raises:
        RecipeError: A document supervises nothing or is longer than a micro-batch.
        CompatibilityError: Documents, objective or device do not fit the model.
        NumericalError: A loss or gradient is not finite; the batch is saved, the model keeps its last good weights.
        IntegrityError: The directory holds another run's checkpoint.
        StorageError: The directory cannot be written.
    """
    check_documents(documents, config, model)
    ensure_directory(directory)
    device = next(model.parameters()).device
    with kept_memory() if device.type == "cpu" else nullcontext():
        run = _Run(model, documents, objective, config, directory, events or NullSink(), evaluate)
        try:
            return run.finish()
        finally:
            run.close()


def _documents_digest(documents: Sequence[Document]) -> str:
    hasher = sha256()
    for document in documents:
        hasher.update(f"{len(document.token_ids)},{document.weight!r};".encode())
        hasher.update(np.asarray(document.token_ids, dtype=np.int64).tobytes())
        hasher.update(np.asarray(document.supervised, dtype=np.bool_).tobytes())
    return hasher.hexdigest()


@final
class _Run:
    """One run and its place in it."""

    def __init__(
        self,
        model: LanguageModel,
        documents: Sequence[Document],
        objective: Objective,
        config: TrainConfig,
        directory: Path,
        events: EventSink,
        evaluate: Evaluate | None,
    ) -> None:
        self._model = model
        self._documents = documents
        self._objective = objective
        self._config = config
        self._directory = directory
        self._events = events
        self._evaluate = evaluate
        self._lengths = [len(document.token_ids) for document in documents]
        self._supervised = [num_supervised(document) for document in documents]
        self._plan = StepPlan(self._lengths, config)
        self._device = next(model.parameters()).device
        self._fingerprint = digest(
            {
                # When to write or look changes nothing that is computed, so it may change between sittings.
                "config": config.model_dump(
                    mode="json", exclude={"checkpoint_every_steps", "checkpoint_every_s", "eval_every"}
                ),
                "documents": _documents_digest(documents),
                "objective": objective.describe(),
                "model": weights_fingerprint(model),
            }
        )
        self._shares_prefixes = model.shares_prefixes and objective.shares_prefixes
        self._optimiser = AdamW(model, config, choose_dtype(config.compute_dtype, self._device))
        self._step = load_state(directory, self._optimiser, fingerprint=self._fingerprint)
        self._curve = self._read_curve()
        self._saved_at = time.monotonic()
        self._saved_step = self._step

    @property
    def _metrics_path(self) -> Path:
        return self._directory / METRICS_FILE

    def _read_curve(self) -> list[dict[str, Any]]:
        """Lines of finished steps; those after the checkpoint are dropped, their steps will run again."""
        rows = read_json_lines(self._metrics_path) if self._metrics_path.exists() else []
        kept = [row for row in rows if row["step"] <= self._step]
        write_text(self._metrics_path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept))
        return kept

    def close(self) -> None:
        """Give the optimiser's memory back."""
        self._optimiser.close()

    def finish(self) -> TrainResult:
        """Run what is left."""
        self._model.train()
        self._events.progress(self._step, self._plan.num_steps, "steps")
        while self._step < self._plan.num_steps:
            row = self._one_step()
            if self._evaluate is not None and self._is_evaluated():
                row["evaluation"] = dict(self._evaluate(self._model, self._step))
                self._model.train()
            self._curve.append(row)
            append_line(self._metrics_path, row)
            self._events.metrics("train_step", row)
            self._events.progress(self._step, self._plan.num_steps, "steps", f"loss {row['loss']:.4f}")
            if self._is_checkpointed():
                self._save()
        return TrainResult(
            steps=self._step,
            tokens=sum(row["tokens"] for row in self._curve),
            supervised_tokens=sum(row["supervised_tokens"] for row in self._curve),
            final_loss=self._curve[-1]["loss"],
            curve=tuple(self._curve),
            seconds=sum(row["seconds"] for row in self._curve),
        )

    def _is_evaluated(self) -> bool:
        every = self._config.eval_every
        return self._step == self._plan.num_steps or (every is not None and self._step % every == 0)

    @property
    def _keeps_checkpoints(self) -> bool:
        return self._config.checkpoint_every_steps is not None or self._config.checkpoint_every_s is not None

    def _is_checkpointed(self) -> bool:
        by_step, by_time = self._config.checkpoint_every_steps, self._config.checkpoint_every_s
        if self._step == self._plan.num_steps:
            return self._keeps_checkpoints
        if by_step is not None and self._step % by_step == 0:
            return True
        return by_time is not None and time.monotonic() - self._saved_at >= by_time

    def _save(self) -> None:
        save_state(self._directory, self._optimiser, step=self._step, fingerprint=self._fingerprint)
        self._saved_at = time.monotonic()
        self._saved_step = self._step

    def _one_step(self) -> dict[str, Any]:
        """1. gradients of all micro-batches, 2. check, 3. update, 4. report."""
        started = time.perf_counter()
        chosen = self._plan.documents_of(self._step)
        num_learnt = sum(self._supervised[index] for index in chosen)
        self._optimiser.zero_gradients()
        losses, means = self._accumulate(chosen, float(num_learnt))  # 1.
        loss, norm = torch.stack((torch.stack(losses).sum().float(), self._optimiser.gradient_norm())).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):  # 2.
            self._refuse(chosen, losses, norm)
        rate = learning_rate_at(self._config, self._step, self._plan.num_steps)
        effect = self._optimiser.update(rate, norm)  # 3.
        self._step += 1
        seconds = time.perf_counter() - started
        num_tokens = sum(self._lengths[index] for index in chosen)
        return {  # 4.
            "step": self._step,
            "epoch": self._plan.epoch_of(self._step - 1),
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens": num_tokens,
            "supervised_tokens": num_learnt,
            "tokens_per_s": round(num_tokens / seconds, 1),
            "changed_share": effect.changed_share,
            "update_ratio": effect.update_ratio,
            "seconds": round(seconds, 4),
            **means,
        }

    def _accumulate(self, chosen: Sequence[int], normaliser: float) -> tuple[list[Tensor], dict[str, float]]:
        losses: list[Tensor] = []
        sums: dict[str, tuple[Tensor, int]] = {}
        budget = self._config.micro_batch_tokens
        for micro in split_micro_batches(chosen, self._lengths, micro_batch_tokens=budget):
            documents = [self._documents[index] for index in micro]
            batch = pack_micro_batch(documents, share_prefix=self._shares_prefixes).to(self._device)
            result = self._objective(self._model, batch, normaliser)
            losses.append(result.loss)
            for name, (total, count) in result.means.items():
                before = sums.get(name)
                sums[name] = (total, count) if before is None else (before[0] + total, before[1] + count)
        return losses, {name: float(total) / count for name, (total, count) in sums.items()}

    def _refuse(self, chosen: Sequence[int], losses: Sequence[Tensor], norm: float) -> None:
        """Save the batch and the last good state, then stop."""
        path = self._directory / f"bad-step-{self._step + 1:06d}.json"
        budget = self._config.micro_batch_tokens
        micro_batches = split_micro_batches(chosen, self._lengths, micro_batch_tokens=budget)
        record: dict[str, JSON] = {
            "step": self._step + 1,
            "grad_norm": repr(norm),
            "parameters_with_bad_gradients": self._optimiser.names_of_bad_gradients(),
            "micro_batches": [
                {"loss": repr(float(loss)), "documents": [self._document_json(index) for index in micro]}
                for loss, micro in zip(losses, micro_batches, strict=True)
            ],
        }
        write_json(path, record)
        if self._keeps_checkpoints and self._saved_step != self._step:
            self._save()
        raise NumericalError(
            f"Step {self._step + 1}: the loss or its gradient is not a finite number.",
            hint=f"The batch is in {path}; lower the learning rate, or look at its documents. "
            "The model keeps the weights of the step before.",
        )

    def _document_json(self, index: int) -> dict[str, JSON]:
        document = self._documents[index]
        return {
            "index": index,
            "token_ids": list(document.token_ids),
            "supervised": list(document.supervised),
            "weight": repr(document.weight),
        }
