"""What a pool of problems must be before a model in training may answer them and learn from its answers.

In: problems, and how long prompt and answer can be together. Out: nothing, or an error that says what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Problem
from spiritsafe.models import LanguageModel
from spiritsafe.tasks import split_of
from spiritsafe.training.config import TrainConfig


def check_training_pool(problems: Sequence[Problem]) -> None:
    """Refuse a pool with a problem twice, or with one that is not for training.

    Raises:
        RecipeError: Naming the problem and its bucket.
    """
    if len({problem.id for problem in problems}) < len(problems):
        raise RecipeError("A problem is in the pool twice.", hint="Give each problem once.")
    foreign = next((problem for problem in problems if split_of(problem) != "train"), None)
    if foreign is not None:
        raise RecipeError(
            f"Problem {foreign.id} is not for training: it is of the {split_of(foreign)} bucket.",
            hint='Take the pool from Task.problems("train", ...).',
        )


def check_answer_length(model: LanguageModel, longest: int, train_config: TrainConfig) -> None:
    """Refuse answers that could not be learnt from whole.

    Args:
        longest: Tokens of the longest prompt with the longest answer that may be drawn.
        train_config: How the answers will be learnt.

    Raises:
        RecipeError: They may be longer than a micro-batch.
        CompatibilityError: They may be longer than the model's context.
    """
    if longest > train_config.micro_batch_tokens:
        raise RecipeError(
            f"The longest prompt with its answer may have {longest} tokens; micro_batch_tokens is "
            f"{train_config.micro_batch_tokens}.",
            hint=f"Set micro_batch_tokens to {longest} or more, or lower sampling.max_tokens.",
        )
    if longest > model.max_context:
        raise CompatibilityError(
            f"The longest prompt with its answer may have {longest} tokens; the model's context is "
            f"{model.max_context}.",
            hint="Lower sampling.max_tokens, or leave long problems out of the pool.",
        )
