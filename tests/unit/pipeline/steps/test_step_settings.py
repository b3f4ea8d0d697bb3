from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.steps.reinforce import ReinforceStep
from spiritsafe.pipeline.steps.sample import SampleStep
from spiritsafe.pipeline.steps.tune import TuneStep

TRAIN: dict[str, Any] = {"learning_rate": 1e-3, "tokens_per_step": 64, "micro_batch_tokens": 64}
CONFIG: dict[str, Any] = {
    "prompts_per_round": 4,
    "group_size": 2,
    "num_rounds": 3,
    "loss": {"method": "dapo"},
}


def reinforce(**changes: Any) -> ReinforceStep:
    given = {"name": "rl", "from": "teacher", "problems": 8, "config": CONFIG, "train": TRAIN | {"max_steps": 3}}
    return ReinforceStep.model_validate(given | changes)


def tune(**changes: Any) -> TuneStep:
    given = {"name": "t", "from": "base", "traces": {"worked": 4}, "train": TRAIN | {"max_epochs": 1}}
    return TuneStep.model_validate(given | changes)


def sample(**changes: Any) -> SampleStep:
    return SampleStep.model_validate({"name": "s", "from": "rl", "problems": 8, "sampling": {}} | changes)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (reinforce, {"train": TRAIN | {"max_steps": 4}}, "max_steps to 3"),
        (reinforce, {"train": TRAIN | {"max_steps": 3, "max_epochs": 1}}, "rounds long"),
        (reinforce, {"config": CONFIG | {"seed": 5}}, "config.seed"),
        (reinforce, {"train": TRAIN | {"max_steps": 3, "seed": 5}}, "train.seed"),
        (reinforce, {"lora": {"seed": 5}}, "lora.seed"),
        (reinforce, {"controls": ["random", "random"]}, "twice"),
        (reinforce, {"controls": ["format"], "config": CONFIG | {"reward": {"kind": "random"}}}, "real reward"),
        (reinforce, {"controls": ["rft"], "config": CONFIG | {"loss": {"method": "rft"}}}, "itself"),
        (reinforce, {"controls": ["coin"]}, "random"),
        (reinforce, {"name": "RL"}, "pattern"),
        (sample, {"sampling": None}, "give sampling"),
        (sample, {"from": "worked", "sampling": None, "num_samples": 2}, "num_samples: no effect"),
        (sample, {"from": "worked"}, "sampling: no effect"),
        (sample, {"direct_share": 0.5}, "cuts worked solutions"),
        (tune, {"traces": {}}, "at least 1"),
        (tune, {"traces": {"worked": 0}}, "greater"),
        (tune, {"train": TRAIN | {"max_epochs": 1, "seed": 5}}, "train.seed"),
        (tune, {"budget": {"of": "rl", "share": 0.0}}, "greater"),
    ],
)
def test_what_could_not_take_effect_is_refused(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_a_step_is_written_as_it_is_read() -> None:
    for step in (reinforce(controls=["random"]), sample(), tune(budget={"of": "rl"})):
        value = step.to_json()
        assert value["from"] == step.start
        assert "start" not in value
        assert type(step).from_json(value) == step


def test_worked_solutions_need_no_sampling() -> None:
    assert sample(**{"from": "worked", "sampling": None}).start == "worked"


@pytest.mark.parametrize(
    ("override", "where", "hint"),
    [
        ("steps.0.problms=3", "steps.0.problms", "'problems'"),
        ("steps.0.config.group_sise=3", "steps.0.config.group_sise", "'group_size'"),
        ("steps.0.config.loss.clip_hi=0.2", "steps.0.config.loss.clip_hi", "'clip_high'"),
        ("steps.1.tracez=3", "steps.1.tracez", "Known here: direct_share, from, keep"),
        ("steps.2.sampling={}", "steps.2.sampling", "traces"),
        ("steps.2.fromm=1", "steps.2.fromm", "'from'"),
    ],
)
def test_unknown_keys_of_each_kind_name_the_nearest_known_one(override: str, where: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert f"'{where}'" in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_kind_says_which_there_are() -> None:
    with pytest.raises(RecipeError, match=r"steps\.0") as caught:
        load_recipe("tiny", ('steps.0.kind="distil"',))
    assert "reinforce" in caught.value.hint


def test_settings_reach_steps() -> None:
    recipe, _ = load_recipe("tiny", ("steps.0.config.num_rounds=3", "steps.0.train.max_steps=3"))
    step = recipe.steps[0]
    assert isinstance(step, ReinforceStep)
    assert step.config.num_steps == 3
    assert Recipe.from_json(recipe.to_json()) == recipe
