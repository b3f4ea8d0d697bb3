"""Before step 1 of a training stage: are the documents what they should be, and does the training fit in memory?

In: models, documents and how to train. Out: how to train on this machine, and ``audit.json``. A difference between what
student and teacher read, a label that is off, an end token that is not learnt: the stage stops before anything is
spent. What does not fit is planned again with a smaller micro-batch; the updates stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.distil import AuditExample, DocumentAudit, audit_documents
from spiritsafe.models import (
    ChatFormat,
    Decoder,
    Document,
    LoadedModel,
    TransformersModel,
    read_model_config,
    with_activations,
)
from spiritsafe.pipeline.context import Trace
from spiritsafe.pipeline.plan.memory import Beside, MemoryCheck, check_memory
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.training import TrainConfig, current_parallel, document_lengths, supervised_counts

_CHOSEN = "memory.json"


def audit_stage(
    stage: StageDirectory,
    student: LoadedModel,
    documents: Sequence[Document],
    traces: Sequence[Trace],
    config: TrainConfig,
    events: EventSink,
    *,
    teacher: ChatFormat | None = None,
    same_tokens: bool = True,
) -> DocumentAudit:
    """Audit and write ``audit.json``.

    Args:
        documents: What it will learn from.
        traces: What they were made of, one each; empty when they were renumbered or paired since.
        config: How it will be trained.
        teacher: How a teacher reads the same documents.
        same_tokens: Whether both must read the same tokens.

    Raises:
        CompatibilityError: Training on these documents would be wrong.
    """
    examples = MappedSequence(traces, lambda _, trace: _example(trace))
    report = audit_documents(
        student.chat,
        teacher,
        examples,
        documents,
        micro_batch_tokens=config.micro_batch_tokens,
        max_context=student.model.max_context,
        same_tokens=same_tokens,
    )
    write_json(stage.path / "audit.json", report.to_json())
    events.metrics("audit", {"text": report.text()})
    report.require()
    return report


def _example(trace: Trace) -> AuditExample:
    return AuditExample(
        messages=trace.problem.messages,
        completion=None if trace.token_ids else trace.text,
        token_ids=trace.token_ids,
        turns=trace.turns,
    )


def fit_memory(
    stage: StageDirectory,
    loaded: LoadedModel,
    documents: Sequence[Document],
    config: TrainConfig,
    events: EventSink,
    *,
    device: torch.device,
    beside: Beside,
) -> TrainConfig:
    """The configuration with which the training fits this machine.

    What was chosen is kept with the resume points: a resumed run computes in the same pieces.

    Raises:
        BudgetError: Not even one document at a time fits.
    """

    def choose() -> dict[str, Any]:
        path = ensure_directory(stage.shared / "training") / _CHOSEN
        if path.is_file():
            return dict(read_json(path))
        chosen = _choose(_measured(loaded), documents, config, device=device, beside=beside)
        write_json(path, chosen)
        return chosen

    chosen = current_parallel().on_main(choose)
    if chosen["note"]:
        events.metrics("memory", dict(chosen))
        events.progress(0, None, "steps", str(chosen["note"]))
    if isinstance(loaded.model, Decoder | TransformersModel):
        loaded.model.activation_checkpointing = bool(chosen["checkpointing"])
    is_spread = bool(chosen.get("is_spread")) and current_parallel().size > 1  # alone, it will be seen whether it fits
    return config.model_copy(
        update={
            "micro_batch_tokens": int(chosen["micro_batch_tokens"]),
            **({"parallel": "fsdp"} if is_spread else {}),
        }
    )


def ease_memory(stage: StageDirectory) -> MemoryCheck | None:
    """After memory ran out: how the stage goes on when it is run again; None where nothing smaller is left to try."""
    path = stage.shared / "training" / _CHOSEN
    if not path.is_file():
        return None
    eased = MemoryCheck.from_json(read_json(path)).eased()
    if eased is not None:
        write_json(path, eased.to_json())
    return eased


def fit_race(
    directories: Sequence[Path],
    documents: Sequence[Document],
    config: TrainConfig,
    *,
    device: torch.device,
    beside: Beside,
) -> TrainConfig:
    """One configuration with which each of some models can be trained, one after the other.

    Raises:
        BudgetError: One of them does not fit.
    """
    chosen = [
        _choose(read_model_config(directory), documents, config, device=device, beside=beside)
        for directory in directories
    ]
    if any(choice["checkpointing"] for choice in chosen):
        raise BudgetError(
            "A race heals its candidates beside the live teacher, and that does not fit into this machine's memory.",
            hint='Set shape = "depth", free some memory, or lower micro_batch_tokens.',
        )
    return config.model_copy(update={"micro_batch_tokens": min(int(c["micro_batch_tokens"]) for c in chosen)})


def _measured(loaded: LoadedModel) -> dict[str, Any]:
    """Its ``config.json``; of a model that transformers runs with what a pass keeps, which nothing predicts."""
    config = read_model_config(loaded.directory)
    if isinstance(loaded.model, TransformersModel):
        kept, recomputed = loaded.model.measure_activations()
        return with_activations(config, kept, recomputed if loaded.model.can_checkpoint else kept)
    return config


def _choose(
    own: Mapping[str, Any], documents: Sequence[Document], config: TrainConfig, *, device: torch.device, beside: Beside
) -> dict[str, Any]:
    if not documents and not beside.longest_answer:
        raise CompatibilityError("There is no document to train on.", hint="Collect some traces first.")
    # in order: a prediction sorts them many times, and of sorted ones that is cheap
    lengths = sorted(document_lengths(documents).tolist())
    num_tokens = sum(lengths)
    num_supervised = int(supervised_counts(documents).sum())
    step_tokens = config.tokens_per_step
    if beside.longest_answer:
        # Steps are counted in documents then, and a document may be as long as an answer can be.
        lengths += [beside.longest_answer] * beside.documents_per_step
        step_tokens = max(step_tokens, beside.documents_per_step * max(lengths))
    check = check_memory(
        own,
        config.model_copy(update={"tokens_per_step": step_tokens}),
        lengths,
        device=device,
        supervised_share=num_supervised / num_tokens if num_tokens else 1.0,
        beside=beside,
    )
    return check.to_json()
