"""Learning by reward: a model answers, its answers are graded, and it learns from what went better than expected.

In: a model, problems with a verifier, a configuration. Out: the same model, taught. Needs the ``train`` extra; but for
the rewards that trainers of others take (:mod:`spiritsafe.reinforce.trainers`), which need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.reinforce.alarms import Alarm, AlarmConfig, AlarmName
    from spiritsafe.reinforce.config import Control, ReinforceConfig
    from spiritsafe.reinforce.feed import Publish, RolloutFeed
    from spiritsafe.reinforce.loss.advantages import (
        Aggregation,
        Baseline,
        Scale,
        aggregation_weights,
        group_advantages,
        overlong_penalty,
    )
    from spiritsafe.reinforce.loss.objective import PolicyObjective
    from spiritsafe.reinforce.loss.policy_loss import PolicyLoss, PolicyMethod
    from spiritsafe.reinforce.pool import PoolConfig, PromptPool
    from spiritsafe.reinforce.rewards import RewardConfig, RewardKind
    from spiritsafe.reinforce.rounds.grading import ManyGrader
    from spiritsafe.reinforce.rounds.store import RewardedAnswer
    from spiritsafe.reinforce.run import ROUNDS_DIRECTORY, ReinforceResult, reinforce
    from spiritsafe.reinforce.trainers.trl import TrlReward, as_trl_reward, trl_dataset
    from spiritsafe.reinforce.trainers.verl import VerlReward, as_verl_reward, write_verl_rows
    from spiritsafe.training.data.rounds import ROUNDS_FILE
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "ROUNDS_DIRECTORY", "ROUNDS_FILE", "Aggregation", "Alarm", "AlarmConfig", "AlarmName", "Baseline", "Control",
    "ManyGrader", "PolicyLoss", "PolicyMethod", "PolicyObjective", "PoolConfig", "PromptPool", "Publish",
    "ReinforceConfig", "ReinforceResult", "RewardConfig", "RewardKind", "RewardedAnswer", "RolloutFeed", "Scale",
    "TrlReward", "VerlReward", "aggregation_weights", "as_trl_reward", "as_verl_reward", "group_advantages",
    "overlong_penalty", "reinforce", "trl_dataset", "write_verl_rows",
]  # fmt: skip
