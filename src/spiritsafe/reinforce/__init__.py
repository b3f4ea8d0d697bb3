"""Learning by reward: a model answers, its answers are graded, and it learns from what went better than expected.

In: a model, problems with a verifier, a configuration. Out: the same model, taught. Needs the ``train`` extra.
"""

from spiritsafe.reinforce.advantages import (
    Aggregation,
    Baseline,
    Scale,
    aggregation_weights,
    group_advantages,
    overlong_penalty,
)
from spiritsafe.reinforce.alarms import Alarm, AlarmConfig, AlarmName
from spiritsafe.reinforce.config import Control, ReinforceConfig
from spiritsafe.reinforce.grading import ManyGrader
from spiritsafe.reinforce.objectives import Method, PolicyLoss
from spiritsafe.reinforce.policy_objective import PolicyObjective
from spiritsafe.reinforce.pool import PoolConfig, PromptPool
from spiritsafe.reinforce.rewards import RewardConfig, RewardKind
from spiritsafe.reinforce.rollout_feed import Publish, RolloutFeed
from spiritsafe.reinforce.running import ReinforceResult, reinforce

__all__ = [
    "Aggregation",
    "Alarm",
    "AlarmConfig",
    "AlarmName",
    "Baseline",
    "Control",
    "ManyGrader",
    "Method",
    "PolicyLoss",
    "PolicyObjective",
    "PoolConfig",
    "PromptPool",
    "Publish",
    "ReinforceConfig",
    "ReinforceResult",
    "RewardConfig",
    "RewardKind",
    "RolloutFeed",
    "Scale",
    "aggregation_weights",
    "group_advantages",
    "overlong_penalty",
    "reinforce",
]
