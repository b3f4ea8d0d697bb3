"""How a model learns by reward: how many problems a round asks, what is rewarded, which loss, when to warn.

In: a :class:`ReinforceConfig`. Out: sampling and limits of each round; and the configurations of an arm's controls,
which differ from it in the one thing that they are to control for.
"""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, Sampling
from spiritsafe.reinforce.alarms import AlarmConfig
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.pool import PoolConfig
from spiritsafe.reinforce.rewards import RewardConfig

Control = Literal["random", "format", "rft"]


@final
class ReinforceConfig(Record):
    """Rounds of answering and learning.

    Attributes:
        prompts_per_round: Groups that a round learns from, and problems that it asks first.
        group_size: Answers to each problem.
        steps_per_round: Updates that one round feeds, spread evenly over its groups; each answer is used once.
        num_rounds: Rounds of the run.
        sampling: How answers are drawn: at a temperature, and from the whole distribution, because the loss knows no
            other.
        loss: Which loss.
        reward: What is rewarded.
        refills: Most further draws of a round, to replace groups without an advantage (DAPO's dynamic sampling,
            arXiv 2503.14476 §3.2).
        pool: How pass rates set which problems come.
        alarms: When to warn and when to end.
        seed: Root of all draws.
    """

    prompts_per_round: int = Field(default=32, ge=1)
    group_size: int = Field(default=8, ge=1)
    steps_per_round: int = Field(default=1, ge=1)
    num_rounds: int = Field(default=50, ge=1)
    sampling: Sampling = Field(default_factory=Sampling)
    loss: PolicyLoss = PolicyLoss(method="dapo")
    reward: RewardConfig = Field(default_factory=RewardConfig)
    refills: int = Field(default=3, ge=0)
    pool: PoolConfig = Field(default_factory=PoolConfig)
    alarms: AlarmConfig = Field(default_factory=AlarmConfig)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _options_can_take_effect(self) -> Self:
        sampling, loss = self.sampling, self.loss
        if sampling.temperature == 0.0:
            raise ValueError("at temperature 0 all answers to a problem are equal; set sampling.temperature to 1")
        if (sampling.top_p, sampling.top_k, sampling.min_p) != (1.0, 0, 0.0):
            raise ValueError(
                "a truncated distribution is not the one that the loss differentiates; set top_p to 1, top_k and min_p "
                "to 0"
            )
        if sampling.temperature != loss.temperature:
            raise ValueError(f"sampling.temperature is {sampling.temperature}, loss.temperature {loss.temperature}")
        if self.steps_per_round > self.prompts_per_round:
            raise ValueError(f"{self.prompts_per_round} groups cannot feed {self.steps_per_round} steps")
        if self.group_size < 2 and loss.baseline != "none":
            raise ValueError("an answer is compared with others to the same problem; set group_size to 2 or more")
        if self.reward.overlong_buffer > sampling.max_tokens:
            raise ValueError(
                f"reward.overlong_buffer is {self.reward.overlong_buffer}, sampling.max_tokens {sampling.max_tokens}"
            )
        if loss.method == "rft" and self.reward.overlong_buffer:
            raise ValueError("rft learns from right answers alone; reward.overlong_buffer has no effect")
        return self

    @property
    def num_steps(self) -> int:
        """Updates of the run."""
        return self.num_rounds * self.steps_per_round

    @property
    def compares_with_old(self) -> bool:
        """Whether its loss compares the model with what it was at the start of a round, before other updates."""
        return self.steps_per_round > 1 and self.loss.clips

    def control(self, kind: Control) -> ReinforceConfig:
        """The same run with one thing changed, to see what that thing does.

        Args:
            kind: "random": a coin is the reward. "format": any readable answer is rewarded. "rft": right answers are
                learnt by fine-tuning (rejection sampling), on as many drawn tokens.
        """
        changes: dict[str, object] = {}
        if kind == "random":
            changes["reward"] = RewardConfig(kind="random")
        elif kind == "format":
            changes["reward"] = self.reward.model_copy(update={"kind": "format", "partial": False})
        else:
            changes["loss"] = PolicyLoss(method="rft", temperature=self.loss.temperature)
            changes["reward"] = self.reward.model_copy(update={"overlong_buffer": 0})
        return ReinforceConfig.model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)
