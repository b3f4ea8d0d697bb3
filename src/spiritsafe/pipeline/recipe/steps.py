"""What a recipe says of a step: which earlier model or data it starts from, and what it makes of them.

In: the tables of a recipe's ``[[steps]]``. Out: frozen records. Three kinds: "reinforce" (reinforcement learning with
verifiable rewards), "sample" (answers worth learning from: a model's verified attempts, or worked solutions), "tune"
(fine-tuning on such answers). Whether the names fit together is :mod:`spiritsafe.pipeline.recipe.graph`'s business.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spiritsafe.core.records import Record, Sampling
from spiritsafe.models import LoraConfig
from spiritsafe.pipeline.recipe.students import MOST_REPEATS, BudgetRecipe
from spiritsafe.reinforce import Control, ReinforceConfig
from spiritsafe.training import TrainConfig

WORKED = "worked"
"""The worked solutions that come with a task."""

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class CompareRecipe(Record):
    """Two ways to a model, side by side in the report: problem by problem, their seeds added up.

    Attributes:
        first: A student or step, with all its repetitions; or "base" or "teacher".
        second: What it is compared with, repeated as often.
    """

    first: str
    second: str


class ProbeRecipe(Record):
    """What a model can do at all: many tries at each of some dev problems, before and after.

    Attributes:
        problems: Of the dev bucket; 0 makes no probe.
        num_samples: Tries at each; pass@k is estimated without bias for k up to this.
    """

    problems: int = Field(default=64, ge=0)
    num_samples: int = Field(default=8, ge=1)


class _Step(Record):
    """What every step has. ``from`` is a word of Python, so the attribute is ``start``."""

    name: str = Field(pattern=_NAME)
    start: str = Field(alias="from")
    task: str | None = None

    @model_serializer(mode="wrap")
    def _under_its_own_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A resolved recipe is a recipe: the key is written as it is read."""
        return {"from" if key == "start" else key: value for key, value in handler(self).items()}


@final
class SampleStep(_Step):
    """Answers worth learning from, each accepted by the verifier.

    Attributes:
        name: Of the set of answers.
        from: The model that answers (rejection sampling), or "worked": the solutions that come with the task.
        task: Whose problems; None: the recipe's task.
        problems: Of the train bucket, apart from those of every other step.
        num_samples: Attempts at each.
        keep: Most verified attempts kept of one problem.
        sampling: How tokens are drawn.
        shard_size: Problems that are written (and resumed) together.
        direct_share: Of worked solutions, the share cut to their answer alone, as ``teach.direct_share`` does.
    """

    kind: Literal["sample"] = "sample"
    problems: int = Field(ge=1)
    num_samples: int = Field(default=1, ge=1)
    keep: int = Field(default=1, ge=1)
    sampling: Sampling | None = None
    shard_size: int = Field(default=128, ge=1)
    direct_share: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        if self.start != WORKED and self.direct_share:
            raise ValueError("direct_share cuts worked solutions; this step takes a model's attempts, leave it out")
        if self.start == WORKED:
            given = {"num_samples", "keep", "sampling", "shard_size"} & self.model_fields_set
            useless = {name for name in given if getattr(self, name) != type(self).model_fields[name].default}
            if useless:
                raise ValueError(f"{', '.join(sorted(useless))}: no effect on worked solutions, leave it out")
        elif self.sampling is None:
            raise ValueError("give sampling: how the model's attempts are drawn")
        return self


def _refuse_seed(train: TrainConfig, lora: LoraConfig | None) -> None:
    for name, part in (("train", train), ("lora", lora)):
        if part is not None and part.seed != 0:
            raise ValueError(f"{name}.seed has no effect: the recipe's seed gives each step its own, leave it out")


@final
class ReinforceStep(_Step):
    """Reinforcement learning with verifiable rewards.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from: "base", "teacher", a student, a step.
        task: What it is rewarded for; None: the recipe's task.
        problems: Size of the pool of training problems.
        config: Rounds, groups, loss, reward, alarms.
        train: How to train; ``max_steps`` is rounds times steps a round.
        lora: Train a low-rank correction only; it is merged into the weights of the model that is made.
        controls: Siblings trained alike but for one thing: "random": a coin is the reward; "format": any answer that
            can be read is rewarded; "rft": right answers are learnt by fine-tuning, wrong ones not at all (rejection
            sampling), on as many drawn answers.
        repeat: Make so many models, alike but for the seed; they are called name-1, name-2 and so on.
        probe: How pass@k is measured before and after.
        graders: Worker processes that grade; 0: this process does. None: this process for verifiers whose time is
            bounded by the text, as many workers as there are cores for others.
    """

    kind: Literal["reinforce"] = "reinforce"
    problems: int = Field(ge=1)
    config: ReinforceConfig
    train: TrainConfig
    lora: LoraConfig | None = None
    controls: tuple[Control, ...] = ()
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    probe: ProbeRecipe = ProbeRecipe()
    graders: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        if self.train.max_steps != self.config.num_steps:
            raise ValueError(f"set train.max_steps to {self.config.num_steps}: rounds × steps_per_round of config")
        if self.train.max_epochs is not None or self.train.max_tokens is not None:
            raise ValueError("max_epochs and max_tokens have no effect on a step that is rounds long")
        if self.config.seed != 0:
            raise ValueError("config.seed has no effect: the recipe's seed gives each step its own, leave it out")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("a control is named twice")
        if self.controls and self.config.reward.kind != "verifier":
            raise ValueError(f'controls stand beside a real reward; this one is "{self.config.reward.kind}"')
        if "rft" in self.controls and self.config.loss.method == "rft":
            raise ValueError('the control "rft" is what this step does itself: leave it out')
        _refuse_seed(self.train, self.lora)
        return self


@final
class TuneStep(_Step):
    """Fine-tuning on sets of answers.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from.
        task: Decides only which dev problems the curve is measured on; None: the recipe's task.
        traces: Name of a set of answers, and the most documents taken of it: "worked", "sampled", sample steps.
        budget: Train for as many operations as another model took.
        train: How to train.
        lora: Train a low-rank correction only; it is merged into the weights of the model that is made.
        repeat: Make so many models, alike but for the seed; they are called name-1, name-2 and so on.
    """

    kind: Literal["tune"] = "tune"
    traces: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    budget: BudgetRecipe | None = None
    train: TrainConfig
    lora: LoraConfig | None = None
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        _refuse_seed(self.train, self.lora)
        return self


StepRecipe = Annotated[ReinforceStep | SampleStep | TuneStep, Field(discriminator="kind")]
"""One table of ``[[steps]]``."""
