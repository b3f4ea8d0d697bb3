"""Reinforcement learning with verifiable rewards, from a model and a task to the same model, taught.

In: a loaded model, a task, problems, a :class:`~spiritsafe.reinforce.config.ReinforceConfig` and how to train. Out: the
model's parameters, changed in place, and a :class:`ReinforceResult`. In the directory: ``metrics.jsonl`` and, while it
runs, ``state.pt``, as of any training; in ``rounds/`` each round's answers and ``rounds.jsonl``, their statistics. A
killed run, repeated, ends in the same answers and weights (on a CPU, with the same number of threads).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from spiritsafe.core.events import EventSink
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Problem
from spiritsafe.models import LanguageModel, LoadedModel
from spiritsafe.reinforce.alarms import Alarm, first_end
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.feed import Publish, RolloutFeed
from spiritsafe.reinforce.loss.objective import PolicyObjective
from spiritsafe.reinforce.rounds.grading import ManyGrader
from spiritsafe.rollouts import Grader
from spiritsafe.training import METRICS_FILE, Evaluate, TrainConfig, TrainResult, train

ROUNDS_DIRECTORY = "rounds"


@final
@dataclass(frozen=True, kw_only=True)
class ReinforceResult:
    """What a run did, over all its sittings.

    Attributes:
        training: Steps, tokens and curve.
        rounds: One row a round, see :func:`~spiritsafe.reinforce.rounds.statistics.statistics`; and ``train_seconds``,
            spent in the round's updates. Only in the main process.
        alarms: All that were raised. Only in the main process.
        ended_by: The alarm that ended the run before its last round, if one did.
    """

    training: TrainResult
    rounds: tuple[Mapping[str, Any], ...]
    alarms: tuple[Alarm, ...]
    ended_by: Alarm | None


def reinforce(
    loaded: LoadedModel,
    task: Grader,
    problems: Sequence[Problem],
    config: ReinforceConfig,
    train_config: TrainConfig,
    *,
    directory: Path,
    reference: LanguageModel | None = None,
    measured: Mapping[str, float] | None = None,
    generator: Generator | None = None,
    publish: Publish | None = None,
    graders: ManyGrader | None = None,
    evaluate: Evaluate | None = None,
    events: EventSink | None = None,
    max_batch: int = 64,
) -> ReinforceResult:
    """Teach a model, in place, by the rewards of its own answers; continue where an earlier call was interrupted.

    Under torchrun every process must make this call; each draws its share of a round's problems and learns from its
    share of the answers.

    Args:
        loaded: The starting model, the same in each call.
        task: Its verifier is the reward.
        problems: The pool, of the train bucket.
        config: Rounds, reward, loss.
        train_config: How to train; ``max_steps`` must be ``config.num_steps``.
        directory: For everything that is kept; every process must see it.
        reference: What ``config.loss.kl_weight`` keeps the model near: a copy of it as it was before.
        measured: Pass rates known beforehand, by problem id.
        generator: Answers in place of the engine over the weights in training (a server). Its weights grow stale unless
            ``publish`` renews them; ``config.loss.truncation`` corrects for the difference.
        publish: Called before each round is drawn, with the model and the round's number, in the main process.
        graders: Grades many answers at a time, while others are drawn; None: the task does.
        evaluate: As of :func:`~spiritsafe.training.loop.train`. Its values ``dev_right`` and ``dev_problems`` are the
            development score that alarms compare rewards with; without them those alarms are silent.
        events: Hears ``reinforce_round`` and ``alarm``, and all that training tells.
        max_batch: Most answers drawn at a time; changes speed and memory, not what is drawn (beyond rounding).

    Raises:
        RecipeError: Settings do not fit together, or no round had anything to learn from.
        CompatibilityError: A prompt does not fit the model; or as :func:`~spiritsafe.training.loop.train`.
        IntegrityError: The directory holds another run, or a file of it is damaged.
        EndpointError: The generator is unusable.
        NumericalError: Logits, a loss or a gradient are not finite.
        ProcedureError: Another process failed; the message is its own.
        StorageError: The directory cannot be written.
    """
    scores = _DevScores(directory / METRICS_FILE, evaluate)
    # Answers that the weights in training drew, and that are learnt from once, have ratios of 1 by definition.
    is_fresh = generator is None or publish is not None
    is_on_policy = is_fresh and config.steps_per_round == 1 and config.loss.truncation is None
    objective = PolicyObjective(config.loss, reference=reference, on_policy=is_on_policy)
    feed = RolloutFeed(
        loaded,
        task,
        problems,
        config,
        train_config,
        directory=directory / ROUNDS_DIRECTORY,
        measured=measured,
        generator=generator,
        publish=publish,
        graders=graders,
        dev_score=scores.newest,
        events=events,
        max_batch=max_batch,
        share_prefix=objective.shares_prefixes,
    )
    try:
        training = train(
            loaded.model,
            feed,
            objective,
            train_config,
            directory=directory,
            events=events,
            evaluate=None if evaluate is None else scores,
        )
    finally:
        feed.close()
    log = feed.log
    ended_by = first_end(log.alarms, config.alarms) if training.steps < config.num_steps else None
    return ReinforceResult(
        training=training, rounds=_timed(log.rows, training.curve), alarms=log.alarms, ended_by=ended_by
    )


def _timed(rows: Sequence[Mapping[str, Any]], curve: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Rows of rounds with the seconds of their updates (the curve's epoch is the round)."""
    seconds: dict[int, float] = {}
    for step in curve:
        seconds[step["epoch"]] = seconds.get(step["epoch"], 0.0) + step["seconds"] - step["feed_seconds"]
    return tuple({**row, "train_seconds": round(seconds.get(row["round"], 0.0), 4)} for row in rows)


@final
class _DevScores:
    """The run's evaluation, whose scores alarms may ask for; those of earlier sittings stand in the metrics."""

    def __init__(self, metrics: Path, evaluate: Evaluate | None) -> None:
        self._evaluate = evaluate
        rows = read_json_lines(metrics) if metrics.exists() else []
        self._scores: dict[int, float] = {}
        for row in rows:
            self._take(row["step"], row.get("evaluation", {}))

    def __call__(self, model: LanguageModel, step: int) -> Mapping[str, float]:
        """Evaluate and remember."""
        values = {} if self._evaluate is None else self._evaluate(model, step)
        self._take(step, values)
        return values

    def _take(self, step: int, values: Mapping[str, float]) -> None:
        if values.get("dev_problems") and "dev_right" in values:
            self._scores[step] = values["dev_right"] / values["dev_problems"]

    def newest(self, step: int) -> tuple[int, float] | None:
        """The last evaluation after at most so many steps."""
        known = [done for done in self._scores if done <= step]
        return (max(known), self._scores[max(known)]) if known else None
