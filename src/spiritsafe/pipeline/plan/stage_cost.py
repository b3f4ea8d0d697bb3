"""What a stage costs: tokens trained, read and sampled, and the work that they make of a machine.

In: a model's ``config.json``, how it is trained or sampled, the size of a typical document. Out: :class:`StageCost`.
Which stages a recipe has is :mod:`spiritsafe.pipeline.plan.costs`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, final

from spiritsafe.core.records import Problem, Record
from spiritsafe.models import (
    ChatFormat,
    LoraConfig,
    WeightFormat,
    Work,
    layers_within,
    predict_footprint,
    sampling_work,
    scoring_work,
    shallower,
    training_work,
)
from spiritsafe.pipeline.recipe.cut import CutSettings
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.training import TrainConfig


@final
class DocumentSize(Record):
    """A typical training document.

    Attributes:
        prompt_tokens: Mean.
        answer_tokens: Mean, end token included.
        shared_tokens: Tokens that all prompts begin with; a micro-batch computes them once.
    """

    prompt_tokens: float
    answer_tokens: float
    shared_tokens: int = 0

    @property
    def num_tokens(self) -> float:
        """Of the whole document."""
        return self.prompt_tokens + self.answer_tokens


def mean_size(parts: Sequence[tuple[int, DocumentSize | None]]) -> DocumentSize:
    """Of a typical document of several sets, by how many each has; nothing where none is known."""
    known = [(max(1, count), size) for count, size in parts if size is not None]
    total = sum(count for count, _ in known)
    if not total:
        return DocumentSize(prompt_tokens=0.0, answer_tokens=0.0)
    return DocumentSize(
        prompt_tokens=sum(count * size.prompt_tokens for count, size in known) / total,
        answer_tokens=sum(count * size.answer_tokens for count, size in known) / total,
        shared_tokens=min(size.shared_tokens for _, size in known),
    )


@final
class StageCost(Record):
    """What one stage does.

    Attributes:
        trained_tokens: Forward and backward.
        read_tokens: Forward only, by a teacher or for a calibration.
        sampled_tokens: Drawn.
        work: Of all this together.
    """

    name: str
    trained_tokens: int = 0
    read_tokens: int = 0
    sampled_tokens: int = 0
    work: Work


def document_size(problems: Sequence[Problem], chat: ChatFormat | None, *, max_tokens: int) -> DocumentSize | None:
    """Mean size over some problems; an answer without a solution counts in full.

    Args:
        problems: Of one set.
        chat: A model's chat format; None: four characters are taken for a token.
        max_tokens: Most tokens of an answer.
    """
    if not problems:
        return None
    answers = [max_tokens if p.solution is None else _num_tokens_of(p.solution, chat) + 1 for p in problems]
    if chat is None:
        lengths = [sum(len(message.content) for message in p.messages) / _CHARACTERS for p in problems]
        return DocumentSize(prompt_tokens=fmean(lengths), answer_tokens=fmean(answers))
    prompts = [chat.prompt_ids(problem.messages) for problem in problems]
    shared = next((i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1), 0)
    return DocumentSize(
        prompt_tokens=fmean(len(prompt) for prompt in prompts), answer_tokens=fmean(answers), shared_tokens=shared
    )


_CHARACTERS = 4
"""Of a token, about."""


def _num_tokens_of(text: str, chat: ChatFormat | None) -> int:
    return len(text) // _CHARACTERS if chat is None else len(chat.completion_ids(text))


def student_config(config: Mapping[str, Any], cut: CutSettings) -> dict[str, Any]:
    """The ``config.json`` of a student cut in depth; the stand-in for a cut of another shape with the same budget.

    Raises:
        BudgetError: The budget does not hold even one layer.
    """
    whole = predict_footprint(config, cut.quantisation, context=cut.context).total_bytes
    budget = cut.max_bytes if cut.max_bytes is not None else int((cut.share or 1.0) * whole)
    return shallower(config, range(layers_within(config, budget, cut.quantisation, context=cut.context)))


def tokens_at_once(train: TrainConfig) -> int:
    """Tokens of one pass: a micro-batch, or a whole step where that is smaller."""
    return min(train.micro_batch_tokens, train.tokens_per_step)


def _num_tokens(train: TrainConfig, num_documents: int, size: DocumentSize) -> int:
    """Tokens of a run: the nearest of its limits."""
    epoch = num_documents * size.num_tokens
    limits = [float(train.max_tokens or math.inf), (train.max_steps or math.inf) * train.tokens_per_step]
    limits.append((train.max_epochs or math.inf) * epoch)
    return math.ceil(min(limits))


def training_cost(
    name: str,
    train: TrainConfig,
    num_documents: int,
    size: DocumentSize,
    config: Mapping[str, Any],
    teacher: Mapping[str, Any] | None = None,
    *,
    lora: LoraConfig | None = None,
    base: WeightFormat | None = None,
) -> StageCost:
    """Training on so many documents, with a live teacher that reads along if there is one; adapters, if they learn."""
    if not (size.num_tokens and num_documents):
        return StageCost(name=name, work=Work())
    num_tokens = _num_tokens(train, num_documents, size)
    num_steps = max(1, round(num_tokens / train.tokens_per_step))
    num_micro_batches = max(num_steps, math.ceil(num_tokens / tokens_at_once(train)))
    rows = math.ceil(num_tokens * size.answer_tokens / size.num_tokens)
    repeated = size.shared_tokens * max(0.0, num_tokens / size.num_tokens - num_micro_batches)
    computed = math.ceil(num_tokens - repeated)
    work = training_work(
        config,
        num_tokens=computed,
        num_supervised=rows,
        document_tokens=size.num_tokens,
        num_steps=num_steps,
        num_micro_batches=num_micro_batches,
        lora=lora,
        base=base,
    )
    if teacher is not None:
        work += scoring_work(
            teacher, num_tokens=computed, num_rows=rows, document_tokens=size.num_tokens, num_passes=num_micro_batches
        )
    return StageCost(name=name, trained_tokens=num_tokens, read_tokens=num_tokens if teacher else 0, work=work)


def reading_cost(
    name: str, config: Mapping[str, Any], num_documents: int, size: DocumentSize, tokens_per_pass: int
) -> StageCost:
    """A model that only reads documents: a capture, a calibration."""
    num_tokens = math.ceil(num_documents * size.num_tokens)
    work = scoring_work(
        config,
        num_tokens=num_tokens,
        num_rows=math.ceil(num_documents * size.answer_tokens),
        document_tokens=size.num_tokens,
        num_passes=max(1, math.ceil(num_tokens / tokens_per_pass)),
    )
    return StageCost(name=name, read_tokens=num_tokens, work=work)


def sampling_cost(
    name: str, config: Mapping[str, Any], num_answers: int, size: DocumentSize, max_tokens: float, recipe: Recipe
) -> StageCost:
    """So many answers drawn, each as long as a typical one or as long as it may be."""
    new_tokens = min(max_tokens, size.answer_tokens)
    work = sampling_work(
        config,
        num_sequences=num_answers,
        prompt_tokens=size.prompt_tokens,
        new_tokens=new_tokens,
        batch=recipe.engine.max_batch,
    )
    return StageCost(name=name, sampled_tokens=math.ceil(num_answers * new_tokens), work=work)


def joined(name: str, parts: list[StageCost]) -> StageCost:
    """Several costs as one."""
    work = Work()
    for part in parts:
        work += part.work
    return StageCost(
        name=name,
        trained_tokens=sum(part.trained_tokens for part in parts),
        read_tokens=sum(part.read_tokens for part in parts),
        sampled_tokens=sum(part.sampled_tokens for part in parts),
        work=work,
    )
