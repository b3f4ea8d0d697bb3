"""What each stage of a recipe costs: tokens trained, read and sampled, and the work that they make of a machine.

In: a recipe, the base model's ``config.json``, the size of a typical document. Out: one :class:`StageCost` a stage. A
stage that is added later is one more line in :func:`stage_costs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from statistics import fmean
from typing import Any, final

from spiritsafe.core.records import Record
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import ChatFormat, layers_within, predict_footprint, shallower
from spiritsafe.models.step_cost import Work, sampling_work, scoring_work, training_work
from spiritsafe.pipeline.recipe import Recipe
from spiritsafe.pipeline.student_recipe import CutRecipe, StudentRecipe
from spiritsafe.tasks import Task
from spiritsafe.training import TrainConfig

__all__ = ["DocumentSize", "StageCost", "stage_costs", "student_config", "tokens_at_once", "typical_document"]

_PROBLEMS_MEASURED = 24


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


@final
class StageCost(Record):
    """What one stage does.

    Attributes:
        name: The stage.
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


def typical_document(task: Task, chat: ChatFormat, *, seed: int, max_tokens: int) -> DocumentSize:
    """Mean size over a few problems of the train bucket; an answer without a worked solution counts in full.

    Args:
        task: What is taught.
        chat: The model's chat format.
        seed: Of the draw.
        max_tokens: Most tokens of an answer.
    """
    problems = list(
        islice(task.problems("train", seed=derive_seed(seed, "plan"), count=_PROBLEMS_MEASURED), _PROBLEMS_MEASURED)
    )
    answers = [
        max_tokens if problem.solution is None else len(chat.completion_ids(problem.solution)) + 1
        for problem in problems
    ]
    prompts = [chat.prompt_ids(problem.messages) for problem in problems]
    shared = next((i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1), 0)
    return DocumentSize(
        prompt_tokens=fmean(len(prompt) for prompt in prompts),
        answer_tokens=fmean(answers),
        shared_tokens=shared,
    )


def student_config(config: Mapping[str, Any], cut: CutRecipe) -> dict[str, Any]:
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


def stage_costs(recipe: Recipe, config: Mapping[str, Any], size: DocumentSize) -> list[StageCost]:
    """Every stage that computes, in order."""
    costs = [_training("teach", recipe.teach.train, recipe.teach.problems, size, config)]
    if recipe.sample is not None:
        num_answers = recipe.sample.problems * recipe.sample.num_samples
        costs.append(_sampling("sample", config, num_answers, size, recipe.sample.sampling.max_tokens, recipe))
    if recipe.cache is not None:
        num_documents = max(student.problems for student in recipe.rungs if student.signal == "cached")
        costs.append(_reading("capture", config, num_documents, size, recipe.cache.micro_batch_tokens))
    cuts: set[CutRecipe] = set()
    for student in recipe.rungs:
        costs.append(_student(student, recipe, config, size, is_cut=student.cut not in cuts))
        cuts.add(student.cut)
    costs.append(_exam(recipe, config, size))
    return costs


def _num_tokens(train: TrainConfig, num_documents: int, size: DocumentSize) -> int:
    """Tokens of a run: the nearest of its limits."""
    epoch = num_documents * size.num_tokens
    limits = [float(train.max_tokens or math.inf), (train.max_steps or math.inf) * train.tokens_per_step]
    limits.append((train.max_epochs or math.inf) * epoch)
    return math.ceil(min(limits))


def _training(
    name: str,
    train: TrainConfig,
    num_documents: int,
    size: DocumentSize,
    config: Mapping[str, Any],
    teacher: Mapping[str, Any] | None = None,
) -> StageCost:
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
    )
    if teacher is not None:
        work += scoring_work(
            teacher,
            num_tokens=computed,
            num_rows=rows,
            document_tokens=size.num_tokens,
            num_passes=num_micro_batches,
        )
    return StageCost(name=name, trained_tokens=num_tokens, read_tokens=num_tokens if teacher else 0, work=work)


def _reading(
    name: str, config: Mapping[str, Any], num_documents: int, size: DocumentSize, tokens_per_pass: int
) -> StageCost:
    num_tokens = math.ceil(num_documents * size.num_tokens)
    work = scoring_work(
        config,
        num_tokens=num_tokens,
        num_rows=math.ceil(num_documents * size.answer_tokens),
        document_tokens=size.num_tokens,
        num_passes=max(1, math.ceil(num_tokens / tokens_per_pass)),
    )
    return StageCost(name=name, read_tokens=num_tokens, work=work)


def _sampling(
    name: str, config: Mapping[str, Any], num_answers: int, size: DocumentSize, max_tokens: float, recipe: Recipe
) -> StageCost:
    new_tokens = min(max_tokens, size.answer_tokens)
    work = sampling_work(
        config,
        num_sequences=num_answers,
        prompt_tokens=size.prompt_tokens,
        new_tokens=new_tokens,
        batch=recipe.engine.max_batch,
    )
    return StageCost(name=name, sampled_tokens=math.ceil(num_answers * new_tokens), work=work)


def _student(
    student: StudentRecipe, recipe: Recipe, config: Mapping[str, Any], size: DocumentSize, *, is_cut: bool
) -> StageCost:
    """A student's training, its own answers, and its cut if it is the first that has it."""
    own = config if student.source is not None else student_config(config, student)
    has_teacher = student.objective != "traces" and student.signal == "live"
    train = student.train
    if student.on_policy is not None:  # steps are as long as their documents
        policy = student.on_policy
        num_answers = policy.num_rounds * policy.num_drawn
        step_tokens = math.ceil(num_answers / policy.share * size.num_tokens / policy.num_steps)
        train = train.model_copy(update={"tokens_per_step": step_tokens})
    parts = [_training(student.name, train, student.problems, size, own, config if has_teacher else None)]
    if student.on_policy is not None:
        parts.append(_sampling(student.name, own, num_answers, size, policy.sampling.max_tokens, recipe))
    if student.source is None and is_cut:
        parts.append(_cutting(student, config, own, size))
        if student.shape == "race":
            short = student.train.model_copy(update={"max_steps": student.race_steps, "max_epochs": None})
            lane = _training(student.name, short, student.problems, size, own, config)
            parts += [lane] * student.candidates
    return _joined(student.name, parts)


def _cutting(
    student: StudentRecipe, config: Mapping[str, Any], own: Mapping[str, Any], size: DocumentSize
) -> StageCost:
    """Calibration: block influence is one pass; "loss" tries each layer that is left, for each that goes."""
    layers, kept = int(config["num_hidden_layers"]), int(own["num_hidden_layers"])
    passes = 1.0
    if student.criterion == "loss":
        passes += sum(left * (left - 1) / layers for left in range(kept + 1, layers + 1))
    num_documents = math.ceil(passes * min(student.calibration, student.problems))
    return _reading(student.name, config, num_documents, size, tokens_per_pass=2048)


def _exam(recipe: Recipe, config: Mapping[str, Any], size: DocumentSize) -> StageCost:
    """The base model is taken to write until it is stopped, the taught ones answers of the usual length."""
    num, most = recipe.exam.problems, recipe.exam.sampling.max_tokens
    untaught = DocumentSize(prompt_tokens=size.prompt_tokens, answer_tokens=most)
    parts = [
        _sampling("exam", config, num, untaught, most, recipe),
        _sampling("exam", config, num, size, most, recipe),
    ]
    for student in recipe.rungs:
        own = config if student.source is not None else student_config(config, student)
        parts.append(_sampling("exam", own, num, size, most, recipe))
    return _joined("exam", parts)


def _joined(name: str, parts: list[StageCost]) -> StageCost:
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
