"""What tests of on-policy distillation share: a tiny model with a chat format, problems, and worked documents."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from spiritsafe.core.records import Problem
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.tasks import Task, load_task
from spiritsafe.training import TracesObjective, TrainConfig, train


def sums_task() -> Task:
    """One-digit sums: prompts of about 90 bytes, solutions of about 14."""
    return load_task("arith:sums?terms=2&digits=1")


def sums_problems(count: int = 8) -> list[Problem]:
    """Training problems."""
    return list(sums_task().problems("train", seed=3, count=count))


def tiny_student(directory: Path, *, seed: int = 1) -> LoadedModel:
    """A random 2-layer byte model with a directory below ``directory``; the same seed gives the same model."""
    loaded = _opened(directory / f"tiny-{seed}", seed)
    return replace(loaded, model=deepcopy(loaded.model))


@cache
def _opened(path: Path, seed: int) -> LoadedModel:
    if not path.exists():
        path.mkdir(parents=True)
        write_tiny(path, seed=seed, hidden_size=32, max_context=256)
        write_lineage(path, name=path.name, license="MIT")
    return load_model(path, dtype=torch.float32)


def worked_documents(student: LoadedModel, problems: list[Problem]) -> list[Document]:
    """The problems' solutions in the student's chat format."""
    return [student.chat.document(problem.messages, problem.solution or "") for problem in problems]


def teach(student: LoadedModel, problems: list[Problem], directory: Path, *, steps: int) -> None:
    """Train on worked solutions, so that answers have a form and end."""
    config = TrainConfig(
        learning_rate=2e-2, tokens_per_step=900, micro_batch_tokens=2000, max_steps=steps, compute_dtype="float32"
    )
    train(student.model, worked_documents(student, problems), TracesObjective(), config, directory=directory)
