from __future__ import annotations

from typing import Any

from spiritsafe.models import ChatFormat, default_cache, find_source, resolve_source
from spiritsafe.pipeline.plan.stage_cost import (
    DocumentSize,
    document_size,
    joined,
    mean_size,
    reading_cost,
    sampling_cost,
    student_config,
    training_cost,
)
from spiritsafe.pipeline.recipe.cut import CutSettings
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.tasks import load_task
from spiritsafe.training import TrainConfig

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
TRAIN = TrainConfig(learning_rate=1e-3, tokens_per_step=400, micro_batch_tokens=4096, max_epochs=1)
SIZE = DocumentSize(prompt_tokens=40, answer_tokens=10, shared_tokens=30)


def quickstart(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides)[0]


def test_costs_join_by_adding_up() -> None:
    recipe = quickstart()
    parts = [
        training_cost("x", TRAIN, 10, SIZE, CONFIG),
        reading_cost("x", CONFIG, 10, SIZE, 512),
        sampling_cost("x", CONFIG, 10, SIZE, 4, recipe),
    ]
    whole = joined("x", parts)
    assert (whole.trained_tokens, whole.read_tokens, whole.sampled_tokens) == (500, 500, 40)
    assert whole.work.flops == sum(part.work.flops for part in parts)


def test_a_typical_document_is_measured_in_the_models_tokens() -> None:
    directory = find_source("tiny:0", cache=default_cache()) or resolve_source("tiny:0", cache=default_cache())
    task, chat = load_task("arith:sums?terms=2"), ChatFormat(directory)
    problems = list(task.problems("train", seed=5, count=20))
    size = document_size(problems, chat, max_tokens=64)
    assert size is not None
    longest = max(len(chat.prompt_ids(p.messages)) for p in problems)
    assert longest * 0.7 < size.prompt_tokens < longest * 1.3
    assert 2 < size.answer_tokens < 64
    begin = chat.prompt_ids(problems[0].messages)[: size.shared_tokens]
    assert size.shared_tokens > 5
    assert all(chat.prompt_ids(p.messages)[: size.shared_tokens] == begin for p in problems)


def test_without_a_tokenizer_characters_are_counted_and_a_missing_answer_in_full() -> None:
    problems = list(load_task("arith:sums?terms=2").problems("train", seed=5, count=4))
    size = document_size(problems, None, max_tokens=64)
    assert size is not None
    assert size.prompt_tokens == sum(len(m.content) for p in problems for m in p.messages) / 4 / len(problems)
    unsolved = document_size([p.model_copy(update={"solution": None}) for p in problems], None, max_tokens=64)
    assert unsolved is not None
    assert unsolved.answer_tokens == 64
    assert document_size([], None, max_tokens=64) is None


def test_sizes_of_several_sets_are_weighed_by_their_documents() -> None:
    long = DocumentSize(prompt_tokens=100, answer_tokens=50, shared_tokens=5)
    mixed = mean_size([(1, long), (3, SIZE), (100, None)])
    assert (mixed.prompt_tokens, mixed.answer_tokens, mixed.shared_tokens) == (55, 20, 5)
    assert mean_size([]).num_tokens == 0


def test_a_cut_keeps_to_its_budget() -> None:
    assert int(student_config(CONFIG, CutSettings(share=0.5))["num_hidden_layers"]) < 15
    assert int(student_config(CONFIG, CutSettings(share=0.85))["num_hidden_layers"]) == 24
