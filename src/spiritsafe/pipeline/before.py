"""Before step 1 of a training stage: are the documents what they should be, and does the training fit in memory?

In: models, documents and how to train. Out: how to train on this machine, and ``audit.json``. A difference between what
student and teacher read, a label that is off, an end token that is not learnt: the stage stops before anything is
spent. What does not fit is planned again with a smaller micro-batch; the updates stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import ensure_directory, read_json, write_json
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.distill import AuditExample, AuditReport, audit_documents
from spiritsafe.models import ChatFormat, Decoder, Document, LoadedModel
from spiritsafe.pipeline.context import Trace
from spiritsafe.pipeline.plan import check_memory
from spiritsafe.training import TrainConfig

__all__ = ["Beside", "audit_stage", "fit_memory"]


@final
@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is in memory beside the model in training.

    Attributes:
        teacher: ``config.json`` of a live teacher.
        matched_layers: Pairs of layers whose hidden states are matched.
        cached_entries: Entries a row of a cached signal.
    """

    teacher: Mapping[str, Any] | None = None
    matched_layers: int = 0
    cached_entries: int = 0


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
) -> AuditReport:
    """Audit and write ``audit.json``.

    Args:
        stage: Where it goes.
        student: The model in training.
        documents: What it will learn from.
        traces: What they were made of, one each; empty when they were renumbered or paired since.
        config: How it will be trained.
        events: Hears of the findings.
        teacher: How a teacher reads the same documents.
        same_tokens: Whether both must read the same tokens.

    Raises:
        CompatibilityError: Training on these documents would be wrong.
    """
    examples = [
        AuditExample(
            messages=trace.problem.messages,
            completion=None if trace.token_ids else trace.text,
            token_ids=trace.token_ids,
        )
        for trace in traces
    ]
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


def fit_memory(
    stage: StageDirectory,
    loaded: LoadedModel,
    documents: Sequence[Document],
    config: TrainConfig,
    events: EventSink,
    *,
    device: torch.device,
    beside: Beside,
    other_bytes: int = 0,
) -> TrainConfig:
    """The configuration with which the training fits this machine.

    What was chosen is kept with the resume points: a resumed run computes in the same pieces.

    Raises:
        BudgetError: Not even one document at a time fits.
    """
    if not isinstance(loaded.model, Decoder):
        return config  # another family's memory cannot be predicted
    path = ensure_directory(stage.path / "training") / "memory.json"
    chosen = (
        read_json(path)
        if path.is_file()
        else _choose(loaded.directory, documents, config, device=device, beside=beside, other_bytes=other_bytes)
    )
    if not path.is_file():
        write_json(path, chosen)
    if chosen["note"]:
        events.metrics("memory", dict(chosen))
        events.progress(0, None, "steps", str(chosen["note"]))
    loaded.model.activation_checkpointing = bool(chosen["checkpointing"])
    return config.model_copy(update={"micro_batch_tokens": int(chosen["micro_batch_tokens"])})


def _choose(
    directory: Path,
    documents: Sequence[Document],
    config: TrainConfig,
    *,
    device: torch.device,
    beside: Beside,
    other_bytes: int,
) -> dict[str, Any]:
    num_tokens = sum(len(document.token_ids) for document in documents)
    if not num_tokens:
        raise CompatibilityError("There is no document to train on.", hint="Collect some traces first.")
    check = check_memory(
        read_json(directory / "config.json"),
        config,
        [len(document.token_ids) for document in documents],
        device=device,
        supervised_share=sum(sum(document.supervised) for document in documents) / num_tokens,
        teacher=beside.teacher,
        matched_layers=beside.matched_layers,
        cached_entries=beside.cached_entries,
        other_bytes=other_bytes,
    )
    return check.to_json()
