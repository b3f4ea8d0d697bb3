"""What a recipe says of training: every key has a default that suits the model's size and the amount of text.

In: a ``train`` table, the model's number of parameters, tokens of one pass. Out: a
:class:`~spiritsafe.training.TrainConfig`. The rates are those that our own runs took at 1.4 M and 135 M parameters
(experiments/rl-cpu, experiments/quickstart), on one line in the logarithms that meets what DeepSeek-R1's students were
made with (arXiv 2501.12948v2: 1e-4 at 1.5 B, 8e-5 at 7 B, 5e-5 at 8 B, 6e-5 at 32 B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, Sampling, omit_default
from spiritsafe.models import LoraConfig, WeightFormat
from spiritsafe.pipeline.recipe.graph import misfit
from spiritsafe.pipeline.recipe.made import MOST_REPEATS, BudgetRecipe, FromEntry, Name, Needs
from spiritsafe.training import TrainConfig, TrainSettings

SaveDtype = Literal["auto", "float32", "bfloat16"]
"""In which number format a model is written: rounded to nearest, ties to even, once, when all is learnt."""

Way = Literal["full", "adapters", "reward", "grid"]
"""What sets the size of a step: all weights learn, a low-rank correction does, a reward is the teacher, or weights are
moved on the grid of a quantised file."""

_RATE, _AT, _EXPONENT = 1.5e-3, 1.4e6, -0.35
_WAYS: dict[Way, float] = {"full": 1.0, "adapters": 10.0, "reward": 1 / 40, "grid": 1 / 6}
_MOST_RATES: dict[Way, float] = {"grid": 5e-5}
"""A small model's weights are already where they belong: larger steps trade one kind of text for another."""
_MOST_RATE = 3e-3
_EPOCHS = 2
_LEAST_STEPS = 32
"""Updates that one pass over the documents gives at least: of fewer a model learns little."""


class TrainRecipe(TrainSettings):
    """How to train.

    Attributes:
        learning_rate: At its peak, after warm-up; None: by the model's size.
        tokens_per_step: Tokens (prompts included) that one update aims at; None: by the model's size and the amount of
            text.
        micro_batch_tokens: Most tokens in memory at once; None: 4,096, fewer where memory is short.
    """

    learning_rate: float | None = Field(default=None, gt=0.0)
    tokens_per_step: int | None = Field(default=None, ge=1)
    micro_batch_tokens: int | None = Field(default=None, ge=1)

    def config(
        self, num_parameters: int, *, epoch_tokens: float, way: Way = "full", max_steps: int | None = None
    ) -> TrainConfig:
        """With every default in its place.

        Args:
            num_parameters: Of the model that learns.
            epoch_tokens: Of one pass over what it learns from.
            max_steps: What the step itself takes, where it is rounds long.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields}
        per_step = self.tokens_per_step or default_step(num_parameters, epoch_tokens)
        defaults = {
            "learning_rate": self.learning_rate or default_rate(num_parameters, way),
            "tokens_per_step": per_step,
            "micro_batch_tokens": self.micro_batch_tokens or 4096,
        }
        if max_steps is not None:
            defaults["max_steps"] = max_steps
        elif not self.is_limited:
            defaults["max_epochs"] = _EPOCHS
        return TrainConfig.model_validate({**given, **defaults})


def default_rate(num_parameters: int, way: Way = "full") -> float:
    """A learning rate for a model of this size, to two digits."""
    rate = min(_MOST_RATES.get(way, _MOST_RATE), _WAYS[way] * _RATE * (max(num_parameters, 1) / _AT) ** _EXPONENT)
    return float(f"{rate:.1e}")


def default_step(num_parameters: int, epoch_tokens: float) -> int:
    """Tokens of an update: more for larger models, but so few that a pass over the documents is some updates."""
    by_size: int = 2 ** round(11 + max(0.0, math.log10(max(num_parameters, 1) / 1e7)) * 1.5)
    return max(256, min(by_size, math.ceil(epoch_tokens / _LEAST_STEPS)))


class DevRecipe(Record):
    """Points of accuracy on the learning curve, on problems of the dev bucket.

    Attributes:
        problems: How many.
        on: The data set whose task they are of; None: the first that the step learns from or asks.
        sampling: How the model answers.
    """

    problems: int = Field(default=64, ge=1)
    on: Name | None = None
    sampling: Sampling = Sampling(temperature=0.0)


class TrainedRecipe(FromEntry):
    """A step that trains the model it starts from, all of it or adapters that are merged then.

    Attributes:
        train: How to train.
        lora: Train a low-rank correction only; it is merged into the weights of the model that is made. On a model that
            transformers runs it needs ``pip install 'spiritsafe[adapters]'``.
        base: With ``lora``: hold the weights below it in "8bit" or "4bit" while it learns (QLoRA). What is made is
            those weights, as the codes have them, with the correction merged in. Needs
            ``pip install 'spiritsafe[quant]'``.
        repeat: Make so many models, alike but for the seed; they are called name-1, name-2 and so on.
        dev: Points of accuracy on the learning curve.
        save_dtype: Number format of the model that is made: "float32", "bfloat16", or "auto": bfloat16 where the model
            it starts from is stored in 16 bits, else float32. Training computes with float32 masters all the same.
    """

    train: TrainRecipe = TrainRecipe()
    lora: LoraConfig | None = None
    base: WeightFormat | None = omit_default(None)
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    dev: DevRecipe | None = None
    save_dtype: SaveDtype = omit_default("auto")

    @model_validator(mode="after")
    def _base_is_below_adapters(self) -> Self:
        if self.base is not None and self.lora is None:
            raise ValueError(f'base = "{self.base}" holds frozen weights: add lora, which learns in their place')
        return self

    def refuse_seeds(self) -> None:
        """Refuse seeds of its own."""
        for name, part in (("train", self.train), ("lora", self.lora)):
            if part is not None and part.seed != 0:
                raise ValueError(f"{name}.seed has no effect: the recipe's seed gives each step its own, leave it out")

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """Points of accuracy are on a data set."""
        if self.dev is None or self.dev.on is None:
            return []
        said = misfit(self.dev.on, {node.name: node.recipe.outcome for node in nodes}, ("problems",))
        return [f"{self.name!r}: dev.on names {said}"] if said else []

    @property
    def way(self) -> Way:
        """What the default learning rate depends on."""
        return "full" if self.lora is None else "adapters"

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return super().one_of(name, one).model_copy(update={"repeat": 1})


class BudgetedRecipe(TrainedRecipe):
    """One that may train for as many operations as another model took.

    Attributes:
        budget: Train for as many operations as another model took.
    """

    budget: BudgetRecipe | None = None

    @property
    def needs(self) -> Needs:
        """Its start, and the model whose cost is its budget."""
        budget = () if self.budget is None else (self.budget.of,)
        return replace(super().needs, waits_for=budget)

    def faults_among(self, nodes: Sequence[Any]) -> list[str]:
        """A budget is of a model that something was spent on."""
        found = super().faults_among(nodes)
        given = [node.name for node in nodes if node.makes_model and not node.made_of]
        if self.budget is not None and self.budget.of in given:
            found.append(f"{self.name!r}: budget.of names {self.budget.of!r}, which is given: nothing was spent on it")
        return found

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        budget = None if self.budget is None else self.budget.model_copy(update={"of": one(self.budget.of)})
        return super().one_of(name, one).model_copy(update={"budget": budget})

    def budget_words(self) -> str:
        """A budget in the plan."""
        return "" if self.budget is None else f", as many operations as {self.budget.share:g} of {self.budget.of}"
