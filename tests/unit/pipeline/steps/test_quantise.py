"""Quantise steps in a plan: what is said of them, what they cost, and what stands in their way."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from spiritsafe.models import predict_file_bytes, predict_training
from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.plan.stage_cost import DocumentSize
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import default_rate
from spiritsafe.pipeline.step import DataFacts, Forecast, Step, step_of

QWEN: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 512,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
SLIDING = {**QWEN, "model_type": "mistral", "sliding_window": 64}
MAMBA: dict[str, Any] = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}


def recipe(*, source: bool = True, **quantise: Any) -> Recipe:
    given = {"source": "tiny:0"} if source else {"endpoint": "http://x/v1", "model": "m"}
    return recipe_of(
        {
            "name": "r",
            "models": {"base": given},
            "data": {"chats": {"task": "arith:sums", "problems": 4}},
            "steps": [{"kind": "quantise", "name": "q", "from": "base", "to": "q4_0", **quantise}],
        }
    )


def forecast(config: dict[str, Any] | None, num_documents: int = 400, **quantise: Any) -> Forecast:
    size = DocumentSize(prompt_tokens=30.0, answer_tokens=70.0)
    facts = DataFacts(task="arith:sums", num_problems=400, num_documents=num_documents, size=size)
    made = recipe(source=config is not None, **quantise)
    configs = {} if config is None else {"base": config, "q": config}
    return Forecast(recipe=made, configs=configs, device=torch.device("cpu"), sets={"chats": facts})


def step(known: Forecast) -> Step:
    return step_of(known.recipe.node("q"))


def faults(config: dict[str, Any] | None, num_documents: int = 400, **quantise: Any) -> list[str]:
    return faults_of(forecast(config, num_documents, **quantise))


@pytest.mark.parametrize(
    ("config", "quantise", "message"),
    [
        (MAMBA, {}, "q: The Decoder does not implement model_type 'mamba'"),
        (SLIDING, {}, "no sliding window"),
        (None, {}, "q needs base itself, which is behind an endpoint alone"),
    ],
)
def test_what_gguf_cannot_hold_is_a_fault_of_the_plan(
    config: dict[str, Any] | None, quantise: dict[str, Any], message: str
) -> None:
    (fault,) = faults(config, **quantise)
    assert message in fault


def test_llama_cpp_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert faults(QWEN) == []
    (own,), (weighed,) = faults(QWEN, to="q4_k_m"), faults(QWEN, calibrate=["chats"])
    assert "llama.cpp's quantiser writes q4_k_m: run `pip install 'spiritsafe[gguf]'`" in own
    assert "llama.cpp's quantiser writes q4_0 by importance" in weighed


@pytest.mark.parametrize("key", ["learns", "calibrate"])
def test_sets_must_hold_text(key: str) -> None:
    (fault,) = faults(QWEN, num_documents=0, **{key: ["chats"]})
    assert "q learns from 'chats', which has no solutions" in fault


def test_a_file_alone_costs_nothing_and_its_bytes_are_known() -> None:
    known = forecast(QWEN)
    node = known.recipe.node("q")
    assert (step(known).costs(node, known), step(known).peak(node, known)) == ([], None)
    # by hand: untied, so the embedding is Q4_0 as the layers are and the head is Q6_K
    matrices = 320 * 256 + 3 * (256 * (256 + 128 + 128) + 256 * 256 + 3 * 256 * 512)
    vectors = 256 + 3 * (2 * 256 + 2 * 64)
    assert step(known).file_bytes(QWEN) == matrices // 32 * 18 + 320 * 256 // 256 * 210 + 4 * vectors
    (reading,) = step(weighed := forecast(QWEN, calibrate=["chats"])).costs(node, weighed)
    assert reading.read_tokens == 128 * 100


def test_learning_costs_what_a_distillation_does_and_a_copy_of_the_weights() -> None:
    learns = {"learns": ["chats"], "train": {"max_steps": 10, "tokens_per_step": 500, "compute_dtype": "float32"}}
    known = forecast(QWEN, **learns)
    node = known.recipe.node("q")
    (cost,) = step(known).costs(node, known)
    assert (cost.trained_tokens, cost.read_tokens) == (5000, 5000)
    settings: dict[str, Any] = {"num_tokens": 500, "compute_dtype": "fp32"}
    plain, on_grid = (predict_training(QWEN, on_grid=grid, **settings).total_bytes for grid in (False, True))
    assert on_grid - plain == predict_training(QWEN, **settings).master_bytes
    training = step(known).training()
    assert training is not None
    assert training.way == "grid"
    assert "learns chats on that grid" in step(known).words(node).line
    (spec,) = step(known).stages(node, known.recipe)
    assert spec.is_collective
    assert not spec.is_exact


@pytest.mark.parametrize(("size", "rate"), [(1_400_000, 5e-5), (135_000_000, 5e-5), (1_500_000_000, 2.2e-5)])
def test_weights_move_little_on_a_grid(size: int, rate: float) -> None:
    assert default_rate(size, "grid") == rate


def test_importance_changes_what_some_matrices_are_stored_in() -> None:
    plain, weighed = (predict_file_bytes(QWEN | {"num_hidden_layers": 8}, "q4_0", importance=i) for i in (False, True))
    assert weighed == plain + 256 * 512 // 32 * 2  # the first eighth's down projection becomes Q4_1
