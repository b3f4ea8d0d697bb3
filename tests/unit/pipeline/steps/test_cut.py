from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_parts import context_after, recipe_with

from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.step import Forecast, step_of

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 12,
    "intermediate_size": 128,
    "vocab_size": 260,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
MAMBA: dict[str, Any] = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}


def faults(config: dict[str, Any], **cut: Any) -> list[str]:
    recipe = recipe_with(small=cut)
    forecast = Forecast(recipe=recipe, configs={"teacher": config}, device=torch.device("cpu"))
    return [fault for fault in faults_of(forecast) if fault.startswith("small")]


def test_only_a_decoder_can_be_cut_and_the_way_out_is_told() -> None:
    assert faults(LLAMA) == []
    (fault,) = faults(MAMBA)
    assert fault.startswith("small cannot be cut from teacher: transformers runs it")
    assert '"across"' in fault


def test_a_budget_that_holds_no_layer_is_a_fault_of_the_plan() -> None:
    (fault,) = faults(LLAMA, share=None, max_bytes=1000)
    assert "bytes" in fault


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_cut_in_depth_is_known_beforehand(share: float) -> None:
    step = step_of(recipe_with(small={"share": share}).node("small"))
    config = step.config_of({"teacher": LLAMA})
    assert config is not None
    assert 1 <= config["num_hidden_layers"] < 12
    assert step.config_of({"teacher": MAMBA}) == MAMBA
    assert step.config_of({}) is None


def test_it_tells_its_size_and_how_it_was_made(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    node = context.recipe.node("small")
    step = step_of(node)
    assert "at most 85% of its bytes" in step.words(node).line
    assert step.made_by(context, node)[0] == "cut"
    assert "random weights" in step_of(recipe_with(small={"start": "random"}).node("small")).words(node).line
    megabytes = recipe_with(small={"share": None, "max_bytes": 2_500_000, "quantisation": "q8_0"})
    assert "at most 2.5 MB in q8_0" in step_of(megabytes.node("small")).words(node).line
