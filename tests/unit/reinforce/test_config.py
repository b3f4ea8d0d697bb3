from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from reinforce_parts import CONFIG, config

from spiritsafe.core.records import Sampling
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rewards import RewardConfig


def test_a_resolved_configuration_is_a_configuration() -> None:
    assert ReinforceConfig.from_json(CONFIG.to_json()) == CONFIG
    assert CONFIG.num_steps == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": Sampling(temperature=0.0)}, "at temperature 0 all answers"),
        ({"sampling": Sampling(top_p=0.9)}, "a truncated distribution"),
        ({"sampling": Sampling(top_k=50)}, "a truncated distribution"),
        ({"sampling": Sampling(min_p=0.1)}, "a truncated distribution"),
        ({"sampling": Sampling(temperature=0.7)}, "sampling.temperature is 0.7, loss.temperature 1.0"),
        ({"steps_per_round": 5}, "4 groups cannot feed 5 steps"),
        ({"group_size": 1}, "set group_size to 2"),
        ({"reward": RewardConfig(overlong_buffer=15)}, "overlong_buffer is 15, sampling.max_tokens 14"),
        (
            {"loss": PolicyLoss(method="rft"), "reward": RewardConfig(overlong_buffer=5)},
            "overlong_buffer has no effect",
        ),
    ],
)
def test_what_cannot_take_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_one_answer_is_enough_for_fine_tuning_on_right_ones() -> None:
    assert config(group_size=1, loss=PolicyLoss(method="rft")).group_size == 1


@pytest.mark.parametrize("kind", ["random", "format", "rft"])
def test_a_control_differs_in_one_thing(kind: Any) -> None:
    arm = config(reward=RewardConfig(partial=True, overlong_buffer=4, grades_truncated=True))
    control = arm.control(kind)
    assert ReinforceConfig.from_json(control.to_json()) == control
    different = {name for name in ReinforceConfig.model_fields if getattr(control, name) != getattr(arm, name)}
    assert different == ({"loss", "reward"} if kind == "rft" else {"reward"})
    expected = {
        "random": RewardConfig(kind="random"),
        "format": RewardConfig(kind="format", overlong_buffer=4, grades_truncated=True),
        "rft": RewardConfig(partial=True, grades_truncated=True),
    }
    assert control.reward == expected[kind]
    if kind == "rft":
        assert control.loss == PolicyLoss(method="rft")
        assert config().control("rft").reward == config().reward
