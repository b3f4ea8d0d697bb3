from __future__ import annotations

from itertools import islice

import pytest
from tiny_training import tiny_decoder

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.tasks import load_task
from spiritsafe.training import TrainConfig
from spiritsafe.training.data.answer_pool import check_answer_length, check_training_pool

CONFIG = TrainConfig(learning_rate=1e-3, tokens_per_step=64, micro_batch_tokens=100, max_steps=1)


def test_each_problem_once_and_none_that_is_not_for_training() -> None:
    task = load_task("arith:sums?terms=2&digits=1-2")
    train = list(islice(task.problems("train", seed=0, count=3), 3))
    check_training_pool(train)
    with pytest.raises(RecipeError, match="twice"):
        check_training_pool([*train, train[1]])
    dev = next(iter(task.problems("dev", seed=0, count=1)))
    with pytest.raises(RecipeError, match="of the dev bucket"):
        check_training_pool([*train, dev])


def test_answers_must_fit_a_micro_batch_and_the_context() -> None:
    model: Decoder = tiny_decoder()
    check_answer_length(model, 100, CONFIG)
    with pytest.raises(RecipeError, match="may have 101 tokens; micro_batch_tokens is 100"):
        check_answer_length(model, 101, CONFIG)
    roomy = CONFIG.model_copy(update={"micro_batch_tokens": 10_000})
    check_answer_length(model, model.max_context, roomy)
    with pytest.raises(CompatibilityError, match="context"):
        check_answer_length(model, model.max_context + 1, roomy)
