from __future__ import annotations

from typing import Any

import torch
from pipeline_parts import recipe_with

from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.step import DataFacts, Forecast

MAMBA: dict[str, Any] = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}


def test_adapters_go_on_a_decoder_alone() -> None:
    recipe = recipe_with(tuned={"lora": {"rank": 4}})
    for configs, count in (({"base": MAMBA}, 1), ({}, 0)):
        found = faults_of(Forecast(recipe=recipe, configs=configs, device=torch.device("cpu")))
        assert len([fault for fault in found if fault.startswith("tuned cannot put adapters on base")]) == count


def test_points_of_accuracy_need_a_verifier() -> None:
    facts = DataFacts(task="t", num_problems=8, num_documents=8, verifies=False)
    recipe = recipe_with()
    found = faults_of(
        Forecast(recipe=recipe, configs={}, device=torch.device("cpu"), sets={"lessons": facts, "pool": facts})
    )
    assert "teacher: dev asks for accuracy on data without a verifier; leave it out" in found
    assert "rl: pool has no verifier, so nothing of it can be rewarded" in found
    assert len(found) == 5  # the three controls as well
