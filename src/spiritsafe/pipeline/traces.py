"""Stages "traces" and "sample": answers worth learning from, each accepted by the task's verifier.

"traces" takes worked solutions that come with the task; "sample" lets the taught teacher answer and keeps what the
verifier calls correct. Both leave ``traces.jsonl``. Only the train bucket is read.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import write_json
from spiritsafe.core.records import Problem
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.models import open_generator, preferred_dtype
from spiritsafe.pipeline.context import RunContext, Trace, read_traces, write_traces
from spiritsafe.rollouts import collect, verified
from spiritsafe.tasks import Task, load_task

__all__ = [
    "sample_teacher",
    "sampled_traces",
    "student_traces",
    "train_problems",
    "worked_traces",
    "write_worked_traces",
]


def train_problems(context: RunContext, *, first: int, count: int) -> list[Problem]:
    """``count`` problems of the run's own order of the train bucket, from ``first`` on."""
    task = load_task(context.recipe.task.spec)
    drawn = task.problems("train", seed=context.seed("train"), count=first + count)
    return list(islice(drawn, first, None))


def _verified_solutions(task: Task, problems: list[Problem]) -> tuple[list[Trace], Counter[str]]:
    kept: list[Trace] = []
    dropped: Counter[str] = Counter()
    for problem in problems:
        if problem.solution is None:
            dropped["no worked solution"] += 1
            continue
        verdict = task.grade(problem, problem.solution)
        if verdict.status == "correct":
            kept.append(Trace(problem=problem, text=problem.solution))
        else:
            dropped[verdict.status] += 1
    return kept, dropped


def write_worked_traces(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Worked solutions for teaching, and fresh ones that all students share.

    Raises:
        TaskError: The task has no worked solution that its own verifier accepts.
    """
    task = load_task(context.recipe.task.spec)
    needed = _problems_needed(context)
    problems = train_problems(context, first=0, count=sum(needed.values()))
    counts: dict[str, JSON] = {}
    start = 0
    for name, count in needed.items():
        part = problems[start : start + count]
        start += count
        if name == "sample":  # these problems are the teacher's to answer
            continue
        kept, dropped = _verified_solutions(task, part)
        if not kept:
            raise TaskError(
                f"{task.name} has no worked solutions that its verifier accepts.",
                hint="Choose a task with worked solutions (`spiritsafe tasks list`).",
            )
        write_traces(stage.path / f"{name}.jsonl", kept)
        counts[name] = {"asked": len(part), "verified": len(kept), "dropped": dict(dropped)}
        events.progress(start, len(problems), "problems")
    return {"counts": counts, "summary": ", ".join(f"{name} {_kept(value)}" for name, value in counts.items())}


def _kept(value: JSON) -> str:
    counts = dict(value) if isinstance(value, dict) else {}
    return f"{counts.get('verified')} of {counts.get('asked')} verified"


def _problems_needed(context: RunContext) -> dict[str, int]:
    """Consecutive, disjoint parts of the train bucket: who gets how many problems."""
    recipe = context.recipe
    needed = {"teach": recipe.teach.problems}
    if recipe.sample is not None:
        needed["sample"] = recipe.sample.problems
    worked = [student.problems for student in recipe.students if "worked" in student.traces]
    if worked:
        needed["students"] = max(worked)
    return needed


def worked_traces(context: RunContext, name: Literal["teach", "students"]) -> list[Trace]:
    """The worked traces that the teacher or the students learn from."""
    return read_traces(context.stage("traces").path / f"{name}.jsonl")


def student_traces(context: RunContext, kinds: Sequence[str], count: int) -> list[Trace]:
    """What a student learns from: the first ``count`` of these kinds, in an order that all students share.

    A student that wants fewer gets a part of what another one gets, so one cache of the teacher's signal serves all.
    """
    traces: list[Trace] = []
    if "sampled" in kinds:
        traces += sampled_traces(context)
    if "worked" in kinds:
        traces += worked_traces(context, "students")
    random.Random(context.seed("mix")).shuffle(traces)
    return traces[:count]


def sample_teacher(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """The taught teacher answers its share of training problems; the verifier filters."""
    recipe = context.recipe.sample
    if recipe is None:
        raise TaskError("The recipe has no [sample] section.", hint="Add one.")
    task = load_task(context.recipe.task.spec)
    problems = train_problems(context, first=context.recipe.teach.problems, count=recipe.problems)
    generator = open_generator(
        context.stage("teach").path / "model",
        max_batch=context.recipe.engine.max_batch,
        max_context=context.recipe.engine.max_context,
        device=context.device,
        dtype=preferred_dtype(context.device),
    )
    try:
        report = collect(
            task,
            problems,
            generator,
            recipe.sampling,
            num_samples=recipe.num_samples,
            seed=context.seed("sample"),
            directory=stage.path / "attempts",
            shard_size=recipe.shard_size,
            events=events,
        )
    finally:
        generator.close()
    kept, counts = verified(stage.path / "attempts", max_per_problem=recipe.keep)
    by_id = {problem.id: problem for problem in problems}
    write_traces(
        stage.path / "traces.jsonl",
        [Trace(problem=by_id[name], text=attempt.text, token_ids=attempt.token_ids) for name, attempt in kept],
    )
    write_json(stage.path / "report.json", counts.to_json())
    return {
        "rows": report.rows_digest,
        "asked": counts.num_asked,
        "verified": counts.num_kept,
        "dropped": {str(reason): count for reason, count in counts.dropped.items()},
        "summary": f"{counts.num_kept} of {counts.num_asked} attempts verified",
    }


def sampled_traces(context: RunContext) -> list[Trace]:
    """The teacher's verified attempts."""
    return read_traces(context.stage("sample").path / "traces.jsonl")
