"""What each stage of a recipe costs, and the memory it takes, before it is run.

In: a :class:`~spiritsafe.pipeline.step.Forecast`. Out: one :class:`~spiritsafe.pipeline.plan.stage_cost.StageCost` and
one predicted peak a stage, as the kinds of steps tell them. The report holds the peaks against the measured ones.
"""

from __future__ import annotations

from dataclasses import replace

from spiritsafe.models import decoder_config
from spiritsafe.pipeline.plan.stage_cost import DocumentSize, StageCost, joined, sampling_cost
from spiritsafe.pipeline.step import Forecast, step_of


def stage_costs(forecast: Forecast) -> list[StageCost]:
    """Every stage that computes, in order."""
    costs: list[StageCost] = []
    so_far = replace(forecast, before=costs)
    for node in forecast.recipe.made:
        made = {cost.name for cost in costs}
        costs += [cost for cost in step_of(node).costs(node, so_far) if cost.name not in made]
    return costs + exam_costs(forecast)


def exam_costs(forecast: Forecast) -> list[StageCost]:
    """A given model is taken to write until it is stopped, those that were made answers of the usual length.

    A routed system is taken to ask each of its models equally often.
    """
    recipe, found = forecast.recipe, list[StageCost]()
    for exam in recipe.exams:
        most = exam.sampling.max_tokens
        alike = [facts.size for facts in forecast.sets.values() if facts.size is not None and facts.task == exam.task]
        size = alike[0] if alike else forecast.size_of(forecast.sets)
        untaught = DocumentSize(prompt_tokens=size.prompt_tokens, answer_tokens=most)
        parts = [
            sampling_cost(
                exam.stage,
                config,
                exam.problems // len(answering),
                untaught if name in recipe.models else size,
                most,
                recipe,
            )
            for name in recipe.examinees(exam)
            for answering in (forecast.answering(name),)
            for config in answering.values()
        ]
        found.append(joined(exam.stage, parts))
    return found


def predicted_memory(forecast: Forecast) -> dict[str, int]:
    """Predicted peak bytes of each heavy stage."""
    peaks = {node.name: step_of(node).peak(node, forecast) for node in forecast.recipe.made}
    return {stage: peak for stage, peak in peaks.items() if peak is not None}


def partly_predicted(forecast: Forecast) -> set[str]:
    """Stages of :func:`predicted_memory` whose model transformers runs: their peaks are lower bounds."""
    foreign = {name for name, config in forecast.configs.items() if decoder_config(config) is None}
    return {node.name for node in forecast.recipe.made if foreign & {node.name, *node.recipe.needs.reads}}
