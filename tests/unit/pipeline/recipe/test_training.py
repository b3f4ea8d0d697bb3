from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.training import TrainRecipe, default_rate, default_step
from spiritsafe.pipeline.steps.tune import TuneStep

ROUNDS = {"prompts_per_round": 2, "group_size": 2, "num_rounds": 1, "loss": {"method": "dapo"}}
TABLES: dict[str, Any] = {
    "name": "r",
    "models": {"base": {"source": "tiny:0"}},
    "data": {"lessons": {"task": "arith:sums", "problems": 8}},
}


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        (1_400_000, 1.4e-3, 1.6e-3),  # experiments/rl-cpu: 1.5e-3
        (135_000_000, 2e-4, 5e-4),  # experiments/quickstart: 3e-4
        (1_500_000_000, 0.8e-4, 1.6e-4),  # arXiv 2501.12948v2, Table 12: 1e-4
        (7_000_000_000, 5e-5, 1e-4),  # 8e-5
        (8_000_000_000, 5e-5, 1e-4),  # 5e-5
        (32_000_000_000, 3e-5, 6e-5),  # 6e-5
    ],
)
def test_the_rate_falls_with_the_size_as_published_ones_do(size: int, low: float, high: float) -> None:
    assert low <= default_rate(size) <= high


def test_adapters_take_larger_steps_and_rewards_smaller_ones() -> None:
    for size in (1_400_000, 135_000_000, 7_000_000_000):
        full, adapters, reward = (default_rate(size, way) for way in ("full", "adapters", "reward"))  # type: ignore[arg-type]
        assert reward < full < adapters <= 3e-3
    assert default_rate(1_400_000, "reward") == pytest.approx(3e-5, rel=0.3)  # experiments/rl-cpu
    assert default_rate(0) == default_rate(1) == 3e-3


def test_an_epoch_is_some_updates_whatever_the_size() -> None:
    assert default_step(135_000_000, 40_000) == 1250  # 32 updates
    assert default_step(135_000_000, 1e9) < default_step(7_000_000_000, 1e9)
    assert default_step(7_000_000_000, 0) == 256


def test_what_is_given_holds() -> None:
    given = TrainRecipe(learning_rate=0.5, tokens_per_step=77, micro_batch_tokens=88, max_tokens=99, weight_decay=0.0)
    made = given.config(10**9, epoch_tokens=1e6)
    assert (made.learning_rate, made.tokens_per_step, made.micro_batch_tokens) == (0.5, 77, 88)
    assert (made.max_tokens, made.max_epochs, made.max_steps, made.weight_decay) == (99, None, None, 0.0)
    assert TrainRecipe().config(10**9, epoch_tokens=1e6).max_epochs == 2
    assert TrainRecipe().config(10**9, epoch_tokens=1e6, max_steps=5).max_steps == 5
    assert TrainRecipe(max_steps=3).config(10**9, epoch_tokens=1e6).max_epochs is None


def refused(*steps: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_of({**TABLES, "steps": list(steps)})
    return caught.value.message


@pytest.mark.parametrize("kind", ["tune", "distil", "reinforce"])
def test_points_of_accuracy_and_budgets_name_what_can_give_them(kind: str) -> None:
    step: dict[str, Any] = {"kind": kind, "name": "s", "from": "base"}
    step |= {"on": ["lessons"], "config": ROUNDS} if kind == "reinforce" else {"learns": ["lessons"]}
    step |= {"teacher": "base"} if kind == "distil" else {}
    assert "'s': dev.on names 'lesons', which nothing is called: did you mean 'lessons'?" in refused(
        step | {"dev": {"on": "lesons"}}
    )
    assert "'base', which is a model: a data set is wanted there" in refused(step | {"dev": {"on": "base"}})
    if kind != "reinforce":
        assert "'base', which is given: nothing was spent on it" in refused(step | {"budget": {"of": "base"}})


def test_a_step_has_no_seed_of_its_own() -> None:
    given = {"name": "s", "from": "base", "learns": ["lessons"]}
    for part in ({"train": {"seed": 5}}, {"lora": {"seed": 5}}):
        with pytest.raises(ValueError, match="seed has no effect"):
            TuneStep.model_validate(given | part)


def test_a_base_is_below_adapters_and_no_older_recipe_knows_it() -> None:
    common = {"kind": "tune", "name": "x", "from": "base", "learns": ["lessons"]}
    with pytest.raises(ValidationError, match="add lora"):
        TuneStep.model_validate({**common, "base": "4bit"})
    assert "base" not in TuneStep.model_validate({**common, "lora": {"rank": 4}}).to_json()
    assert TuneStep.model_validate({**common, "lora": {"rank": 4}, "base": "8bit"}).to_json()["base"] == "8bit"
