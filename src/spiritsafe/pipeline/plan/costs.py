"""What each stage of a recipe costs, before it is run.

In: a recipe, the base model's ``config.json``, the size of a typical document. Out: one
:class:`~spiritsafe.pipeline.plan.stage_cost.StageCost` a stage, as the kinds of steps tell it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from spiritsafe.models import size_of
from spiritsafe.pipeline.compute import Compute, affordable_tokens
from spiritsafe.pipeline.plan.memory import planned_device
from spiritsafe.pipeline.plan.stage_cost import DocumentSize, StageCost, joined, sampling_cost
from spiritsafe.pipeline.recipe.made import BudgetRecipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import Forecast, step_of
from spiritsafe.training import TrainConfig


def model_configs(
    recipe: Recipe, config: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Mapping[str, Any]]:
    """The ``config.json`` of every model of a recipe, as far as it can be told beforehand.

    Args:
        sources: Of students' own sources; one that is not there is taken to be as large as the base model.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    configs: dict[str, Mapping[str, Any]] = {"base": config}
    for node in recipe.made:
        if node.makes_model:
            configs[node.name] = step_of(node).config_of(configs, sources or {})
    return configs


def stage_costs(
    recipe: Recipe,
    config: Mapping[str, Any],
    size: DocumentSize,
    *,
    sizes: Mapping[str, DocumentSize] | None = None,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[StageCost]:
    """Every stage that computes, in order.

    Args:
        config: The base model's ``config.json``.
        size: Of a typical document of the recipe's task.
        sizes: Of other tasks that steps name.
        sources: ``config.json`` of students' own sources.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    configs = model_configs(recipe, config, sources)
    costs: list[StageCost] = []
    forecast = Forecast(
        recipe=recipe, configs=configs, device=planned_device(recipe), size=size, sizes=sizes or {}, before=costs
    )
    for node in recipe.made:
        made = {cost.name for cost in costs}
        costs += [cost for cost in step_of(node).costs(node, forecast) if cost.name not in made]
    costs.append(_exam(recipe, configs, size))
    return costs


def budgeted(
    train: TrainConfig,
    budget: BudgetRecipe | None,
    own: Mapping[str, Any],
    answers: Container[str],
    forecast: Forecast,
    *,
    teacher_parameters: int = 0,
) -> TrainConfig:
    """How to train with the tokens that a budget will allow, by what the other model is expected to take.

    Args:
        train: How to train without it.
        budget: None changes nothing.
        own: ``config.json`` of the model that learns.
        answers: Sets of answers whose drawing counts.
        forecast: Of the run, with the costs of earlier stages.
        teacher_parameters: Active ones of a teacher that reads along; 0: none.
    """
    if budget is None:
        return train

    def active(config: Mapping[str, Any]) -> int:
        return size_of(config).num_active

    other, base = active(forecast.configs[budget.of]), active(forecast.configs["base"])
    spent = [
        Compute.generating(cost.sampled_tokens, other) + Compute.training(cost.trained_tokens, other)
        for cost in forecast.before
        if cost.name == budget.of
    ]
    allowed = budget.share * Compute.total(spent).flops
    drawn = sum(Compute.generating(c.sampled_tokens, base).flops for c in forecast.before if c.name in answers)
    tokens = max(1, affordable_tokens(int(allowed - drawn), active(own), teacher_parameters=teacher_parameters))
    return train.model_copy(update={"max_tokens": min(tokens, train.max_tokens or tokens)})


def _exam(recipe: Recipe, configs: Mapping[str, Mapping[str, Any]], size: DocumentSize) -> StageCost:
    """The base model is taken to write until it is stopped, the taught ones answers of the usual length."""
    num, most = recipe.exam.problems, recipe.exam.sampling.max_tokens
    untaught = DocumentSize(prompt_tokens=size.prompt_tokens, answer_tokens=most)
    parts = [
        sampling_cost("exam", config, num, untaught if name == "base" else size, most, recipe)
        for name, config in configs.items()
    ]
    return joined("exam", parts)
