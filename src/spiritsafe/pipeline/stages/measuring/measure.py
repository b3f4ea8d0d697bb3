"""Stages that measure: how well models do on held-out problems, with intervals, without a sealed exam.

In: models of the run and data sets, of which only the dev bucket is read, without what any set of the run trains on.
Out: ``measures.json``, and in ``sums`` what each held-out document came to. All of it is practice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.core.records import Problem, Record, Sampling
from spiritsafe.distil import (
    HELD_OUT_STATEMENT,
    HeldOut,
    HeldOutDifference,
    HeldOutEstimates,
    held_out,
    held_out_difference,
    held_out_estimates,
)
from spiritsafe.pipeline.context import RunContext, Trace, read_problems
from spiritsafe.pipeline.recipe.data import text_key
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.answerer import is_served, open_answerer
from spiritsafe.pipeline.stages.sets import task_of, worked_solutions
from spiritsafe.pipeline.stages.source import active_of, load_reader
from spiritsafe.pipeline.stages.training import make_documents
from spiritsafe.report import Measured, MeasuredCurve, MeasuredUnit
from spiritsafe.rollouts import ComputeCurve, Pool, collect, curve_of_pools, draw_pool, read_attempts
from spiritsafe.stats import Estimate, PairedDifference, paired_difference, score_interval
from spiritsafe.tasks import Task
from spiritsafe.training import give_back_memory

MEASURES_FILE = "measures.json"
LEAST_HELD_OUT = 2
"""Problems that an interval needs."""


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured of each model.

    Attributes:
        likelihood: Of held-out answers.
        teacher: The model that divergences are from; None: none.
        accuracy: Share of right answers.
        curve: Accuracy against the tokens spent on a problem.
        problems: Most held-out problems of each set.
        num_samples: Answers to each problem.
        sampling: How they are drawn.
    """

    likelihood: bool
    teacher: str | None
    accuracy: bool
    curve: bool
    problems: int
    num_samples: int
    sampling: Sampling

    @property
    def reads(self) -> bool:
        """Whether models read documents, for which their weights must be here."""
        return self.likelihood or self.teacher is not None

    @property
    def answers(self) -> bool:
        """Whether models answer problems."""
        return self.accuracy or self.curve


@final
class Measure(Record):
    """One model on one data set.

    Attributes:
        against: The model that differences are taken from: the first. None for itself.
        teacher: Whose distributions its own are held against; None: nobody's.
        held_out: What it makes of held-out documents.
        held_out_change: This model minus the first, document by document; below 0 is better.
        accuracy: Share of right answers.
        accuracy_change: This model minus the first, problem by problem; above 0 is better.
        num_unscored: Answers whose verifier broke; they count as wrong.
    """

    model: str
    data: str
    num_problems: int
    against: str | None = None
    teacher: str | None = None
    held_out: HeldOutEstimates | None = None
    held_out_change: HeldOutDifference | None = None
    accuracy: Estimate | None = None
    accuracy_change: PairedDifference | None = None
    num_unscored: int = 0

    def numbers(self, step: str) -> list[Measured]:
        """As the report shows them."""
        found, changes = self.held_out, self.held_out_change
        told: list[Measured] = []

        def tell(
            what: str, unit: MeasuredUnit, count: int, value: Estimate | None, difference: Estimate | None
        ) -> None:
            if value is not None:
                counted: Literal["problems", "tokens"] = "problems" if what == "accuracy" else "tokens"
                told.append(
                    Measured(
                        step=step, model=self.model, data=self.data, what=what, value=value, unit=unit, count=count,
                        counted=counted, against=None if difference is None else self.against, difference=difference,
                    )
                )  # fmt: skip

        if found is not None:
            tokens = found.num_tokens
            tell("nll", "nats a token", tokens, found.nats_per_token, changes and changes.nats_per_token)
            tell("nll", "bits a byte", tokens, found.bits_per_byte, changes and changes.bits_per_byte)
            kl = f"kl:{self.teacher}"
            tell(kl, "nats a token", tokens, found.kl_per_token, changes and changes.kl_per_token)
        ahead = None if self.accuracy_change is None else self.accuracy_change.difference
        tell("accuracy", "share", self.num_problems, self.accuracy, ahead)
        return told

    def line(self, *, by_token: bool) -> str:
        """What was asked for in few words, with the change against the first model.

        Args:
            by_token: Likelihoods are given by the token, else by the byte.
        """
        unused = "bits a byte" if by_token else "nats a token"
        said = [f"{_said(one)}" for one in self.numbers("") if not (one.what == "nll" and one.unit == unused)]
        return f"{self.model} {', '.join(said)}" if said else ""


def _said(one: Measured) -> str:
    units = {"accuracy": "right", "nll": one.unit}
    unit = units.get(one.what, f"nats from {one.what.removeprefix('kl:')}")
    change = one.difference
    against = "" if change is None else f" ({change.value:+.3g} [{change.low:+.3g}, {change.high:+.3g}])"
    return f"{one.value.value:.3g}{against} {unit}"


@final
class Measures(Record):
    """``measures.json``.

    Attributes:
        rows: Set by set, in each the models in the recipe's order.
        num_trained_on: Held-out problems of each set that were left out: another set trains on their text.
        curves: Of each set.
    """

    format: Literal["spiritsafe.measures/1"] = "spiritsafe.measures/1"
    statement: str = HELD_OUT_STATEMENT
    rows: tuple[Measure, ...]
    num_trained_on: dict[str, int]
    curves: dict[str, ComputeCurve] = Field(default_factory=dict)

    def reported(self, step: str) -> tuple[list[Measured], list[MeasuredCurve]]:
        """As the report shows them."""
        curves = [MeasuredCurve(step=step, data=data, curve=curve) for data, curve in self.curves.items()]
        return [number for row in self.rows for number in row.numbers(step)], curves

    def line(self) -> str:
        """All rows in one."""
        parts = []
        for data in dict.fromkeys(row.data for row in self.rows):
            rows = [row for row in self.rows if row.data == data]
            by_token = all(row.held_out_change is None or row.held_out_change.nats_per_token for row in rows)
            said = [line for row in rows if (line := row.line(by_token=by_token))]
            parts += [f"{data}: {', '.join(said)}"] if said else []
        parts += [f"{name}: curves of {len(curve.models)} models" for name, curve in self.curves.items()]
        return "; ".join(parts)


@final
@dataclass(kw_only=True)
class _Found:
    """What models did, by model and data set."""

    sums: dict[tuple[str, str], HeldOut] = field(default_factory=dict)
    right: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    unscored: dict[tuple[str, str], int] = field(default_factory=dict)
    pools: dict[tuple[str, str], Pool] = field(default_factory=dict)


def held_out_problems(task: Task, most: int, trained_on: set[bytes], *, seed: int) -> tuple[list[Problem], int]:
    """At most so many problems of a task's dev bucket, and how many were left out because they are trained on.

    Buckets are cut by the text within a task: two sets of different tasks may hold one text in different buckets.

    Raises:
        TaskError: A task that makes its problems has fewer.
    """
    found: list[Problem] = []
    num_left_out = 0
    for problem in task.problems("dev", seed=seed, count=None if task.finite else most):
        if len(found) == most:
            break
        if text_key(problem) in trained_on:
            num_left_out += 1
        else:
            found.append(problem)
    return found, num_left_out


def measure_models(
    models: Sequence[str],
    on: Sequence[str],
    asked: Asked,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """Measure each model on each set; the first is what the others are held against.

    Raises:
        TaskError: Fewer than two problems of a set are held out, or can be read.
    """
    trained_on = {text_key(problem) for name in context.recipe.data for problem in read_problems(context, name)}
    tasks = {name: task_of(context, [name]) for name in on}
    drawn = {
        name: held_out_problems(task, asked.problems, trained_on, seed=context.seed("measure"))
        for name, task in tasks.items()
    }
    problems = {name: found for name, (found, _) in drawn.items()}
    texts = {name: list(worked_solutions(tasks[name], problems[name], Counter())) for name in on} if asked.reads else {}
    for name in on:
        _require_enough(name, min(len(problems[name]), len(texts.get(name, problems[name]))))
    found = _Found()
    if asked.reads:
        _read(models, texts, asked.teacher, found, context, stage, events)
    if asked.answers:
        for model in models:
            _answer(model, tasks, problems, asked, found, context, stage, events)
    confidence = context.recipe.confidence
    measures = Measures(
        rows=tuple(
            _row(model, name, models[0], found, asked, len(problems[name]), confidence)
            for name in on
            for model in models
        ),
        num_trained_on={name: num_left_out for name, (_, num_left_out) in drawn.items()},
        curves={
            name: curve_of_pools(
                [found.pools[model, name] for model in models], task=tasks[name].name, confidence=confidence
            )
            for name in (on if asked.curve else ())
        },
    )
    write_json(stage.path / MEASURES_FILE, measures.to_json())
    return {"summary": measures.line()}


def measures_of(stage: StageDirectory) -> Measures:
    """What a finished stage measured.

    Raises:
        IntegrityError: Its file is damaged, or of another version.
    """
    return stage.read(MEASURES_FILE, Measures)


def _require_enough(name: str, count: int) -> None:
    if count < LEAST_HELD_OUT:
        raise TaskError(
            f"{name} holds out {count} problems that can be measured on; {LEAST_HELD_OUT} are needed.",
            hint="Add rows to it, or measure on another set.",
        )


def _read(
    models: Sequence[str],
    texts: Mapping[str, Sequence[Trace]],
    teacher: str | None,
    found: _Found,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> None:
    """Held-out sums of each model; those of an interrupted attempt are taken as they are."""
    guide = None if teacher is None else load_reader(context, teacher)
    for model in models:
        loaded = guide if model == teacher and guide is not None else load_reader(context, model)
        for name, traces in texts.items():
            path = stage.path / "sums" / model / f"{name}.json"
            if path.exists():
                sums = HeldOut.from_json(read_json(path))
            else:
                documents = list(make_documents(loaded.chat, traces))
                num_bytes = [_num_bytes(trace) for trace in traces]
                sums = held_out(loaded, documents, teacher=guide, num_bytes=num_bytes, events=events)
                ensure_directory(path.parent)
                write_json(path, sums.to_json())
            found.sums[model, name] = sums
        del loaded
        give_back_memory()


def _num_bytes(trace: Trace) -> int:
    """Of all that a document supervises, as it was written."""
    said = [trace.text, *(trace.problem.messages[place].content for place in trace.turns)]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in said)


def _answer(
    model: str,
    tasks: Mapping[str, Task],
    problems: Mapping[str, Sequence[Problem]],
    asked: Asked,
    found: _Found,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> None:
    """Attempts of one model at each set; the same call goes on after an interruption."""
    generator = open_answerer(context, model, events)
    try:
        for name, task in tasks.items():
            folder = stage.path / "attempts" / model / name
            seed = context.seed("measure", "draw")
            if asked.curve:
                pool = draw_pool(
                    task, problems[name], generator, asked.sampling,
                    num_samples=asked.num_samples, seed=seed, directory=folder,
                    num_parameters=_num_active(context, model), events=events,
                )  # fmt: skip
                found.pools[model, name] = replace(pool, model=model)
            else:
                collect(
                    task, problems[name], generator, asked.sampling,
                    num_samples=asked.num_samples, seed=seed, directory=folder / "samples", events=events,
                )  # fmt: skip
            _count((model, name), [problem.id for problem in problems[name]], folder / "samples", found)
    finally:
        generator.close()


def _num_active(context: RunContext, model: str) -> int | None:
    return None if is_served(context.recipe, model) else active_of(context, model)


def _count(key: tuple[str, str], problem_ids: Iterable[str], attempts: Path, found: _Found) -> None:
    right, found.unscored[key] = dict.fromkeys(problem_ids, 0), 0
    for attempt, verdict in read_attempts(attempts):
        right[attempt.problem_id] += verdict.status == "correct"
        found.unscored[key] += verdict.status == "unscored"
    found.right[key] = list(right.values())


def _row(
    model: str, name: str, first: str, found: _Found, asked: Asked, num_problems: int, confidence: float
) -> Measure:
    sums, base = found.sums.get((model, name)), found.sums.get((first, name))
    right, right_first = found.right.get((model, name)), found.right.get((first, name))
    is_first = model == first
    accuracy = change = None
    if asked.accuracy and right is not None and right_first is not None:
        accuracy = score_interval(right, trials=asked.num_samples, confidence=confidence)
        if not is_first:
            change = paired_difference(right, right_first, trials=asked.num_samples, confidence=confidence)
    return Measure(
        model=model,
        data=name,
        num_problems=num_problems,
        against=None if is_first else first,
        teacher=asked.teacher,
        held_out=None if sums is None else held_out_estimates(sums, confidence=confidence),
        held_out_change=None
        if is_first or sums is None or base is None
        else held_out_difference(sums, base, confidence=confidence),
        accuracy=accuracy,
        accuracy_change=change,
        num_unscored=found.unscored.get((model, name), 0),
    )
