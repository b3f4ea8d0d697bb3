from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_parts import recipe_with
from stranger_models import write_mixtral

from spiritsafe.models import read_model_config
from spiritsafe.pipeline.plan.known import faults_of, forecast_of, forecast_with
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.step import DataFacts, Forecast

MAMBA: dict[str, Any] = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}


def test_adapters_go_on_layers_that_are_known_alone() -> None:
    recipe = recipe_with(tuned={"lora": {"rank": 4}})
    for configs, count in (({"base": MAMBA}, 1), ({}, 0)):
        found = faults_of(Forecast(recipe=recipe, configs=configs, device=torch.device("cpu")))
        assert len([fault for fault in found if fault.startswith("tuned cannot put adapters on base")]) == count


def test_adapters_on_what_transformers_runs_need_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_model_config(write_mixtral(tmp_path))
    forecast = Forecast(
        recipe=recipe_with(tuned={"lora": {"rank": 4}}), configs={"base": config}, device=torch.device("cpu")
    )
    assert faults_of(forecast) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (fault,) = faults_of(forecast)
    assert "spiritsafe[adapters]" in fault


def test_points_of_accuracy_need_a_verifier() -> None:
    facts = DataFacts(task="t", num_problems=8, num_documents=8, verifies=False)
    recipe = recipe_with()
    found = faults_of(
        Forecast(recipe=recipe, configs={}, device=torch.device("cpu"), sets={"lessons": facts, "pool": facts})
    )
    assert "teacher: dev asks for accuracy on data without a verifier; leave it out" in found
    assert "rl: pool has no verifier, so nothing of it can be rewarded" in found
    assert len(found) == 5  # the three controls as well


def test_8_bit_moments_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = Forecast(
        recipe=recipe_with(tuned={"train": {"moments": "8bit"}}), configs={}, device=torch.device("cpu")
    )
    assert faults_of(forecast) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (fault,) = faults_of(forecast)
    assert fault.startswith("tuned: ")
    assert "spiritsafe[quant]" in fault


def test_a_model_is_known_in_the_number_format_that_it_is_saved_in() -> None:
    base = {"model_type": "llama", "torch_dtype": "float16"}
    recipe = recipe_with(tuned={"save_dtype": "float32"})
    configs = forecast_with(recipe, {"base": base}, {}, {}).configs
    assert {name: configs[name]["dtype"] for name in ("teacher", "tuned")} == {
        "teacher": "bfloat16",
        "tuned": "float32",
    }
    assert forecast_with(recipe_with(), {"base": {"model_type": "llama"}}, {}, {}).configs["rl"]["dtype"] == "float32"


def test_a_model_too_large_to_be_trained_here_is_told_with_what_adapters_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spiritsafe.pipeline.plan.memory.available_bytes", lambda device: 24_000_000_000)
    large = "tiny:0?layers=32&hidden=4096&heads=32&kv_heads=8"  # of 6 B weights, none of which is made
    data = {"d": {"task": "arith:sums?terms=2&digits=1-2", "problems": 20}}

    def faults(**step: object) -> list[str]:
        table = {"kind": "tune", "name": "s", "from": "m", "learns": ["d"], **step}
        recipe = recipe_of({"name": "r", "models": {"m": {"source": large}}, "data": data, "steps": [table]})
        return forecast_of(recipe, cache=tmp_path)[2]

    (fault,) = faults()
    assert fault.startswith("s: Training takes at least 1")
    assert "24.00 GB are available" in fault
    assert "`lora = { rank = 16 }` would take" in fault
    assert "lora" not in "".join(faults(lora={"rank": 16}))
