"""Data sets drawn, and the sets of answers and solutions that models learn from.

In: a ``[data.<name>]`` table. Out: ``problems.jsonl`` and, where rows have them, ``traces.jsonl``: solutions that the
verifier accepted, or all where there is none. Only the train bucket is read, and no problem is in two sets.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.records import Problem
from spiritsafe.pipeline.context import (
    PROBLEMS_FILE,
    RunContext,
    Trace,
    Traces,
    read_problems,
    read_traces,
    write_traces,
)
from spiritsafe.pipeline.recipe.data import DataRecipe, fresh_problems, text_key
from spiritsafe.pipeline.recipe.made import Learns, wanted_of
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.tasks import MixTask, Task, build_task

TRACES_FILE = "traces.jsonl"


def draw_data(
    data: DataRecipe, name: str, context: RunContext, stage: StageDirectory, events: EventSink
) -> dict[str, JSON]:
    """Draw a set's problems, none that a set before it has, and keep its solutions.

    Raises:
        TaskError: There are fewer than were asked for.
    """
    task = build_task(data.spec())
    names = list(context.recipe.data)
    taken = {text_key(problem) for other in names[: names.index(name)] for problem in read_problems(context, other)}
    problems = list(fresh_problems(task, data, taken, seed=context.seed("train")))
    _write_problems(stage.path / PROBLEMS_FILE, problems)
    dropped: Counter[str] = Counter()
    solutions = stage.path / TRACES_FILE
    num_kept = write_traces(solutions, worked_solutions(task, problems, dropped))
    if data.direct_share:
        cut = cut_to_answers(task, read_traces(solutions), data.direct_share, seed=context.seed("direct", name))
        write_traces(solutions, cut)
    events.progress(len(problems), len(problems), "problems")
    num_solutions = len(problems) - dropped["no worked solution"]
    summary = f"{len(problems):,} problems, {num_kept:,} of {num_solutions:,} solutions "
    return {
        "task": task.name,
        "problems": len(problems),
        "verifies": task.verifies,
        "asked": len(problems),
        "verified": num_kept,
        "dropped": dict(dropped),
        "summary": summary + ("verified" if task.verifies else "kept"),
    }


def _write_problems(path: Path, problems: Iterable[Problem]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for problem in problems:
            file.write(json.dumps(problem.to_json()).encode("ascii") + b"\n")  # half a surrogate pair survives so


def problems_of(context: RunContext, names: Sequence[str]) -> list[Problem]:
    """The problems of some data sets."""
    return [problem for name in names for problem in read_problems(context, name)]


def task_of(context: RunContext, names: Sequence[str]) -> Task:
    """The task that grades the problems of some data sets: theirs, or a mix of theirs."""
    return joint_task([str(context.stage(name).result()["task"]) for name in names])


def joint_task(specs: Sequence[str]) -> Task:
    """One task that grades the problems of several.

    Raises:
        TaskError: One of them cannot be a part of a mix.
    """
    tasks = list({task.name: task for task in map(build_task, dict.fromkeys(specs))}.values())
    if len(tasks) == 1:
        return tasks[0]
    parts = [one for task in tasks for one in (_parts(task) if isinstance(task, MixTask) else [task])]
    return MixTask([(part, 1) for part in {part.name: part for part in parts}.values()])


def _parts(mix: MixTask) -> list[Task]:
    return [part.task for part in mix.parts]


def worked_solutions(task: Task, problems: Iterable[Problem], dropped: Counter[str]) -> Iterator[Trace]:
    """Solutions that the verifier accepts, or all where there is none; why others were not taken is counted."""
    for problem in problems:
        if problem.solution is None:
            dropped["no worked solution"] += 1
            continue
        verdict = task.grade(problem, problem.solution)
        if verdict.status == "correct" or not task.verifies:
            yield Trace(problem=problem, text=problem.solution, turns=turns_of(problem))
        else:
            dropped[verdict.status] += 1


def turns_of(problem: Problem) -> tuple[int, ...]:
    """Places of earlier assistant turns that are learnt from as well."""
    turns = problem.facts.get("turns") or ()
    return tuple(place for place in turns if isinstance(place, int)) if isinstance(turns, list | tuple) else ()


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


def set_traces(context: RunContext, name: str) -> Traces:
    """The solutions of a data set, or a set of answers."""
    return read_traces(context.stage(name).path / TRACES_FILE)


def chosen_traces(context: RunContext, learns: Learns) -> dict[str, Traces]:
    """So many of each set, in an order that all who learn from it share; fewer where a set has fewer.

    Who wants fewer gets a part of what another one gets, so one capture of a teacher's signal serves all.
    """
    return {
        name: set_traces(context, name).shuffled(context.seed("mix", name))[:count]
        for name, count in wanted_of(learns).items()
    }
