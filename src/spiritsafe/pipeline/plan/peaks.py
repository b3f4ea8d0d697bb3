"""The predicted peak of each heavy stage of a recipe, as the kinds of steps tell it.

In: a recipe and ``config.json`` of its models. Out: bytes. The report holds them against the measured peaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spiritsafe.models import decoder_config
from spiritsafe.pipeline.plan.costs import model_configs
from spiritsafe.pipeline.plan.memory import planned_device
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import Forecast, step_of


def predicted_memory(
    recipe: Recipe, config: Mapping[str, Any], *, sources: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, int]:
    """Predicted peak bytes of each heavy stage.

    Args:
        config: The base model's ``config.json``.
        sources: ``config.json`` of students' own sources; one that is not there is taken to be as large as the base.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    configs = model_configs(recipe, config, sources)
    forecast = Forecast(recipe=recipe, configs=configs, device=planned_device(recipe))
    peaks = {node.stage: step_of(node).peak(node, forecast) for node in recipe.made}
    return {stage: peak for stage, peak in peaks.items() if peak is not None}


def partly_predicted(
    recipe: Recipe, config: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]] | None = None
) -> set[str]:
    """Stages of :func:`predicted_memory` whose model transformers runs: their peaks are lower bounds."""
    configs = model_configs(recipe, config, sources)
    foreign = {name for name, own in configs.items() if decoder_config(own) is None}
    return {node.stage for node in recipe.made if foreign & {node.name, *node.recipe.needs.reads}}
