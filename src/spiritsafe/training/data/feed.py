"""Where a run's documents come from, step by step: a fixed list, or answers that the model itself has just drawn.

In: the number of a step and the model as it is before that step. Out: the documents of the step. A feed answers the
same for the same step of the same run, however often it is asked: a resumed run then equals the unbroken one. A feed
that draws keeps what it drew on disk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol, final

import numpy as np

from spiritsafe.core.canonical import JSON
from spiritsafe.models import Document, LanguageModel
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.data.documents import document_arrays, document_lengths
from spiritsafe.training.data.packing import StepPlan, check_documents


class Feed(Protocol):
    """A source of documents.

    Attributes:
        num_steps: Updates that the run will make.
    """

    num_steps: int

    def describe(self) -> dict[str, JSON]:
        """Everything that decides which documents come, weights apart; part of the run's fingerprint."""
        ...

    def epoch_of(self, step: int) -> int:
        """The pass over the data (from 0) that a step belongs to, for the record."""
        ...

    def documents_of(self, step: int, model: LanguageModel) -> Sequence[Document]:
        """The documents of a step (from 0); none when there is nothing to learn, and the step then changes nothing.

        Args:
            step: Which one; called in order, once for each step of a sitting.
            model: As it is before the step.

        Raises:
            RecipeError: A document cannot be trained on.
            CompatibilityError: A document does not fit the model.
        """
        ...


class CollectiveFeed(ABC):
    """A :class:`Feed` that all processes of a run draw together, and that may see a reason to end the run early.

    Other feeds are asked in the main process only. This one is asked in every process, at the same place of the run;
    each draws its share, and each must return all documents of the step.

    Attributes:
        num_steps: Updates that the run is planned for, which the learning rate follows.
        end_step: Updates after which the run ends; ``num_steps``, or less. It may change while a step's documents are
            asked for, in all processes alike, and not below the step that is asked for.
    """

    num_steps: int
    end_step: int

    @abstractmethod
    def describe(self) -> dict[str, JSON]:
        """As :meth:`Feed.describe`."""

    @abstractmethod
    def epoch_of(self, step: int) -> int:
        """As :meth:`Feed.epoch_of`."""

    @abstractmethod
    def documents_of(self, step: int, model: LanguageModel) -> Sequence[Document]:
        """As :meth:`Feed.documents_of`."""


def describe_documents(documents: Sequence[Document]) -> dict[str, JSON]:
    """A digest of all that a run learns from documents, for its fingerprint."""
    hasher = sha256()
    for ids, flags, weight, drawn in document_arrays(documents):
        hasher.update(f"{len(ids)},{weight!r};".encode())
        hasher.update(ids.tobytes())
        hasher.update(flags.tobytes())
        if drawn is not None:
            hasher.update(f"drawn {drawn.group},{drawn.advantage!r},{len(drawn.logprobs)};".encode())
            hasher.update(np.asarray((*drawn.logprobs, *drawn.old), dtype=np.float64).tobytes())
    return {"documents": hasher.hexdigest()}


@final
class FixedFeed:
    """Documents that are all there before, each used once an epoch.

    Args:
        documents: What to learn from; a :class:`~spiritsafe.training.data.documents.DocumentStore` where they are many.
        config: Limits, budget and seed.
        model: The model in training, to check the documents against.

    Raises:
        RecipeError: A document supervises nothing or is longer than a micro-batch.
        CompatibilityError: A document does not fit the model.
    """

    def __init__(self, documents: Sequence[Document], config: TrainConfig, model: LanguageModel) -> None:
        check_documents(documents, config, model)
        self._documents = documents
        self._plan = StepPlan(document_lengths(documents), config)
        self.num_steps = self._plan.num_steps

    def describe(self) -> dict[str, JSON]:
        """A digest of the documents."""
        return describe_documents(self._documents)

    def epoch_of(self, step: int) -> int:
        """The epoch of a step."""
        return self._plan.epoch_of(step)

    def documents_of(self, step: int, model: LanguageModel) -> list[Document]:
        """The documents of a step, in the order of the list."""
        return [self._documents[index] for index in sorted(self._plan.documents_of(step))]
