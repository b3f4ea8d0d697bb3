"""What tests of the teacher cache share: a tiny teacher with its chat format, documents in its tokens."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from spiritsafe.core.records import Message
from spiritsafe.distil.cache import CachedTeacher
from spiritsafe.distil.cache.estimate import RowEstimates
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model


@cache
def tiny_teacher() -> LoadedModel:
    """A random 2-layer model over 260 ids; its head is made larger, so that rows are neither flat nor sure."""
    directory = resolve_source("tiny:3", cache=Path(mkdtemp(prefix="spiritsafe-test-")))
    loaded = load_model(directory, dtype=torch.float32)
    with torch.no_grad():
        loaded.model.head().weight_VH.mul_(2.0)
    return loaded


def tiny_documents(count: int) -> list[Document]:
    """Short conversations, all different."""
    chat = tiny_teacher().chat
    return [
        chat.document([Message(role="user", content=f"{i} + {7 * i}?")], f"It is {8 * i}." * (1 + i % 3))
        for i in range(count)
    ]


def open_cache(directory: Path) -> CachedTeacher:
    """A cache of the tiny teacher."""
    return CachedTeacher(directory, tokenizer=tiny_teacher().chat.vocab_fingerprint)


def random_rows(rng: np.random.Generator, *, num_rows: int, vocab: int, most: int = 12) -> RowEstimates:
    """Rows of any shape: empty heads, no tails, repeated draws."""
    num_head = rng.integers(0, min(most, vocab) + 1, num_rows)
    num_draws = np.where(num_head == 0, rng.integers(1, most + 1, num_rows), rng.integers(0, most + 1, num_rows))
    heads = [np.sort(rng.choice(vocab, n, replace=False)) for n in num_head]
    tails = [np.sort(rng.integers(0, vocab, n)) for n in num_draws]
    log_mass = np.where(num_draws > 0, -rng.exponential(2.0, num_rows), -np.inf)
    log_mass[num_head == 0] = 0.0
    probs = [
        rng.dirichlet(np.ones(n)) * -np.expm1(m) if n else np.zeros(0) for n, m in zip(num_head, log_mass, strict=True)
    ]
    return RowEstimates(
        num_head_R=num_head,
        head_ids_F=np.concatenate([*heads, np.zeros(0, dtype=np.int64)]).astype(np.int64),
        head_log_probs_F=np.log(np.maximum(np.concatenate([*probs, np.zeros(0)]), 1e-30)),
        num_draws_R=num_draws,
        tail_ids_D=np.concatenate([*tails, np.zeros(0, dtype=np.int64)]).astype(np.int64),
        log_tail_mass_R=log_mass,
        entropy_R=rng.random(num_rows) * 8,
    )
