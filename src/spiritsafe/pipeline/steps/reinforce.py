"""Steps that reinforce: a model answers problems of the train bucket, a verifier grades, it learns from what was right.

In: a model of the run, a pool of problems, a configuration. Out: ``model``, ``curve.json`` (updates), ``rounds.json``
(what each round's answers came to) and ``alarms.json``. A control is the same stage with another reward or loss.
Killed, the same call goes on from its last checkpoint and the rounds on disk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.checked_lines import read_sealed_lines
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.records import Problem
from spiritsafe.exam.records import Certificate
from spiritsafe.models import (
    LanguageModel,
    LoadedModel,
    LoraBase,
    lora_config,
    read_model_config,
    save_checkpoint,
    size_of,
)
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import Beside, engine_beside
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.plan.stage_cost import (
    DocumentSize,
    StageCost,
    joined,
    reading_cost,
    sampling_cost,
    tokens_at_once,
    training_cost,
)
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import Needs, Probe, ProbeRecipe, Sets
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import Way
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import fit_memory
from spiritsafe.pipeline.stages.probe import When, counts_of, not_ready, probe_model, probes_of
from spiritsafe.pipeline.stages.sets import problems_of, task_of
from spiritsafe.pipeline.stages.source import lineage_of, load_learner, load_reader, parents_in_run, type_to_save
from spiritsafe.pipeline.stages.training import begin_lora, dev_evaluation, end_lora
from spiritsafe.pipeline.step import Config, Forecast, StageSpec, Talk, Talks, Words, made_settings
from spiritsafe.pipeline.steps.rewards import reinforced, rounds_of
from spiritsafe.pipeline.steps.trained import TrainedStep
from spiritsafe.reinforce import ROUNDS_DIRECTORY, ROUNDS_FILE, Control, ReinforceConfig, RewardedAnswer, reinforce
from spiritsafe.report import Reinforced, count_text
from spiritsafe.tasks import GraderPool, Task
from spiritsafe.training import TrainConfig, current_parallel, discard_state

_TRAINING = "training"
_TIME_NOTE = (
    "Reinforcement: each answer drawn once, as long as a worked solution, and learnt from. Groups that",
    "are asked again add to it, groups without an advantage and answers that grow change it.",
)


@final
@register_kind("steps")
class ReinforceStep(TrainedStep):
    """Reinforcement learning with verifiable rewards.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from.
        on: Data sets whose problems it answers, and whose verifiers reward it.
        config: Rounds, groups, loss, reward, alarms.
        train: How to train; its steps are rounds times steps a round.
        controls: Siblings trained alike but for one thing: "random": a coin is the reward; "format": any answer that
            can be read is rewarded; "rft": right answers are learnt by fine-tuning, wrong ones not at all (rejection
            sampling), on as many drawn answers.
        probe: How pass@k is measured before and after.
        graders: Worker processes that grade; 0: this process does. None: this process for verifiers whose time is
            bounded by the text, as many workers as there are cores for others.
    """

    kind: Literal["reinforce"] = "reinforce"
    on: Sets
    config: ReinforceConfig = ReinforceConfig()
    controls: tuple[Control, ...] = ()
    probe: ProbeRecipe = ProbeRecipe()
    graders: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        if self.train.is_limited:
            raise ValueError("max_steps, max_epochs, max_tokens have no effect on a step that is rounds long")
        if self.config.seed != 0:
            raise ValueError("config.seed has no effect: the recipe's seed gives each step its own, leave it out")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("a control is named twice")
        if self.controls and self.config.reward.kind != "verifier":
            raise ValueError(f'controls stand beside a real reward; this one is "{self.config.reward.kind}"')
        if "rft" in self.controls and self.config.loss.method == "rft":
            raise ValueError('the control "rft" is what this step does itself: leave it out')
        self.refuse_seeds()
        return self

    @property
    def needs(self) -> Needs:
        """Its start, and a pool of problems that siblings share."""
        return replace(super().needs, problems=self.on)

    @property
    def way(self) -> Way:
        """Rewards move a model by small steps."""
        return "reward"

    def siblings(self) -> Iterable[tuple[Control, Self]]:
        """Its controls."""
        for control in self.controls:
            changes = {"name": f"{self.name}-{control}", "config": self.config.control(control), "controls": ()}
            yield control, self.model_copy(update=changes)

    def probe_of(self, model: str, stage: str) -> Probe | None:
        """Tries, drawn as it draws its attempts."""
        if not self.probe.problems:
            return None
        return Probe(stage=stage, model=model, size=self.probe, on=self.on, sampling=self.config.sampling)

    def words(self, node: Node) -> Words:
        """Loss, reward, rounds; a gain, and of a control that there is little or none."""
        rounds = self.config
        kind = "a control, " if node.control else ""
        reward = "" if rounds.reward.kind == "verifier" else f", {rounds.reward.kind} reward"
        size = f"{rounds.num_rounds} rounds × {rounds.prompts_per_round} problems × {rounds.group_size} answers"
        most = f", at most {1 + rounds.refills} times that" if rounds.refills else ""
        hypothesis = {
            None: f"Reinforcement raised the score over {self.origin}'s.",
            "random": f"A control: a random reward raises nothing over {self.origin}'s score.",
            "format": f"A control: a reward for form alone raises little over {self.origin}'s score.",
            "rft": f"A control: rejection-sampled fine-tuning raises {self.origin}'s score less than {node.twin}'s.",
        }[node.control]
        return Words(
            line=f"{node.name}: from {self.origin}, {kind}{rounds.loss.method}{reward}, {size}{most}",
            role="reinforced",
            hypothesis=hypothesis,
            time_note=_TIME_NOTE,
        )

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Nothing could be rewarded."""
        found = super().faults(node, forecast)
        facts = {name: forecast.sets[name] for name in self.on if name in forecast.sets}
        unfit = [name for name, one in facts.items() if not one.verifies]
        return [*found, *(f"{node.name}: {name} has no verifier, so nothing of it can be rewarded" for name in unfit)]

    def planned_train(self, forecast: Forecast, config: Config) -> TrainConfig:
        """By the model's size; a step is as long as its answers."""
        rounds = self.config
        num_answers = rounds.prompts_per_round * rounds.group_size / rounds.steps_per_round
        tokens = num_answers * forecast.size_of(self.on).num_tokens
        return self.train_config(size_of(config).num_active, step_tokens=tokens)

    def train_config(self, num_parameters: int, *, step_tokens: float = 0.0) -> TrainConfig:
        """How it trains; steps are counted in answers, and ``tokens_per_step`` bounds nothing."""
        train = (
            self.train
            if self.train.tokens_per_step
            else self.train.model_copy(update={"tokens_per_step": max(1, math.ceil(step_tokens))})
        )
        return train.config(num_parameters, epoch_tokens=0, way=self.way, max_steps=self.config.num_steps)

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """What the start model can do, the step itself, what it can do then."""
        if forecast.configs.get(node.name) is None:
            return []
        size = forecast.size_of(self.on)
        probes = probes_of(forecast.recipe)

        def probed(when: When) -> list[StageCost]:
            probe = probes.get((node.name, when))
            if probe is None:
                return []
            num_answers = probe.size.problems * probe.size.num_samples
            config, most = forecast.configs[probe.model], probe.sampling.max_tokens
            return [sampling_cost(probe.stage, config, num_answers, size, most, forecast.recipe)]

        return [*probed("before"), self._rounds_cost(node.name, size, forecast), *probed("after")]

    def _rounds_cost(self, name: str, size: DocumentSize, forecast: Forecast) -> StageCost:
        """Every answer is drawn once and learnt from; groups that are asked again or left out are not foreseen."""
        rounds, config = self.config, forecast.configs[name]
        num_answers = rounds.num_rounds * rounds.prompts_per_round * rounds.group_size
        step_tokens = max(1, math.ceil(num_answers * size.num_tokens / rounds.num_steps))
        train = self.planned_train(forecast, config).model_copy(update={"tokens_per_step": step_tokens})
        costs = [
            training_cost(name, train, num_answers, size, config, lora=self.lora, base=self.base),
            sampling_cost(name, config, num_answers, size, rounds.sampling.max_tokens, forecast.recipe),
        ]
        if rounds.compares_with_old:
            costs.append(reading_cost(name, config, num_answers, size, tokens_at_once(train)))
        return joined(name, costs)

    def beside(self, forecast: Forecast, config: Config) -> Beside:
        """The engine; a reference where the loss keeps near the model as it was: under adapters it is there already."""
        return self.beside_of(forecast.recipe, config, forecast.device, self.planned_train(forecast, config))

    def beside_of(self, recipe: Recipe, config: Config, device: torch.device, train: TrainConfig) -> Beside:
        """The same, knowing how it trains."""
        has_reference = self.config.loss.kl_weight > 0.0 and self.lora is None
        return Beside(
            teacher=config if has_reference else None,
            reading=reading_of(recipe, self.origin, device),
            lora=self.lora,
            base=self.base,
            other_bytes=engine_beside(recipe, config, device, train),
        )

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """Probe, step, probe. Controls are measured by the exam alone."""
        probes = probes_of(recipe)
        before, then = (probes.get((node.name, when)) for when in ("before", "after"))
        made = StageSpec(
            name=node.name,
            work=partial(reinforce_model, node),
            settings=made_settings(node, recipe),
            after=self.stages_before(node, recipe)
            if before is None
            else (*self.stages_before(node, recipe), before.stage),
            scratch=("training",),
            is_collective=True,
        )
        return [
            *([] if before is None else [_probe_stage(before, recipe)]),
            made,
            *([] if then is None else [_probe_stage(then, recipe)]),
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Rounds, and answers that taught something."""
        rounds = rounds_of(context, node.name)
        drawn = sum(row["num_answers"] for row in rounds)
        learnt = sum(row["num_kept_groups"] for row in rounds) * self.config.group_size
        answers = f"{count_text(drawn)} answers, {count_text(learnt)} with an advantage"
        return "reinforced", f"{len(rounds)} rounds, {answers}"

    def talks(self, context: RunContext, node: Node) -> Talks | None:
        """Answers of the last round."""
        if node.control is not None:
            return None
        rounds = context.stage(node.name).path / _TRAINING / ROUNDS_DIRECTORY
        return Talks(node.name, problems_of(context, self.on), _last_round(rounds))

    def by_reward(
        self, context: RunContext, nodes: Sequence[Node], certificates: Mapping[str, Certificate]
    ) -> Reinforced:
        """The step with its repetitions and controls."""
        return reinforced(context, nodes, certificates, self.config, task_of(context, self.on).name)


def _probe_stage(probe: Probe, recipe: Recipe) -> StageSpec:
    return StageSpec(
        name=probe.stage,
        work=partial(probe_model, probe),
        settings={"seed": recipe.seed, "engine": recipe.engine.to_json(), **probe.settings()},
        after=(probe.model, *probe.on),
        scratch=("attempts",),
    )


def _last_round(directory: Path) -> Iterable[Talk]:
    """The answers of the newest round that is whole; none when the stage's scratch files were cleared away."""
    for path in sorted(directory.glob("round-*.jsonl"), reverse=True):
        try:
            lines = read_sealed_lines(path)
        except IntegrityError:
            continue
        answers = [RewardedAnswer.model_validate_json(line) for line in islice(lines, 1, None)]
        return [(a.problem_id, a.text, a.finish_reason, a.verdict) for a in answers]
    return []


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
    problems = problems_of(context, step.on)  # 1.
    loaded = load_learner(context, step.origin, step.base)
    warnings = _warn(node, context, events)
    wish = step.train_config(loaded.num_active).model_copy(update={"seed": context.seed("train", seed_name)})
    train_config = fit_memory(  # 2.
        stage,
        loaded,
        (),
        wish,
        events,
        device=context.device,
        beside=_beside(step, context, loaded, problems, wish),
    )
    config = step.config.model_copy(update={"seed": context.seed("reinforce", seed_name)})
    begin_lora(step.lora, context, loaded, name=seed_name)
    course = _learn(node, step, context, stage, events, loaded, problems, config, train_config)  # 3.
    if not stage.is_main:
        return {}
    made = end_lora(step.lora, context, stage, loaded, name=node.name)
    start = lineage_of(context, step.origin)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        made,
        loaded.chat,
        name=f"{context.recipe.name}-{node.name}",
        license=start.license,
        parents=parents_in_run(context, node.name),
        recipe=context.run.hash,
        dtype=type_to_save(context, step.origin, step.save_dtype),
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
    directory = stage.shared / _TRAINING
    task = task_of(context, step.on)
    try:
        with _graders(step, task) as graders:
            result = reinforce(
                loaded,
                task,
                problems,
                config,
                train_config,
                directory=directory,
                reference=_reference(step, config, loaded, context),
                graders=graders,
                events=events,
                evaluate=dev_evaluation(context, loaded, step),
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
    if wanted is None and current_parallel().size > 1:  # each process has workers of its own
        wanted = max(1, (os.cpu_count() or 1) // current_parallel().size)
    return nullcontext() if wanted == 0 else GraderPool(task, num_workers=wanted)


def _reference(
    step: ReinforceStep, config: ReinforceConfig, loaded: LoadedModel, context: RunContext
) -> LanguageModel | None:
    """The model as it was before, where the loss keeps it near; under adapters it is there already."""
    if not config.loss.kl_weight:
        return None
    if lora_config(loaded.model) is not None:
        return LoraBase(loaded.model)
    return load_reader(context, step.origin).model


def _warn(node: Node, context: RunContext, events: EventSink) -> list[str]:
    """Why a longer cold start would be better, by the measurement of the model that is about to be reinforced."""
    probe = probes_of(context.recipe).get((node.name, "before"))
    warnings = [] if probe is None else not_ready(counts_of(context.stage(probe.stage)))
    for warning in warnings:
        events.metrics("not_ready", {"text": warning})
    return warnings


def _beside(
    step: ReinforceStep, context: RunContext, loaded: LoadedModel, problems: Sequence[Problem], train: TrainConfig
) -> Beside:
    """What is in memory beside the model: the engine, and documents as long as a prompt with its longest answer."""
    longest = max(len(loaded.chat.prompt_ids(problem.messages)) for problem in problems)
    documents = math.ceil(step.config.prompts_per_round / step.config.steps_per_round) * step.config.group_size
    return replace(
        step.beside_of(context.recipe, read_model_config(loaded.directory), context.device, train),
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
