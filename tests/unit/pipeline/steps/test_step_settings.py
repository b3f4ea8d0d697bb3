from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.steps.capture import CaptureStep
from spiritsafe.pipeline.steps.reinforce import ReinforceStep
from spiritsafe.pipeline.steps.sample import SampleStep
from spiritsafe.pipeline.steps.tune import TuneStep

CONFIG: dict[str, Any] = {
    "prompts_per_round": 4,
    "group_size": 2,
    "num_rounds": 3,
    "loss": {"method": "dapo"},
}


def reinforce(**changes: Any) -> ReinforceStep:
    return ReinforceStep.model_validate({"name": "rl", "from": "teacher", "on": ["pool"], "config": CONFIG} | changes)


def tune(**changes: Any) -> TuneStep:
    return TuneStep.model_validate({"name": "t", "from": "base", "learns": {"lessons": 4}} | changes)


def sample(**changes: Any) -> SampleStep:
    return SampleStep.model_validate({"name": "s", "from": "rl", "on": ["pool"]} | changes)


def capture(**changes: Any) -> CaptureStep:
    return CaptureStep.model_validate({"name": "c", "from": "t", "learns": ["lessons"]} | changes)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (reinforce, {"train": {"max_steps": 3}}, "rounds long"),
        (reinforce, {"train": {"max_epochs": 1}}, "rounds long"),
        (reinforce, {"config": CONFIG | {"seed": 5}}, "config.seed"),
        (reinforce, {"train": {"seed": 5}}, "train.seed"),
        (reinforce, {"lora": {"seed": 5}}, "lora.seed"),
        (reinforce, {"controls": ["random", "random"]}, "twice"),
        (reinforce, {"controls": ["format"], "config": CONFIG | {"reward": {"kind": "random"}}}, "real reward"),
        (reinforce, {"controls": ["rft"], "config": CONFIG | {"loss": {"method": "rft"}}}, "itself"),
        (reinforce, {"controls": ["coin"]}, "random"),
        (reinforce, {"name": "RL"}, "pattern"),
        (reinforce, {"on": []}, "at least 1"),
        (sample, {"on": []}, "at least 1"),
        (sample, {"keep": "best"}, "verified"),
        (sample, {"num_samples": 0}, "greater"),
        (tune, {"learns": {}}, "at least one"),
        (tune, {"learns": {"lessons": 0}}, "greater"),
        (tune, {"train": {"seed": 5}}, "train.seed"),
        (tune, {"budget": {"of": "rl", "share": 0.0}}, "greater"),
        (capture, {"config": {"seed": 5}}, "config.seed"),
        (capture, {"learns": []}, "at least one"),
    ],
)
def test_what_could_not_take_effect_is_refused(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_a_step_is_written_as_it_is_read() -> None:
    for step in (reinforce(controls=["random"]), sample(), tune(budget={"of": "rl"}), capture()):
        value = step.to_json()
        assert value["from"] == step.origin
        assert "origin" not in value
        assert type(step).from_json(value) == step


@pytest.mark.parametrize(
    ("override", "where", "hint"),
    [
        ("steps.rl.problms=3", "steps.2.problms", "'probe'"),
        ("steps.rl.config.group_sise=3", "steps.2.config.group_sise", "'group_size'"),
        ("steps.rl.config.loss.clip_hi=0.2", "steps.2.config.loss.clip_hi", "'clip_high'"),
        ("steps.harvest.tracez=3", "steps.3.tracez", "Known here: from, keep"),
        ("steps.tuned.sampling={}", "steps.4.sampling", "learns"),
        ("steps.tuned.fromm=1", "steps.4.fromm", "'from'"),
    ],
)
def test_unknown_keys_of_each_kind_name_the_nearest_known_one(override: str, where: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert f"'{where}'" in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_kind_says_which_there_are() -> None:
    with pytest.raises(RecipeError, match=r"steps\.2: there is no step of this kind, 'rienforce'") as caught:
        load_recipe("tiny", ('steps.rl.kind="rienforce"',))
    assert "Did you mean 'reinforce'?" in caught.value.hint


def test_settings_reach_steps() -> None:
    recipe, _ = load_recipe("tiny", ("steps.rl.config.num_rounds=3",))
    step = recipe.steps[2]
    assert isinstance(step, ReinforceStep)
    assert step.config.num_steps == 3
    assert step.train_config(1000).max_steps == 3
    assert Recipe.from_json(recipe.to_json()) == recipe
