"""The local engine: completions from weights on this machine, many at a time.

In: prompts and how to sample. Out: attempts, each as it finishes. The weights are the very parameters that training
changes. See :mod:`spiritsafe.models.running.generators.scheduler` for who draws when,
:mod:`spiritsafe.models.running.engine.runner` for what happens to tensors. Shapes: N packed tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.generator import GeneratorInfo, TokenSpread
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.running.engine.cached_runner import CachedRunner
from spiritsafe.models.running.engine.plain_runner import PlainRunner
from spiritsafe.models.running.engine.runner import Runner
from spiritsafe.models.running.engine.session import EngineSession
from spiritsafe.models.running.generators.scheduler import Scheduler
from spiritsafe.models.running.generators.this_platform import this_platform
from spiritsafe.models.transformers_backend.loading import LoadedModel

_SCORE_TOKENS = 8192
_SCORE_ROWS = 1024
_SPREAD_ROWS = 256  # three times the memory a row
_LARGEST_SQUARE = 1e30  # beyond it the chance is 0 in float32


def fastest_runner(model: LanguageModel, *, for_few_rows: bool = False) -> Runner:
    """The fastest that the model has."""
    return CachedRunner(model, for_few_rows=for_few_rows) if isinstance(model, Decoder) else PlainRunner(model)


def _expected(logprobs_NV: Tensor) -> list[Tensor]:
    """Mean and standard deviation of the log-probability of a token drawn from each row."""
    chances = logprobs_NV.exp()
    known = logprobs_NV.clamp(min=torch.finfo(logprobs_NV.dtype).min)  # 0 × -inf is 0 here
    mean = (chances * known).sum(-1)
    return [mean, (chances * (known - mean[:, None]).square().clamp(max=_LARGEST_SQUARE)).sum(-1).sqrt()]


def token_scores(logits_NV: Tensor, targets_N: Tensor, *, spread: bool) -> list[list[float]]:
    """The log-probability of each target; with ``spread`` also mean and deviation of that of a token drawn instead."""
    logprobs = logits_NV.log_softmax(-1)
    columns = [logprobs.gather(1, targets_N[:, None]).squeeze(1)]
    if spread:
        columns += _expected(logprobs)
    return torch.stack(columns, dim=1).tolist()


def scores_by_document(
    values: Sequence[list[float]], documents: Sequence[Document], name: str
) -> list[list[list[float]]]:
    """Cut the numbers of all targets of all documents into those of each completion, without its end token.

    Args:
        name: The model's.

    Raises:
        NumericalError: They are not numbers.
    """
    if any(row[0] != row[0] for row in values):
        raise NumericalError(
            f"The model {name} gives logits that are not finite.",
            hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
        )
    out: list[list[list[float]]] = []
    start = 0
    for document in documents:
        count = sum(document.supervised[1:])
        out.append(list(values[start : start + count - 1]))
        start += count
    return out


class Scorer(ABC):
    """What a model that runs here finds of completions that others wrote, whatever computes its logits."""

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Natural-log probability, at temperature 1, of each token of each completion (its end token not included).

        Raises:
            CompatibilityError: A conversation with its completion does not fit the model's context or template.
            EndpointError: The process that computes crashes.
        """
        rows = self._score_all(conversations, completions, spread=False)
        return [tuple(own for (own,) in row) for row in rows]

    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[TokenSpread, ...]]:
        """As :meth:`score`, with what was expected; see :class:`spiritsafe.core.generator.SpreadScoring`."""
        rows = self._score_all(conversations, completions, spread=True)
        return [tuple((own, mean, deviation) for own, mean, deviation in row) for row in rows]

    @abstractmethod
    def _score_all(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str], *, spread: bool
    ) -> list[list[list[float]]]:
        """For each completion, for each token, its numbers."""


@final
class LocalGenerator(Scorer):
    """A :class:`~spiritsafe.core.generator.Generator` over a loaded model.

    The same call gives the same tokens. A token's draw depends on its sequence's seed and its place only; its
    probabilities may differ in the last bits with the batch they are computed in, as matrix products do.

    Args:
        loaded: Weights, chat format and lineage; any LanguageModel works, the Decoder works fast.
        max_context: Longest prompt plus completion; None is the model's own context.
        same_weights: Nobody changes the weights while this exists, so what was computed in one call of
            :meth:`generate` is kept for the next.
        for_few_rows: Single sequences are common: bfloat16 weights of a CPU are held once more for them.

    Attributes:
        context: Longest prompt plus completion.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_batch: int = 64,
        max_context: int | None = None,
        same_weights: bool = False,
        for_few_rows: bool = False,
    ) -> None:
        self._loaded = loaded
        self._model = loaded.model
        self._device = loaded.model.head().weight_VH.device
        longest = loaded.model.max_context
        self.context = longest if max_context is None else min(max_context, longest)
        self._scheduler = Scheduler(
            loaded.chat,
            loaded.checkpoint,
            partial(fastest_runner, loaded.model, for_few_rows=for_few_rows),
            max_batch=max_batch,
            max_context=self.context,
            same_weights=same_weights,
        )

    def describe(self) -> GeneratorInfo:
        """The checkpoint's name and digest."""
        checkpoint = self._loaded.checkpoint
        return GeneratorInfo(
            name=checkpoint.name, digest=checkpoint.digest, kind="local", has_token_ids=True, has_logprobs=True
        )

    def platform(self) -> Platform:
        """This machine, and the number format of the weights."""
        return this_platform(self._device, self._model.head().weight_VH.dtype)

    def close(self) -> None:
        """Free the cache; the model itself belongs to the caller."""
        self._scheduler.close()

    @property
    def chat(self) -> ChatFormat:
        """How chats become its tokens."""
        return self._loaded.chat

    @property
    def vocab_size(self) -> int:
        """Of its logits."""
        return self._model.head().weight_VH.shape[0]

    def open_session(self) -> EngineSession:
        """A session for whoever serves the model instead of calling :meth:`generate`; the one before it is given up."""
        return self._scheduler.open_session()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`."""
        return self._scheduler.generate(prompts, sampling)

    def _score_all(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str], *, spread: bool
    ) -> list[list[list[float]]]:
        self._scheduler.check_open()
        pairs = zip(conversations, completions, strict=True)
        documents = [self._loaded.chat.document(messages, text) for messages, text in pairs]
        out: list[list[list[float]]] = []
        waiting: list[Document] = []
        for document in documents:
            if waiting and sum(len(d.token_ids) for d in waiting) + len(document.token_ids) > _SCORE_TOKENS:
                out.extend(self._score(waiting, spread=spread))
                waiting = []
            waiting.append(document)
        return out + (self._score(waiting, spread=spread) if waiting else [])

    def _score(self, documents: Sequence[Document], *, spread: bool) -> list[list[list[float]]]:
        with torch.inference_mode():
            batch = pack_documents(documents).to(self._device)
            hidden_NH = self._model(batch)
            chosen = (batch.targets_N != IGNORED).nonzero().squeeze(1)
            values: list[list[float]] = []
            for rows in torch.split(chosen, _SPREAD_ROWS if spread else _SCORE_ROWS):
                logits = head_logits(self._model.head(), hidden_NH[rows])
                values += token_scores(logits, batch.targets_N[rows], spread=spread)
        return scores_by_document(values, documents, self._loaded.checkpoint.name)
