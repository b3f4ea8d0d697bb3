from __future__ import annotations

from typing import Any

from spiritsafe.models import ChatFormat, default_cache, find_source, resolve_source
from spiritsafe.pipeline.plan.stage_cost import (
    DocumentSize,
    joined,
    reading_cost,
    sampling_cost,
    student_config,
    training_cost,
    typical_document,
)
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.tasks import load_task

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
SIZE = DocumentSize(prompt_tokens=40, answer_tokens=10, shared_tokens=30)


def quickstart(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides)[0]


def test_costs_join_by_adding_up() -> None:
    recipe = quickstart()
    parts = [
        training_cost("x", recipe.teach.train, 10, SIZE, CONFIG),
        reading_cost("x", CONFIG, 10, SIZE, 512),
        sampling_cost("x", CONFIG, 10, SIZE, 4, recipe),
    ]
    whole = joined("x", parts)
    assert (whole.trained_tokens, whole.read_tokens, whole.sampled_tokens) == (500, 500, 40)
    assert whole.work.flops == sum(part.work.flops for part in parts)


def test_a_typical_document_is_measured_on_the_train_bucket() -> None:
    directory = find_source("tiny:0", cache=default_cache()) or resolve_source("tiny:0", cache=default_cache())
    task, chat = load_task("arith:sums?terms=2"), ChatFormat(directory)
    size = typical_document(task, chat, seed=0, max_tokens=64)
    problems = list(task.problems("train", seed=5, count=20))
    longest = max(len(chat.prompt_ids(p.messages)) for p in problems)
    assert longest * 0.7 < size.prompt_tokens < longest * 1.3
    assert 2 < size.answer_tokens < 64
    begin = chat.prompt_ids(problems[0].messages)[: size.shared_tokens]
    assert size.shared_tokens > 5
    assert all(chat.prompt_ids(p.messages)[: size.shared_tokens] == begin for p in problems)


def test_a_cut_keeps_to_its_budget() -> None:
    student = quickstart("students.0.share=0.5").students[0]
    assert int(student_config(CONFIG, student)["num_hidden_layers"]) < 15
    assert int(student_config(CONFIG, quickstart().students[0])["num_hidden_layers"]) == 24
