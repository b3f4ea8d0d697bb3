"""Stage "traces": worked solutions that come with the task, each accepted by its verifier; and who learns from what.

Sets of answers lie in ``traces.jsonl`` or the like. Only the train bucket is read, and each part of a recipe has
problems of its own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, final

import numpy as np

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.records import Problem
from spiritsafe.pipeline.context import RunContext, Trace, Traces, read_traces, write_traces
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.made import WORKED
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.step import made_settings
from spiritsafe.tasks import Task, load_task

TRACES_FILE = "traces.jsonl"


@final
@dataclass(frozen=True, kw_only=True)
class ProblemPart:
    """A part of a task's train bucket.

    Attributes:
        task: The task's spec.
        first: Where it starts in the run's own order of the bucket.
    """

    task: str
    first: int
    count: int


def problem_parts(recipe: Recipe) -> dict[str, ProblemPart]:
    """Who gets which problems: consecutive, disjoint parts of each task's train bucket.

    "teach", "sample" and "students" are the recipe's own sections; the rest are names of steps. Siblings share a part.
    """
    spec = recipe.task.spec
    wanted: list[tuple[str, str, int]] = [("teach", spec, recipe.teach.problems)]
    if recipe.sample is not None:
        wanted.append(("sample", spec, recipe.sample.problems))
    if worked := max((made.needs.num_worked for made in (*recipe.students, *recipe.steps)), default=0):
        wanted.append(("students", spec, worked))
    wanted += [(step.name, step.task or spec, count) for step in recipe.steps if (count := step.needs.num_problems)]
    parts: dict[str, ProblemPart] = {}
    taken: Counter[str] = Counter()
    for name, task, count in wanted:
        parts[name] = ProblemPart(task=task, first=taken[task], count=count)
        taken[task] += count
    return parts


def drawn_settings(node: Node, recipe: Recipe) -> tuple[dict[str, JSON], tuple[str, ...]]:
    """Settings of a stage with problems of its own, and what it comes after.

    With a task of its own it keeps clear of the problems that worked traces are made of.
    """
    part = problem_parts(recipe)[node.entry]
    settings: dict[str, JSON] = {**made_settings(node, recipe), "problems": [part.task, part.first, part.count]}
    return settings, tuple(dict.fromkeys(("traces", *node.stages_before)))


def train_problems(context: RunContext, *, first: int, count: int) -> list[Problem]:
    """``count`` problems of the run's own order of the train bucket, from ``first`` on."""
    task = load_task(context.recipe.task.spec)
    drawn = task.problems("train", seed=context.seed("train"), count=first + count)
    return list(islice(drawn, first, None))


def problems_of(context: RunContext, name: str) -> list[Problem]:
    """The problems of a step.

    One with a task of its own may meet the recipe's problems under another name: those that traces are made of are
    left out.
    """
    part = problem_parts(context.recipe)[name]
    if part.task == context.recipe.task.spec:
        return train_problems(context, first=part.first, count=part.count)
    studied = {trace.problem.canonical_text for trace in _all_worked(context)}
    drawn = load_task(part.task).problems(
        "train", seed=context.seed("train"), count=part.first + part.count + len(studied)
    )
    fresh = (problem for problem in drawn if problem.canonical_text not in studied)
    return list(islice(fresh, part.first, part.first + part.count))


def _all_worked(context: RunContext) -> Iterator[Trace]:
    for path in sorted(context.stage("traces").path.glob("*.jsonl")):
        yield from read_traces(path)


def _verified_solutions(task: Task, problems: Iterable[Problem], dropped: Counter[str]) -> Iterator[Trace]:
    for problem in problems:
        if problem.solution is None:
            dropped["no worked solution"] += 1
            continue
        verdict = task.grade(problem, problem.solution)
        if verdict.status == "correct":
            yield Trace(problem=problem, text=problem.solution)
        else:
            dropped[verdict.status] += 1


def cut_to_answers(task: Task, traces: Sequence[Trace], share: float, *, seed: int) -> Sequence[Trace]:
    """Cut a share of the solutions to their answer alone, in the form that tasks ask for.

    Raises:
        TaskError: The verifier does not accept such an answer.
    """
    is_cut = np.zeros(len(traces), dtype=np.bool_)
    for place in random.Random(seed).sample(range(len(traces)), round(share * len(traces))):
        problem = traces[place].problem
        if task.grade(problem, _answer_alone(task, problem)).status != "correct":
            raise TaskError(
                f"{task.name} does not accept an answer without its working.", hint="Leave direct_share out."
            )
        is_cut[place] = True
    return MappedSequence(
        traces, lambda place, trace: replace(trace, text=_answer_alone(task, trace.problem)) if is_cut[place] else trace
    )


def _answer_alone(task: Task, problem: Problem) -> str:
    return f"#### {task.gold(problem)}"


def write_worked_traces(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Worked solutions for teaching, and fresh ones that all students share.

    Raises:
        TaskError: The task has no worked solution that its own verifier accepts.
    """
    task = load_task(context.recipe.task.spec)
    parts = problem_parts(context.recipe)
    counts: dict[str, JSON] = {}
    for name in ("teach", "students"):
        if name not in parts:
            continue
        problems = train_problems(context, first=parts[name].first, count=parts[name].count)
        counts[name] = write_solutions(task, problems, stage.path / f"{name}.jsonl")
        events.progress(len(problems), len(problems), "problems")
    return {"counts": counts, "summary": ", ".join(f"{name} {kept_words(value)}" for name, value in counts.items())}


def write_solutions(
    task: Task, problems: list[Problem], path: Path, *, cut: tuple[float, int] = (0.0, 0)
) -> dict[str, JSON]:
    """Write what the verifier accepts; ``cut`` is the share left as bare answers, and the seed that picks them."""
    dropped: Counter[str] = Counter()
    num_kept = write_traces(path, _verified_solutions(task, problems, dropped))
    if not num_kept:
        path.unlink()
        raise TaskError(
            f"{task.name} has no worked solutions that its verifier accepts.",
            hint="Choose a task with worked solutions (`spiritsafe tasks list`).",
        )
    share, seed = cut
    if share:
        write_traces(path, cut_to_answers(task, read_traces(path), share, seed=seed))
    return {"asked": len(problems), "verified": num_kept, "dropped": dict(dropped)}


def kept_words(value: JSON) -> str:
    """How many answers the verifier let through."""
    counts = dict(value) if isinstance(value, dict) else {}
    return f"{counts.get('verified')} of {counts.get('asked')} verified"


def worked_traces(context: RunContext, name: Literal["teach", "students"]) -> Traces:
    """The worked traces that the teacher or the students learn from."""
    return read_traces(context.stage("traces").path / f"{name}.jsonl")


def student_traces(context: RunContext, kinds: Sequence[str], count: int) -> Traces:
    """What a student learns from: the first ``count`` of these kinds, in an order that all students share.

    A student that wants fewer gets a part of what another one gets, so one cache of the teacher's signal serves all.
    """
    names = sorted(kinds, key=("sampled", WORKED, *kinds).index)
    traces = Traces.joined([traces_of(context, name) for name in names])
    return traces.shuffled(context.seed("mix"))[:count]


def traces_of(context: RunContext, name: str) -> Traces:
    """A set of answers by its name."""
    if name == WORKED:
        return worked_traces(context, "students")
    return sampled_traces(context) if name == "sampled" else read_traces(context.stage(name).path / TRACES_FILE)


def tune_traces(context: RunContext, wanted: dict[str, int]) -> dict[str, Traces]:
    """So many answers of each set; fewer where a set has fewer."""
    return {
        name: traces_of(context, name).shuffled(context.seed("mix", name))[:count] for name, count in wanted.items()
    }


def sampled_traces(context: RunContext) -> Traces:
    """The teacher's verified attempts."""
    return read_traces(context.stage("sample").path / TRACES_FILE)
