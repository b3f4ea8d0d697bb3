from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from spiritsafe.models.transformers_backend.balance import router_loss_of


@pytest.mark.parametrize(
    ("kind", "changes", "coefficient", "num_chosen"),
    [
        ("mixtral", {"router_aux_loss_coef": 0.02}, 0.02, 2),
        ("qwen2_moe", {"num_experts_per_tok": 3}, 0.001, 3),
        ("qwen3_moe", {}, 0.001, 8),
        ("olmoe", {"router_aux_loss_coef": 0.05}, 0.05, 8),
    ],
)
def test_families_with_a_loss_have_their_configurations(
    kind: str, changes: dict[str, Any], coefficient: float, num_chosen: int
) -> None:
    loss, said = router_loss_of(AutoConfig.for_model(kind, **changes))
    assert loss is not None
    assert (loss.coefficient, loss.num_chosen) == (coefficient, num_chosen)
    assert f"= {coefficient:g}" in said


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("deepseek_v3", {}, "no balancing loss for its family"),
        ("glm4_moe", {}, "no balancing loss for its family"),
        ("mixtral", {"router_aux_loss_coef": 0.0}, "router_aux_loss_coef is 0"),
    ],
)
def test_families_without_one_are_told(kind: str, changes: dict[str, Any], why: str) -> None:
    loss, said = router_loss_of(AutoConfig.for_model(kind, **changes))
    assert loss is None
    assert why in said
    assert "evenly used" in said


def test_a_dense_model_has_nothing_to_balance() -> None:
    assert router_loss_of(AutoConfig.for_model("gpt_neox")) == (None, "")
