"""What steps that train a model have in common: how they train, adapters, repetitions, dev points, a budget."""

from __future__ import annotations

import importlib.util
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from spiritsafe.core.errors import BudgetError
from spiritsafe.models import LoraConfig, adapter_fault, decoder_config, saved_dtype, size_of
from spiritsafe.pipeline.compute import Compute, affordable_tokens
from spiritsafe.pipeline.plan.memory import Beside, check_memory, training_peak
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import BudgetedRecipe, TrainedRecipe
from spiritsafe.pipeline.stages.training import dev_set
from spiritsafe.pipeline.step import Config, Forecast, Step
from spiritsafe.training import TrainConfig

ON_TRACES = "cross-entropy on traces"


def is_first(recipe: Recipe, name: str) -> bool:
    """Whether nothing heavy runs before the stage that makes it."""
    return recipe.made[0].name == name


class TrainedStep(TrainedRecipe, Step):
    """A step that trains the model it starts from, all of it or adapters that are merged then."""

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """Of the model that it starts from, in the number format that it is saved in."""
        config = super().config_of(configs)
        if config is None:
            return None
        return {**config, "dtype": str(saved_dtype(self.save_dtype, config)).removeprefix("torch.")}

    def training(self) -> TrainedRecipe | None:
        """Itself."""
        return self

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Adapters go on layers that are known, by a library where no Decoder is; so do 8-bit moments.

        Dev problems need a verifier.
        """
        found = []
        config = forecast.configs.get(self.origin)
        if self.lora is not None and config is not None and decoder_config(config) is None:
            if why := adapter_fault(config, self.lora.targets):
                found.append(f"{node.name} cannot put adapters on {self.origin}: transformers runs it, and {why}")
            elif importlib.util.find_spec("peft") is None:
                found.append(
                    f"{node.name}: transformers runs {self.origin}, so adapters on it need peft: "
                    "run `pip install 'spiritsafe[adapters]'`"
                )
        if self.dev is not None:
            facts = forecast.sets.get(dev_set(self, forecast.recipe))
            if facts is not None and not facts.verifies:
                found.append(f"{node.name}: dev asks for accuracy on data without a verifier; leave it out")
        if self.train.moments == "8bit" and importlib.util.find_spec("bitsandbytes") is None:
            found.append(
                f"{node.name}: train.moments = \"8bit\" needs bitsandbytes: run `pip install 'spiritsafe[quant]'`"
            )
        return [*found, *self._memory_faults(node, forecast)]

    def _memory_faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Not even one document at a time fits this machine, with activations recomputed."""
        config = self._own_config(node, forecast)
        if config is None or decoder_config(config) is None:
            return []
        train, device = self.planned_train(forecast, config), forecast.device
        beside = self.beside(forecast, config)
        length = max(1, math.ceil(forecast.size_of((*self.needs.problems, *self.needs.sets)).num_tokens))
        try:
            check_memory(config, train, [length], device=device, beside=beside)
        except BudgetError as error:
            said = f"{node.name}: {error.message}"
            if self.lora is None:
                least = train.model_copy(update={"micro_batch_tokens": length, "tokens_per_step": length})
                lighter = replace(beside, lora=LoraConfig(rank=16))
                sizes = [training_peak(least, config, device, replace(lighter, base=base)) for base in (None, "4bit")]
                said += (
                    f" `lora = {{ rank = 16 }}` would take {sizes[0] / 1e9:.1f} GB, "
                    f'with `base = "4bit"` {sizes[1] / 1e9:.1f} GB'
                )
            return [said.rstrip(".")]
        return []

    def stages_before(self, node: Node, recipe: Recipe) -> tuple[str, ...]:
        """What it is made of, and the data set that dev problems are of."""
        dev = () if self.dev is None else (dev_set(self, recipe),)
        return tuple(dict.fromkeys((*node.needs, *dev)))

    def _own_config(self, node: Node, forecast: Forecast) -> Config | None:
        """Of the model that is trained, in the number format that it comes in."""
        config, start = forecast.configs.get(node.name), forecast.configs.get(self.origin)
        if config is None or start is None:
            return config
        return {**config, "dtype": start.get("dtype") or start.get("torch_dtype")}

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Training."""
        config = self._own_config(node, forecast)
        if config is None:
            return None
        beside = replace(self.beside(forecast, config), is_first=is_first(forecast.recipe, node.name))
        return training_peak(self.planned_train(forecast, config), config, forecast.device, beside)

    @abstractmethod
    def planned_train(self, forecast: Forecast, config: Config) -> TrainConfig:
        """How it will train, as far as it is known beforehand."""

    @abstractmethod
    def beside(self, forecast: Forecast, config: Config) -> Beside:
        """What is in memory beside the model that is trained."""


class BudgetedStep(BudgetedRecipe, TrainedStep):
    """One that may train for as many operations as another model took."""

    def budgeted(
        self,
        train: TrainConfig,
        own: Config,
        answers: Sequence[str],
        forecast: Forecast,
        *,
        teacher_parameters: int = 0,
    ) -> TrainConfig:
        """How to train with the tokens that the budget will allow, by what the other model is expected to take.

        Args:
            train: How to train without it.
            own: ``config.json`` of the model that learns.
            answers: Sets and signals whose drawing counts.
            forecast: Of the run, with the costs of earlier stages.
            teacher_parameters: Active ones of a teacher that reads along; 0: none.
        """
        other = None if self.budget is None else forecast.configs.get(self.budget.of)
        if self.budget is None or other is None:
            return train
        by_name = {cost.name: cost for cost in forecast.before}
        spent = by_name.get(self.budget.of)
        allowed = 0.0
        if spent is not None:
            active = _active(other)
            took = Compute.generating(spent.sampled_tokens, active) + Compute.training(spent.trained_tokens, active)
            allowed = self.budget.share * took.flops
        drawn = 0
        for name in answers:
            writers = forecast.recipe.node(name).recipe.needs.models
            writer = forecast.configs.get(writers[0]) if writers else None
            if name in by_name and writer is not None:
                cost, active = by_name[name], _active(writer)
                took = Compute.generating(cost.sampled_tokens, active) + Compute.reading(cost.read_tokens, active)
                drawn += took.flops
        tokens = max(1, affordable_tokens(int(allowed - drawn), _active(own), teacher_parameters=teacher_parameters))
        return train.model_copy(update={"max_tokens": min(tokens, train.max_tokens or tokens)})


def _active(config: Mapping[str, Any]) -> int:
    return size_of(config).num_active
