"""From documents to steps and micro-batches: shuffled, even, each document once an epoch.

In: document lengths, a seed and two token budgets. Out: indices of documents, a function of these only. A step is a
set of documents chosen without regard to memory; its split into micro-batches is chosen without regard to learning.
So the update is the same whatever fits in memory, and sorting by length inside a step (attention pads within a
micro-batch, linear layers do not) costs no randomness. Documents that a policy drew come in groups with one prompt, and
are split by :mod:`~spiritsafe.training.data.groups`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import Document, LanguageModel, PackedBatch, pack_documents
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.data.documents import DocumentStore
from spiritsafe.training.data.groups import paying_prefix, share_groups, split_groups


def num_supervised(document: Document) -> int:
    """Tokens of a document that the model is trained to produce (the first is never one)."""
    return sum(document.supervised[1:])


def check_documents(documents: Sequence[Document], config: TrainConfig, model: LanguageModel) -> None:
    """Refuse, before anything heavy, documents that could not be trained on whole.

    Raises:
        RecipeError: There is none, one supervises nothing, or one is longer than a micro-batch.
        CompatibilityError: One is longer than the model's context or holds a token the model does not know.
    """
    if not documents:
        raise RecipeError("There is no document to train on.", hint="Collect some traces first, or loosen the filter.")
    places: Iterable[int] = range(len(documents))
    if isinstance(documents, DocumentStore):  # knows which one is wrong without looking at any token
        is_wrong = documents.supervised_counts == 0
        is_wrong |= documents.lengths > min(config.micro_batch_tokens, model.max_context)
        is_wrong |= documents.largest_ids >= model.vocab_size
        places = np.flatnonzero(is_wrong)[:1].tolist()
    for index in places:
        _check_document(index, documents[index], config, model)


def _check_document(index: int, document: Document, config: TrainConfig, model: LanguageModel) -> None:
    length = len(document.token_ids)
    if length != len(document.supervised) or not num_supervised(document):
        raise RecipeError(
            f"Document {index} of {length} tokens has nothing to learn from: no token of it is supervised.",
            hint="Leave it out; a completion of at least its end token is needed.",
        )
    if length > config.micro_batch_tokens:
        raise RecipeError(
            f"Document {index} has {length} tokens; micro_batch_tokens is {config.micro_batch_tokens}.",
            hint=f"Set micro_batch_tokens to {length} or more, or leave long documents out; none is cut silently.",
        )
    if length > model.max_context:
        raise CompatibilityError(
            f"Document {index} has {length} tokens; the model's context is {model.max_context}.",
            hint="Leave long documents out, or choose a model with a longer context.",
        )
    if min(document.token_ids) < 0 or max(document.token_ids) >= model.vocab_size:
        raise CompatibilityError(
            f"Document {index} holds a token id outside the model's vocabulary of {model.vocab_size}.",
            hint="Tokenize the documents with this model's own tokenizer.",
        )


def plan_epoch(
    lengths: Sequence[int] | NDArray[np.int64], *, tokens_per_step: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """The steps of one epoch: shuffled documents cut into runs of about ``tokens_per_step`` tokens.

    The epoch is divided evenly: with 2.3 steps' worth of tokens there are two steps of 1.15, not a third of 0.3.

    Returns:
        Document indices of each step; each document is in exactly one.
    """
    shuffled = list(range(len(lengths)))
    random.Random(derive_seed(seed, "epoch", epoch)).shuffle(shuffled)
    order: NDArray[np.int64] = np.array(shuffled, dtype=np.int64)
    own = np.asarray(lengths, dtype=np.int64)[order]
    ends = np.cumsum(own)
    total = int(ends[-1])
    num_steps = max(1, round(total / tokens_per_step))
    # a document belongs to the step that its middle falls into
    step_of = np.minimum(num_steps - 1, ((ends - own + own / 2) * num_steps / total).astype(np.int64))
    parts = np.split(order, np.flatnonzero(np.diff(step_of)) + 1)
    return [tuple(part.tolist()) for part in parts]


def split_micro_batches(
    step: Sequence[int], lengths: Sequence[int], *, micro_batch_tokens: int
) -> list[tuple[int, ...]]:
    """Split a step's documents into micro-batches of similar lengths, the longest first.

    Longest first, because then a run that does not fit in memory fails at its first micro-batch, not at its last.

    Returns:
        Document indices of each micro-batch; none has more than ``micro_batch_tokens`` tokens.
    """
    batches: list[list[int]] = []
    used = 0
    for index in sorted(step, key=lambda i: (-lengths[i], i)):
        if not batches or used + lengths[index] > micro_batch_tokens:
            batches.append([])
            used = 0
        batches[-1].append(index)
        used += lengths[index]
    return [tuple(batch) for batch in batches]


def share_documents(lengths: Sequence[int], num_processes: int) -> list[tuple[int, ...]]:
    """Deal a step's documents out to processes so that their tokens are as even as whole documents allow.

    The longest goes first, each to the process with the fewest tokens so far (of equals to the first): no process has
    more than 4/3 of the best possible share (Graham 1969).

    Returns:
        For each process its documents' indices, ascending; empty when there are fewer documents than processes.
    """
    shares: list[list[int]] = [[] for _ in range(num_processes)]
    loads = [0] * num_processes
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = loads.index(min(loads))
        shares[least].append(index)
        loads[least] += lengths[index]
    return [tuple(sorted(share)) for share in shares]


def pack_micro_batch(documents: Sequence[Document], *, share_prefix: bool) -> PackedBatch:
    """Lay documents end to end; a prefix that all have in common (a system prompt) is computed once, if that pays.

    Args:
        share_prefix: Whether every model that will read the batch can share prefixes.
    """
    return pack_documents(documents, prefix_length=paying_prefix(documents) if share_prefix else 0)


def split_step(
    documents: Sequence[Document], *, num_processes: int, micro_batch_tokens: int, share_prefix: bool
) -> list[list[tuple[int, ...]]]:
    """Deal a step's documents out to processes, and split each one's share into micro-batches.

    Args:
        num_processes: How many share it.
        micro_batch_tokens: Most tokens a micro-batch may compute.
        share_prefix: Whether every model that will read the batches can share prefixes; completions of one prompt then
            stay together.

    Returns:
        For each process its micro-batches, each as places in ``documents``.
    """
    if share_prefix and any(document.drawn for document in documents):
        return [
            split_groups(documents, share, micro_batch_tokens=micro_batch_tokens)
            for share in share_groups(documents, num_processes)
        ]
    lengths = [len(document.token_ids) for document in documents]
    return [
        split_micro_batches(share, lengths, micro_batch_tokens=micro_batch_tokens)
        for share in share_documents(lengths, num_processes)
    ]


@final
class StepPlan:
    """Which documents each step of a run trains on.

    Args:
        lengths: Tokens of each document.
        config: Limits, budget and seed.
    """

    def __init__(self, lengths: Sequence[int] | NDArray[np.int64], config: TrainConfig) -> None:
        self._lengths: NDArray[np.int64] = np.asarray(lengths, dtype=np.int64)
        self._config = config
        self._epochs: list[int] = []
        self.num_tokens = 0
        self.num_steps = 0
        for epoch, step in self._all_steps():
            if epoch == len(self._epochs):
                self._epochs.append(self.num_steps)
            self.num_steps += 1
            self.num_tokens += int(self._lengths[np.array(step)].sum())
            if self.num_steps == config.max_steps or self.num_tokens >= (config.max_tokens or self.num_tokens + 1):
                break
        self._cached: tuple[int, list[tuple[int, ...]]] = (-1, [])

    def _epoch(self, epoch: int) -> list[tuple[int, ...]]:
        config = self._config
        return plan_epoch(self._lengths, tokens_per_step=config.tokens_per_step, seed=config.seed, epoch=epoch)

    def _all_steps(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        epoch = 0
        while self._config.max_epochs is None or epoch < self._config.max_epochs:
            for step in self._epoch(epoch):
                yield epoch, step
            epoch += 1

    def epoch_of(self, step: int) -> int:
        """The epoch (from 0) that a step belongs to."""
        return sum(first <= step for first in self._epochs) - 1

    def documents_of(self, step: int) -> tuple[int, ...]:
        """Document indices of a step (from 0)."""
        epoch = self.epoch_of(step)
        if self._cached[0] != epoch:
            self._cached = (epoch, self._epoch(epoch))
        return self._cached[1][step - self._epochs[epoch]]
