"""Steps that reinforce: a model answers problems of the train bucket, a verifier grades, it learns from what was right.

In: a model of the run, a pool of problems, a configuration. Out: ``model``, ``curve.json`` (updates), ``rounds.json``
(what each round's answers came to) and ``alarms.json``. A control is the same stage with another reward or loss.
Killed, the same call goes on from its last checkpoint and the rounds on disk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.records import Problem
from spiritsafe.models import (
    LanguageModel,
    LoadedModel,
    LoraBase,
    load_model,
    lora_config,
    read_model_config,
    save_checkpoint,
)
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import Beside, beside_of
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.probes import probes_of
from spiritsafe.pipeline.recipe.steps import ReinforceStep
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import fit_memory
from spiritsafe.pipeline.stages.probe import counts_of, not_ready
from spiritsafe.pipeline.stages.source import model_directory, parents_of
from spiritsafe.pipeline.stages.traces import problems_of
from spiritsafe.pipeline.stages.training import begin_lora, dev_evaluation, end_lora
from spiritsafe.reinforce import ROUNDS_DIRECTORY, ROUNDS_FILE, ReinforceConfig, reinforce
from spiritsafe.tasks import GraderPool, Task, load_task
from spiritsafe.training import TrainConfig, discard_state

_TRAINING = "training"


@final
@dataclass(frozen=True, kw_only=True)
class _Course:
    """How it went.

    Attributes:
        curve: One row an update.
        rounds: One row a round.
        alarms: As JSON.
        ended_by: Why it ended before its last round.
    """

    curve: Sequence[Mapping[str, Any]]
    rounds: Sequence[Mapping[str, Any]]
    alarms: Sequence[Mapping[str, Any]]
    ended_by: str | None

    @property
    def num_generated(self) -> int:
        """Tokens drawn."""
        return sum(int(row["num_tokens"]) for row in self.rounds)

    @property
    def num_trained(self) -> int:
        """Tokens trained on, prompts included."""
        return sum(int(row["tokens"]) for row in self.curve)


def reinforce_model(node: Node, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """1. what goes in, and is the model ready, 2. does it fit, 3. learning by reward, 4. the checkpoint.

    A control draws the same problems from the same seeds as the run that it is a control of.

    Raises:
        BudgetError: It does not fit into this machine's memory.
        RecipeError: A prompt with the longest answer does not fit a micro-batch, or no round earned a reward that told
            one answer from another.
    """
    step = node.recipe
    if not isinstance(step, ReinforceStep):
        raise TypeError(f"{node.name} is no step that reinforces")
    seed_name = node.twin or node.name
    problems = problems_of(context, node.entry)  # 1.
    loaded = load_model(model_directory(context, step.start), dtype=torch.float32, device=context.device)
    warnings = _warn(node, context, events)
    train_config = fit_memory(  # 2.
        stage,
        loaded,
        (),
        step.train.model_copy(update={"seed": context.seed("train", seed_name)}),
        events,
        device=context.device,
        beside=_beside(step, context, loaded, problems),
    )
    config = step.config.model_copy(update={"seed": context.seed("reinforce", seed_name)})
    begin_lora(step.lora, context, loaded, name=seed_name)
    course = _learn(node, step, context, stage, events, loaded, problems, config, train_config)  # 3.
    end_lora(step.lora, context, stage, loaded, name=node.name)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        loaded.model,
        loaded.chat,
        name=f"{context.recipe.name}-{node.name}",
        license=loaded.checkpoint.license,
        parents=parents_of([(loaded.checkpoint, ("weights",))]),
        recipe=context.run.hash,
    )
    for name, rows in (("curve", course.curve), ("rounds", course.rounds), ("alarms", course.alarms)):
        write_json(stage.path / f"{name}.json", [dict(row) for row in rows])
    discard_state(stage.path / _TRAINING)  # three times the weights, and no longer needed
    compute = _compute(step, loaded, course)
    return {
        "digest": checkpoint.digest,
        "warnings": list(warnings),
        "ended_by": course.ended_by,
        "steps": len(course.curve),
        "tokens": course.num_trained,
        "compute": compute.to_json(),
        "summary": _summary(course),
    }


def _learn(
    node: Node,
    step: ReinforceStep,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
    loaded: LoadedModel,
    problems: Sequence[Problem],
    config: ReinforceConfig,
    train_config: TrainConfig,
) -> _Course:
    """Train ``loaded`` in place. A control that has nothing to learn stays as it is: that is its result."""
    directory = stage.path / _TRAINING
    task = load_task(step.task or context.recipe.task.spec)
    try:
        with _graders(step, task) as graders:
            result = reinforce(
                loaded,
                task,
                problems,
                config,
                train_config,
                directory=directory,
                reference=_reference(config, loaded, context),
                graders=graders,
                events=events,
                evaluate=dev_evaluation(context, loaded, task_spec=step.task),
                max_batch=context.recipe.engine.max_batch,
            )
    except RecipeError as error:
        path = directory / ROUNDS_DIRECTORY / ROUNDS_FILE
        rows = read_json_lines(path) if path.is_file() else []
        if node.control is None or not rows or any(row["num_kept_groups"] for row in rows):
            raise
        return _Course(curve=(), rounds=rows, alarms=(), ended_by=error.message)
    return _Course(
        curve=result.training.curve,
        rounds=result.rounds,
        alarms=[alarm.to_json() for alarm in result.alarms],
        ended_by=None if result.ended_by is None else result.ended_by.message,
    )


def _graders(step: ReinforceStep, task: Task) -> AbstractContextManager[GraderPool | None]:
    """Worker processes for verifiers that might hang or be slow."""
    wanted = step.graders if step.graders is not None else (None if task.verifier.isolated else 0)
    return nullcontext() if wanted == 0 else GraderPool(task, num_workers=wanted)


def _reference(config: ReinforceConfig, loaded: LoadedModel, context: RunContext) -> LanguageModel | None:
    """The model as it was before, where the loss keeps it near; under adapters it is there already."""
    if not config.loss.kl_weight:
        return None
    if lora_config(loaded.model) is not None:
        return LoraBase(loaded.model)
    return load_model(loaded.directory, dtype=torch.float32, device=context.device).model


def _warn(node: Node, context: RunContext, events: EventSink) -> list[str]:
    """Why a longer cold start would be better, by the measurement of the model that is about to be reinforced."""
    probe = probes_of(context.recipe).get((node.name, "before"))
    warnings = [] if probe is None else not_ready(counts_of(context.stage(probe.stage)))
    for warning in warnings:
        events.metrics("not_ready", {"text": warning})
    return warnings


def _beside(step: ReinforceStep, context: RunContext, loaded: LoadedModel, problems: Sequence[Problem]) -> Beside:
    """What is in memory beside the model: the engine, and documents as long as a prompt with its longest answer."""
    longest = max(len(loaded.chat.prompt_ids(problem.messages)) for problem in problems)
    documents = math.ceil(step.config.prompts_per_round / step.config.steps_per_round) * step.config.group_size
    return replace(
        beside_of(step, context.recipe, read_model_config(loaded.directory), context.device),
        longest_answer=longest + step.config.sampling.max_tokens,
        documents_per_step=documents,
    )


def _compute(step: ReinforceStep, loaded: LoadedModel, course: _Course) -> Compute:
    size = loaded.num_active
    # by the reference, and by the model itself before a round of several updates
    num_reads = int(step.config.loss.kl_weight > 0) + int(step.config.compares_with_old)
    read = num_reads * course.num_trained
    return (
        Compute.generating(course.num_generated, size)
        + Compute.training(course.num_trained, size, frozen=step.lora is not None)
        + Compute.reading(read, size)
    )


def _summary(course: _Course) -> str:
    said = f"{len(course.rounds)} rounds, {course.num_generated:,} tokens drawn, {course.num_trained:,} trained on"
    rewards = [row["reward_mean"] for row in course.rounds if row["reward_mean"] is not None]
    if rewards:
        said += f", reward {rewards[0]:.2f} to {rewards[-1]:.2f}"
    return f"{said}; ended early: {course.ended_by}" if course.ended_by else said
