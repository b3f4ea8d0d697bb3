"""The training loop: documents in, a trained model out, killed and resumed without a trace.

In: a model, documents (or a feed of them), an objective and a configuration. Out: the model's parameters, changed in
place, and a :class:`TrainResult`; in the directory ``metrics.jsonl`` (one line a step) and, while it runs,
``state.pt`` or ``state-<step>/``. On a CPU a resumed run equals the unbroken one bit for bit (same processor, torch and
number of threads); one that is resumed on another platform says so, and is refused where that would compute in another
number format.

Under ``torchrun`` the processes share each step's documents; all call :func:`train` with the same arguments, the main
one writes. Losses and gradients of the processes add up, so the curve is one process's, but for rounding. An objective
whose batches may go to any process must be a sum over documents, linear in their weights, as all of ours are but one:
hidden states that are matched on a share of the tokens only are matched on other tokens by other processes. The balance
of experts is of each micro-batch, so it depends on which documents share one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError, NumericalError, SpiritsafeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, write_json, write_text
from spiritsafe.core.files.json_lines import append_line, read_json_lines
from spiritsafe.core.process.out_of_memory import said_as_budget
from spiritsafe.core.process.platforms import Platform
from spiritsafe.models import Document, GridType, LanguageModel, this_platform
from spiritsafe.training.checkpoints.state import STATE_FILE, RunIdentity, load_state, weights_fingerprint
from spiritsafe.training.checkpoints.writer import Cadence, CheckpointWriter
from spiritsafe.training.compiled import StepCompiler, fast_products
from spiritsafe.training.config import SITTING_FIELDS, TrainConfig, learning_rate_at
from spiritsafe.training.data.feed import CollectiveFeed, Feed, FixedFeed
from spiritsafe.training.data.packing import num_supervised, pack_micro_batch, split_step
from spiritsafe.training.data.rounds import RoundFeed
from spiritsafe.training.device import choose_dtype, kept_memory
from spiritsafe.training.distributed.fsdp import ShardedModel
from spiritsafe.training.distributed.processes import Fate, Parallel, choose_mode, current_parallel
from spiritsafe.training.objective import Objective, learn_micro_batch
from spiritsafe.training.optimiser import AdamW, UpdateEffect

METRICS_FILE = "metrics.jsonl"

_COUNTED = {"step", "loss", "tokens", "supervised_tokens", "seconds"}
"""What a result adds up of a line."""

_LESS_MEMORY = (
    "Nothing that was saved is lost. Lower micro_batch_tokens: training goes on from its last checkpoint and the "
    "updates stay the same. Where one document alone is too long: recompute activations (activation_checkpointing of "
    "the model), train adapters (lora) instead of all weights, or use shorter documents or a smaller model."
)

Evaluate = Callable[[LanguageModel, int], Mapping[str, float]]
"""Called with the model and the number of finished steps; what it returns is kept with that step's metrics."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run did, over all its sittings.

    Attributes:
        tokens: Tokens read, prompts included.
        supervised_tokens: Tokens learnt from.
        final_loss: Loss of the last step.
        curve: One record a step: step, loss, learning_rate, grad_norm, tokens, supervised_tokens, tokens_per_s,
            changed_share, update_ratio, seconds, the objective's own means, ``feed_seconds`` (those of ``seconds`` that
            a feed took) and ``evaluation`` where one was made. A step without documents has 0 tokens and changes
            nothing.
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
    documents: Sequence[Document] | Feed,
    objective: Objective,
    config: TrainConfig,
    *,
    directory: Path,
    events: EventSink | None = None,
    evaluate: Evaluate | None = None,
    grid: Mapping[str, GridType] | None = None,
) -> TrainResult:
    """Train a model in place; continue where an earlier call with the same arguments was interrupted.

    Under torchrun every process must make this call; which and how many they are may change between sittings.

    Args:
        model: The starting model, the same in each call. It computes in the compute dtype and ends in float32, frozen
            weights as they were (beside ones that came in the compute dtype: in it). With ``fsdp`` it is
            without blocks, but for draws and evaluations, until the call ends as it ends on every process.
        documents: What to learn from: a list, each used once an epoch, or a feed that gives each step its own.
        directory: For metrics and checkpoints; every process must see it.
        events: Hears progress and each step's metrics, in the main process.
        evaluate: Called after each ``config.eval_every`` steps and after the last, in the main process.
        grid: Parameters that the passes see as a file of a block type would hold them (quantisation-aware training);
            what a feed draws and an evaluation measures is that file's as well. The model ends in the float32 weights
            that lie behind it.

    Raises:
        RecipeError: A document supervises nothing or is longer than a micro-batch, or several processes were asked for
            and torchrun did not start this one.
        CompatibilityError: Documents, objective or device do not fit the model, processes do not fit each other, or
            ``fsdp`` cannot spread this model.
        ProcedureError: Another process failed; the message is its own.
        NumericalError: A loss or gradient is not finite; the batch is saved, the model keeps its last good weights.
        BudgetError: Memory ran out; what was saved stays, and a call with fewer ``micro_batch_tokens`` goes on from it.
        IntegrityError: The directory holds another run's checkpoint, or a damaged one.
        StorageError: The directory cannot be written.
    """
    feed = FixedFeed(documents, config, model) if isinstance(documents, Sequence) else documents
    device = next(model.parameters()).device
    parallel = current_parallel()
    mode = choose_mode(config.parallel, parallel, device)
    parallel.require_own_gpu(device)
    ensure_directory(directory)
    with kept_memory() if device.type == "cpu" else nullcontext(), parallel.shared_fate() as fate:
        place = _Place(parallel=parallel, fate=fate, is_sharded=mode == "fsdp")
        heard = events if events is not None and parallel.is_main else NullSink()
        with said_as_budget(_LESS_MEMORY):
            run = _Run(model, feed, objective, config, directory, heard, evaluate, place, grid or {})
            try:
                return run.finish()
            finally:
                run.close()


@final
@dataclass(frozen=True, kw_only=True)
class _Place:
    """This process among the others, and whether the model is spread over them."""

    parallel: Parallel
    fate: Fate
    is_sharded: bool


@final
@dataclass(frozen=True, kw_only=True)
class _Report:
    """What one process's share of a step gave."""

    loss: float
    sums: Mapping[str, tuple[float, int]]
    is_checkpoint_due: bool


def _identity(
    model: LanguageModel,
    feed: Feed,
    objective: Objective,
    config: TrainConfig,
    grid: Mapping[str, GridType],
    platform: Platform,
) -> RunIdentity:
    # Who computes, and how much at once, changes nothing but rounding: it may change between sittings. Which number
    # format was chosen is held against the platform's.
    parts = {**feed.describe(), "objective": objective.describe(), "model": weights_fingerprint(model)}
    if model.balance is not None:
        parts["balance"] = model.balance.coefficient
    if grid:
        parts["grid"] = dict(grid)
    settings = config.model_dump(mode="json", exclude={*SITTING_FIELDS, "parallel", "compile"})
    unsealed = digest({"config": settings, **parts})
    del settings["compute_dtype"], settings["micro_batch_tokens"]
    return RunIdentity(fingerprint=digest({"config": settings, **parts}), unsealed=unsealed, platform=platform)


def _document_json(document: Document) -> dict[str, JSON]:
    written: dict[str, JSON] = {
        "token_ids": list(document.token_ids),
        "supervised": list(document.supervised),
        "weight": repr(document.weight),
    }
    if document.drawn is not None:
        drawn = document.drawn
        written["drawn"] = {
            "logprobs": [repr(logprob) for logprob in drawn.logprobs],
            **({"old": [repr(logprob) for logprob in drawn.old]} if drawn.old else {}),
            "advantage": repr(drawn.advantage),
            "group": drawn.group,
        }
    return written


@final
class _Run:
    """One run and its place in it."""

    def __init__(
        self,
        model: LanguageModel,
        feed: Feed,
        objective: Objective,
        config: TrainConfig,
        directory: Path,
        events: EventSink,
        evaluate: Evaluate | None,
        place: _Place,
        grid: Mapping[str, GridType],
    ) -> None:
        self._feed = feed
        self._objective = objective
        self._config = config
        self._directory = directory
        self._events = events
        self._evaluate = evaluate
        self._parallel = place.parallel
        self._fate = place.fate
        self._device = next(model.parameters()).device
        self._shares_prefixes = model.shares_prefixes and objective.shares_prefixes
        self._dtype = dtype = choose_dtype(config.compute_dtype, self._device)
        identity = _identity(model, feed, objective, config, grid, this_platform(self._device, dtype))
        self._parallel.require_same(
            (identity.fingerprint, str(dtype), config.micro_batch_tokens), what="what to train, on what, or how"
        )
        self._sharded = ShardedModel(model, dtype, self._parallel) if place.is_sharded else None
        self._model = model if self._sharded is None else self._sharded.module
        self._optimiser = AdamW(self._model, config, dtype, self._parallel, grid)
        self._compiler = StepCompiler(self._model, config.compile, is_sharded=place.is_sharded, warn=self._warn)
        resumed = load_state(directory, self._optimiser, identity)
        if resumed.note is not None:
            self._warn(resumed.note)
        self._step = resumed.step
        self._curve = self._parallel.on_main(self._read_curve)
        self._cadence = Cadence(config.checkpoint_every_s, config.checkpoint_max_share, time.monotonic)
        self._writer = CheckpointWriter(
            directory,
            self._optimiser,
            identity,
            before=resumed.platforms,
            cadence=self._cadence,
            file_bytes=config.checkpoint_file_bytes,
        )
        self._saved_step = self._step
        self._is_due = False

    def _warn(self, message: str) -> None:
        self._events.metrics("warning", {"message": message})

    @property
    def _metrics_path(self) -> Path:
        return self._directory / METRICS_FILE

    def _read_curve(self) -> list[dict[str, Any]]:
        """Lines of finished steps; those after the checkpoint are dropped, their steps will run again."""
        rows = read_json_lines(self._metrics_path) if self._metrics_path.exists() else []
        kept = rows[: self._step]
        known = [row.get("step") if isinstance(row, dict) and row.keys() >= _COUNTED else None for row in kept]
        if known != list(range(1, self._step + 1)):
            raise IntegrityError(
                f"{self._metrics_path} does not hold each of the {self._step} steps that {STATE_FILE} beside it has "
                "done, so what the run took could not be told.",
                hint=f"Restore it, or delete {STATE_FILE}: the run then starts again from its first step.",
            )
        write_text(self._metrics_path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept))
        return kept

    def close(self) -> None:
        """Let a checkpoint that is under way be written, and give the optimiser's memory back."""
        try:
            self._writer.close()
        finally:
            self._optimiser.close()

    def finish(self) -> TrainResult:
        """Run what is left."""
        try:
            result = self._finish()
        except SpiritsafeError as error:
            if self._fate.is_shared(error):  # else nobody is left to gather a model from
                self._restore()
            raise
        self._restore()
        return result

    def _restore(self) -> None:
        if self._sharded is not None:
            self._optimiser.leave_grid()
            self._sharded.restore(self._optimiser.final_dtype)

    def _finish(self) -> TrainResult:
        self._model.train()
        self._events.progress(self._step, self._feed.num_steps, "steps")
        while self._step < self._end_step:
            row = self._one_step()
            if self._evaluate is not None and self._is_evaluated():
                row["evaluation"] = self._evaluated(self._evaluate)
            self._curve.append(row)
            is_saved = self._is_checkpointed()
            if self._parallel.is_main:
                append_line(self._metrics_path, row, sync=is_saved)  # it must not be lost where the checkpoint is kept
            self._events.metrics("train_step", row)
            self._events.progress(self._step, self._feed.num_steps, "steps", f"loss {row['loss']:.4f}")
            self._writer.check()
            if is_saved:
                self._save()
        self._writer.finish()
        return TrainResult(
            steps=self._step,
            tokens=sum(row["tokens"] for row in self._curve),
            supervised_tokens=sum(row["supervised_tokens"] for row in self._curve),
            final_loss=self._curve[-1]["loss"],
            curve=tuple(self._curve),
            seconds=sum(row["seconds"] for row in self._curve),
        )

    @property
    def _end_step(self) -> int:
        return self._feed.end_step if isinstance(self._feed, CollectiveFeed) else self._feed.num_steps

    def _evaluated(self, evaluate: Evaluate) -> dict[str, float]:
        with self._whole(everywhere=False) as model:
            values = self._parallel.on_main(lambda: dict(evaluate(model, self._step)))
        self._model.train()
        return values

    def _whole(self, *, everywhere: bool) -> AbstractContextManager[LanguageModel]:
        """The model with all its blocks, on the main process at least."""
        return nullcontext(self._model) if self._sharded is None else self._sharded.whole(everywhere=everywhere)

    def _is_evaluated(self) -> bool:
        every = self._config.eval_every
        return self._step == self._end_step or (every is not None and self._step % every == 0)

    @property
    def _keeps_checkpoints(self) -> bool:
        return self._config.checkpoint_every_steps is not None or self._config.checkpoint_every_s is not None

    def _is_checkpointed(self) -> bool:
        by_step = self._config.checkpoint_every_steps
        if self._step == self._end_step:
            return self._keeps_checkpoints
        if by_step is not None and self._step % by_step == 0:
            return True
        return self._is_checkpoint_due() if self._parallel.size == 1 else self._is_due

    def _is_checkpoint_due(self) -> bool:
        return self._cadence.is_due() and not self._writer.is_writing

    def _save(self) -> None:
        told = self._writer.copied_bytes
        self._writer.save(self._step)
        if self._writer.copied_bytes > told:
            self._events.metrics("checkpoint", {"copied_bytes": self._writer.copied_bytes})
        self._saved_step = self._step

    def _one_step(self) -> dict[str, Any]:
        """Documents, an update, its report."""
        started = time.perf_counter()
        chosen = self._documents()
        fed = time.perf_counter()
        self._model.train()  # a feed that lets the model answer leaves it in evaluation mode
        num_learnt = sum(num_supervised(document) for document in chosen)
        rate = learning_rate_at(self._config, self._step, self._feed.num_steps)
        if chosen:
            loss, norm, effect, means = self._learn(chosen, rate, float(num_learnt))
        else:  # no update: moments of earlier gradients would move the weights for no reason
            loss, norm, effect, means = 0.0, 0.0, UpdateEffect(changed_share=0.0, update_ratio=0.0), {}
        self._step += 1
        seconds = time.perf_counter() - started
        num_tokens = sum(len(document.token_ids) for document in chosen)
        return {
            "step": self._step,
            "epoch": self._feed.epoch_of(self._step - 1),
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens": num_tokens,
            "supervised_tokens": num_learnt,
            "tokens_per_s": round(num_tokens / seconds, 1),
            "changed_share": effect.changed_share,
            "update_ratio": effect.update_ratio,
            "seconds": round(seconds, 4),
            **({} if isinstance(self._feed, FixedFeed) else {"feed_seconds": round(fed - started, 4)}),
            **means,
        }

    def _learn(
        self, chosen: Sequence[Document], rate: float, num_learnt: float
    ) -> tuple[float, float, UpdateEffect, dict[str, float]]:
        """1. gradients of all micro-batches, 2. check, 3. update."""
        self._optimiser.zero_gradients()
        self._objective.at_step(self._step, self._feed.num_steps)
        with fast_products(self._config.compute_dtype, self._device), self._compiler.in_place():
            losses, sums = self._accumulate(chosen, num_learnt)  # 1.
        loss, norm, means = self._settle(losses, sums)
        if not (math.isfinite(loss) and math.isfinite(norm)):  # 2.
            self._refuse(chosen, losses, norm)
        return loss, norm, self._optimiser.update(rate, norm), means  # 3.

    def _documents(self) -> Sequence[Document]:
        feed, step = self._feed, self._step
        if isinstance(feed, FixedFeed) or (isinstance(feed, RoundFeed) and not feed.draws_at(step)):
            asked: AbstractContextManager[LanguageModel] = nullcontext(self._model)
        else:
            asked = self._whole(everywhere=isinstance(feed, CollectiveFeed))
        with asked as model:
            if isinstance(feed, FixedFeed | CollectiveFeed):
                return feed.documents_of(step, model)
            # Any other feed that lets the model answer does so once, and keeps the answers on one process's disk.
            return self._parallel.on_main(lambda: feed.documents_of(step, model))

    def _micro_batches(self, chosen: Sequence[Document]) -> tuple[list[list[Document]], int]:
        """This process's micro-batches, and the number of micro-batches of the process that has most."""
        split = split_step(
            chosen,
            num_processes=self._parallel.size,
            micro_batch_tokens=self._config.micro_batch_tokens,
            share_prefix=self._shares_prefixes,
        )
        return [[chosen[place] for place in micro] for micro in split[self._parallel.rank]], max(map(len, split))

    def _accumulate(
        self, chosen: Sequence[Document], normaliser: float
    ) -> tuple[list[Tensor], dict[str, tuple[Tensor, int]]]:
        losses: list[Tensor] = []
        sums: dict[str, tuple[Tensor, int]] = {}
        micros, most = self._micro_batches(chosen)
        for micro in micros:
            batch = pack_micro_batch(micro, share_prefix=self._shares_prefixes).to(self._device)
            result = learn_micro_batch(self._objective, self._model, batch, normaliser)
            losses.append(result.loss)
            for name, (total, count) in result.means.items():
                before = sums.get(name)
                sums[name] = (total, count) if before is None else (before[0] + total, before[1] + count)
        if self._sharded is not None:
            # Blocks are gathered and gradients scattered by all together: a process without work keeps step with a
            # document that weighs nothing.
            idle = replace(min(chosen, key=lambda document: len(document.token_ids)), weight=0.0)
            for _ in range(most - len(micros)):
                self._objective(self._model, pack_micro_batch([idle], share_prefix=False).to(self._device), normaliser)
        return losses, sums

    def _settle(
        self, losses: Sequence[Tensor], sums: Mapping[str, tuple[Tensor, int]]
    ) -> tuple[float, float, dict[str, float]]:
        """The step's loss, norm and means; the gradients of all processes added up."""
        if self._parallel.size == 1:
            loss, norm = torch.stack(
                (torch.stack(tuple(losses)).sum().float(), self._optimiser.gradient_norm())
            ).tolist()
            return loss, norm, {name: float(total) / count for name, (total, count) in sums.items()}
        own = _Report(
            loss=float(torch.stack(tuple(losses)).sum()) if losses else 0.0,
            sums={name: (float(total), count) for name, (total, count) in sums.items()},
            is_checkpoint_due=self._is_checkpoint_due(),
        )
        reports = self._parallel.gather(own)
        self._is_due = reports[0].is_checkpoint_due  # clocks differ, and all must save after the same step
        self._optimiser.sum_gradients()
        norm = float(self._optimiser.gradient_norm())
        means = {}
        for name in dict.fromkeys(name for report in reports for name in report.sums):
            parts = [report.sums[name] for report in reports if name in report.sums]
            means[name] = sum(total for total, _ in parts) / sum(count for _, count in parts)
        return sum(report.loss for report in reports), norm, means

    def _refuse(self, chosen: Sequence[Document], losses: Sequence[Tensor], norm: float) -> None:
        """Save the batch and the last good state, then stop; all processes together."""
        path = self._directory / f"bad-step-{self._step + 1:06d}.json"
        micros, _ = self._micro_batches(chosen)
        own: list[JSON] = [
            {"loss": repr(float(loss)), "documents": [_document_json(document) for document in micro]}
            for loss, micro in zip(losses, micros, strict=True)
        ]
        bad = {name for names in self._parallel.gather(self._optimiser.names_of_bad_gradients()) for name in names}
        record: dict[str, JSON] = {
            "step": self._step + 1,
            "grad_norm": repr(norm),
            "parameters_with_bad_gradients": [name for name in self._optimiser.names if name in bad],
            "micro_batches": [micro for micros in self._parallel.gather(own) for micro in micros],
        }
        self._parallel.on_main(lambda: write_json(path, record))
        if self._keeps_checkpoints and self._saved_step != self._step:
            self._save()
        self._writer.finish()
        self._fate.is_agreed = True
        raise NumericalError(
            f"Step {self._step + 1}: the loss or its gradient is not a finite number.",
            hint=f"The batch is in {path}; lower the learning rate, or look at its documents. "
            "The model keeps the weights of the step before.",
        )
