"""What each stage of a recipe costs, before it is run.

In: a recipe, the base model's ``config.json``, the size of a typical document. Out: one
:class:`~spiritsafe.pipeline.plan.stage_cost.StageCost` a stage. A stage that is added later is one more line in
:func:`stage_costs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from spiritsafe.models import size_of
from spiritsafe.pipeline.compute import Compute, affordable_tokens
from spiritsafe.pipeline.plan.stage_cost import (
    DocumentSize,
    StageCost,
    joined,
    reading_cost,
    sampling_cost,
    student_config,
    tokens_at_once,
    training_cost,
)
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.probes import When, probes_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.steps import ReinforceStep, SampleStep, TuneStep
from spiritsafe.pipeline.recipe.students import BudgetRecipe, CutRecipe, StudentRecipe


def model_configs(
    recipe: Recipe, config: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Mapping[str, Any]]:
    """The ``config.json`` of every model of a recipe, as far as it can be told beforehand.

    Args:
        recipe: The recipe.
        config: The base model's.
        sources: Of students' own sources; one that is not there is taken to be as large as the base model.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    configs: dict[str, Mapping[str, Any]] = {"base": config, "teacher": config}
    for node in recipe.models:
        made = node.recipe
        if not isinstance(made, StudentRecipe):
            configs[node.name] = configs[str(made.start)]
        elif made.source is not None:
            configs[node.name] = configs.get(made.source) or (sources or {}).get(made.source) or config
        else:
            configs[node.name] = student_config(configs[made.teacher], made)
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
        recipe: The recipe.
        config: The base model's ``config.json``.
        size: Of a typical document of the recipe's task.
        sizes: Of other tasks that steps name.
        sources: ``config.json`` of students' own sources.

    Raises:
        BudgetError: A student's budget does not hold even one layer.
    """
    configs = model_configs(recipe, config, sources)
    costs = [training_cost("teach", recipe.teach.train, recipe.teach.problems, size, config)]
    if recipe.sample is not None:
        num_answers = recipe.sample.problems * recipe.sample.num_samples
        costs.append(sampling_cost("sample", config, num_answers, size, recipe.sample.sampling.max_tokens, recipe))
    if recipe.cache is not None:
        num_documents = max(student.problems for student in recipe.rungs if student.signal == "cached")
        costs.append(reading_cost("capture", config, num_documents, size, recipe.cache.micro_batch_tokens))
    cuts: set[tuple[str, CutRecipe]] = set()
    made: set[str] = set()
    for node in recipe.nodes:
        if isinstance(node.recipe, StudentRecipe):
            student = _budgeted(node.recipe, node.recipe.budget, configs[node.name], configs, costs)
            is_cut = (student.teacher, student.cut) not in cuts
            costs.append(_student(student, recipe, configs, size, is_cut=is_cut))
            cuts.add((student.teacher, student.cut))
            continue
        its_size = (sizes or {}).get(node.recipe.task or "", size)
        costs += [cost for cost in _step(node, recipe, configs, its_size, size, costs) if cost.name not in made]
        made |= {cost.name for cost in costs}
    costs.append(_exam(recipe, configs, size))
    return costs


def _step(
    node: Node,
    recipe: Recipe,
    configs: Mapping[str, Mapping[str, Any]],
    its_size: DocumentSize,
    size: DocumentSize,
    before: Sequence[StageCost],
) -> list[StageCost]:
    """A step, with the measurements before and after it.

    Args:
        node: The step.
        recipe: The recipe.
        configs: Of all models.
        its_size: Of documents of the step's task.
        size: Of documents of the recipe's task.
        before: Costs of earlier stages.
    """
    step = node.recipe
    if isinstance(step, TuneStep):
        own = configs[node.name]
        tuned = _budgeted(step, step.budget, own, configs, before)
        return [training_cost(node.name, tuned.train, sum(step.traces.values()), size, own)]
    if isinstance(step, SampleStep):
        if step.sampling is None:
            return []  # worked solutions cost nothing
        num_answers = step.problems * step.num_samples
        return [sampling_cost(node.name, configs[step.start], num_answers, its_size, step.sampling.max_tokens, recipe)]
    if not isinstance(step, ReinforceStep):
        raise TypeError(f"{node.name} is no step")
    costs = [_reinforcing(node.name, step, configs[node.name], its_size, recipe)]
    probes = probes_of(recipe)
    places: tuple[tuple[When, int], ...] = (("before", 0), ("after", 2))
    for when, place in places:
        probe = probes.get((node.name, when))
        if probe is not None:
            num_answers = step.probe.problems * step.probe.num_samples
            config, most = configs[probe.model], step.config.sampling.max_tokens
            costs.insert(place, sampling_cost(probe.stage, config, num_answers, its_size, most, recipe))
    return costs


def _reinforcing(
    name: str, step: ReinforceStep, config: Mapping[str, Any], size: DocumentSize, recipe: Recipe
) -> StageCost:
    """Every answer is drawn once and learnt from; groups that are asked again or left out are not foreseen."""
    rounds = step.config
    num_answers = rounds.num_rounds * rounds.prompts_per_round * rounds.group_size
    step_tokens = math.ceil(num_answers * size.num_tokens / rounds.num_steps)
    train = step.train.model_copy(update={"tokens_per_step": step_tokens})
    costs = [
        training_cost(name, train, num_answers, size, config),
        sampling_cost(name, config, num_answers, size, rounds.sampling.max_tokens, recipe),
    ]
    if rounds.compares_with_old:
        costs.append(reading_cost(name, config, num_answers, size, tokens_at_once(train)))
    return joined(name, costs)


BudgetedT = TypeVar("BudgetedT", StudentRecipe, TuneStep)


def _budgeted(
    made: BudgetedT,
    budget: BudgetRecipe | None,
    own: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    before: Sequence[StageCost],
) -> BudgetedT:
    """The recipe with the tokens that its budget will allow, by what the other model is expected to take."""
    if budget is None:
        return made

    def active(config: Mapping[str, Any]) -> int:
        return size_of(config).num_active

    other, base = active(configs[budget.of]), active(configs["base"])
    spent = [
        Compute.generating(cost.sampled_tokens, other) + Compute.training(cost.trained_tokens, other)
        for cost in before
        if cost.name == budget.of
    ]
    allowed = budget.share * Compute.total(spent).flops
    drawn = sum(Compute.generating(cost.sampled_tokens, base).flops for cost in before if cost.name in made.traces)
    reading = 0
    if isinstance(made, StudentRecipe) and made.objective != "traces" and made.signal == "live":
        reading = active(configs[made.teacher])
    tokens = max(1, affordable_tokens(int(allowed - drawn), active(own), teacher_parameters=reading))
    train = made.train.model_copy(update={"max_tokens": min(tokens, made.train.max_tokens or tokens)})
    return made.model_copy(update={"train": train})


def _student(
    student: StudentRecipe,
    recipe: Recipe,
    configs: Mapping[str, Mapping[str, Any]],
    size: DocumentSize,
    *,
    is_cut: bool,
) -> StageCost:
    """A student's training, its own answers, and its cut if it is the first that has it."""
    own, config = configs[student.name], configs[student.teacher]
    has_teacher = student.objective != "traces" and student.signal == "live"
    train = student.train
    if student.on_policy is not None:  # steps are as long as their documents
        policy = student.on_policy
        num_answers = policy.num_rounds * policy.num_drawn
        step_tokens = math.ceil(num_answers / policy.share * size.num_tokens / policy.num_steps)
        train = train.model_copy(update={"tokens_per_step": step_tokens})
    parts = [training_cost(student.name, train, student.problems, size, own, config if has_teacher else None)]
    if student.on_policy is not None:
        parts.append(sampling_cost(student.name, own, num_answers, size, policy.sampling.max_tokens, recipe))
    if student.source is None and is_cut:
        parts.append(_cutting(student, config, own, size))
        if student.shape == "race":
            short = student.train.model_copy(update={"max_steps": student.race_steps, "max_epochs": None})
            lane = training_cost(student.name, short, student.problems, size, own, config)
            parts += [lane] * student.candidates
    return joined(student.name, parts)


def _cutting(
    student: StudentRecipe, config: Mapping[str, Any], own: Mapping[str, Any], size: DocumentSize
) -> StageCost:
    """Calibration: block influence is one pass; "loss" tries each layer that is left, for each that goes."""
    layers, kept = int(config["num_hidden_layers"]), int(own["num_hidden_layers"])
    passes = 1.0
    if student.criterion == "loss":
        passes += sum(left * (left - 1) / layers for left in range(kept + 1, layers + 1))
    num_documents = math.ceil(passes * min(student.calibration, student.problems))
    return reading_cost(student.name, config, num_documents, size, tokens_per_pass=2048)


def _exam(recipe: Recipe, configs: Mapping[str, Mapping[str, Any]], size: DocumentSize) -> StageCost:
    """The base model is taken to write until it is stopped, the taught ones answers of the usual length."""
    num, most = recipe.exam.problems, recipe.exam.sampling.max_tokens
    untaught = DocumentSize(prompt_tokens=size.prompt_tokens, answer_tokens=most)
    parts = [
        sampling_cost("exam", config, num, untaught if name == "base" else size, most, recipe)
        for name, config in configs.items()
    ]
    return joined("exam", parts)
