"""Stages "traces", "sample" and steps that sample: answers worth learning from, each accepted by the task's verifier.

"traces" takes worked solutions that come with the task; "sample" lets the taught teacher answer and keeps what the
verifier calls correct; a step does either, with any model and task. All leave ``traces.jsonl`` or the like. Only the
train bucket is read, and each part of a recipe has problems of its own.
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
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.records import Problem
from spiritsafe.models import ChatFormat, active_parameters, open_generator, preferred_dtype, read_checkpoint
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, Traces, read_traces, write_traces
from spiritsafe.pipeline.recipe.schema import Recipe, SampleRecipe
from spiritsafe.pipeline.recipe.steps import WORKED, SampleStep, TuneStep
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.rollouts import VerifiedAttempts, collect
from spiritsafe.tasks import Task, load_task

_TRACES = "traces.jsonl"


@final
@dataclass(frozen=True, kw_only=True)
class ProblemPart:
    """A part of a task's train bucket.

    Attributes:
        task: The task's spec.
        first: Where it starts in the run's own order of the bucket.
        count: Problems.
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
    worked = [student.problems for student in recipe.students if WORKED in student.traces]
    worked += [step.traces[WORKED] for step in recipe.steps if isinstance(step, TuneStep) and WORKED in step.traces]
    if worked:
        wanted.append(("students", spec, max(worked)))
    wanted += [(step.name, step.task or spec, step.problems) for step in recipe.steps if not isinstance(step, TuneStep)]
    parts: dict[str, ProblemPart] = {}
    taken: Counter[str] = Counter()
    for name, task, count in wanted:
        parts[name] = ProblemPart(task=task, first=taken[task], count=count)
        taken[task] += count
    return parts


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
        traces,
        lambda place, trace: replace(trace, text=_answer_alone(task, trace.problem)) if is_cut[place] else trace,
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
        counts[name] = _write_solutions(task, problems, stage.path / f"{name}.jsonl")
        events.progress(len(problems), len(problems), "problems")
    return {"counts": counts, "summary": ", ".join(f"{name} {_kept(value)}" for name, value in counts.items())}


def _write_solutions(
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


def _kept(value: JSON) -> str:
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
    return sampled_traces(context) if name == "sampled" else read_traces(context.stage(name).path / _TRACES)


def tune_traces(context: RunContext, wanted: dict[str, int]) -> dict[str, Traces]:
    """So many answers of each set; fewer where a set has fewer."""
    return {
        name: traces_of(context, name).shuffled(context.seed("mix", name))[:count] for name, count in wanted.items()
    }


def sample_teacher(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """The taught teacher answers its share of training problems; the verifier filters."""
    recipe = context.recipe.sample
    if recipe is None:
        raise TaskError("The recipe has no [sample] section.", hint="Add one.")
    part = problem_parts(context.recipe)["sample"]
    problems = train_problems(context, first=part.first, count=part.count)
    return _sample(context, stage, events, "teacher", load_task(part.task), problems, recipe, seed=("sample",))


def sample_for(step: SampleStep, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """A step's answers: worked solutions, or a model's verified attempts."""
    task = load_task(step.task or context.recipe.task.spec)
    problems = problems_of(context, step.name)
    if step.start == WORKED:
        cut = (step.direct_share, context.seed("direct", step.name))
        counts = _write_solutions(task, problems, stage.path / _TRACES, cut=cut)
        return {**counts, "summary": _kept(counts)}
    if step.sampling is None:
        raise TypeError("a step that samples from a model says how")
    recipe = SampleRecipe(
        problems=step.problems,
        num_samples=step.num_samples,
        keep=step.keep,
        sampling=step.sampling,
        shard_size=step.shard_size,
    )
    return _sample(context, stage, events, step.start, task, problems, recipe, seed=("sample", step.name))


def _sample(
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
    model: str,
    task: Task,
    problems: list[Problem],
    recipe: SampleRecipe,
    *,
    seed: tuple[str, ...],
) -> dict[str, JSON]:
    directory = model_directory(context, model)
    generator = open_generator(
        directory,
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
            seed=context.seed(*seed),
            directory=stage.path / "attempts",
            shard_size=recipe.shard_size,
            events=events,
        )
    finally:
        generator.close()
    kept = VerifiedAttempts(stage.path / "attempts", max_per_problem=recipe.keep)
    by_id = {problem.id: problem for problem in problems}
    vocabulary = ChatFormat(directory).vocab_fingerprint
    write_traces(
        stage.path / _TRACES,
        (
            Trace(problem=by_id[name], text=attempt.text, token_ids=attempt.token_ids, vocabulary=vocabulary)
            for name, attempt in kept
        ),
    )
    counts = kept.report
    write_json(stage.path / "report.json", counts.to_json())
    return {
        "rows": report.rows_digest,
        "asked": counts.num_asked,
        "verified": counts.num_kept,
        "dropped": {str(reason): count for reason, count in counts.dropped.items()},
        "compute": Compute.generating(
            report.num_tokens, active_parameters(directory, read_checkpoint(directory))
        ).to_json(),
        "summary": f"{counts.num_kept} of {counts.num_asked} attempts verified",
    }


def sampled_traces(context: RunContext) -> Traces:
    """The teacher's verified attempts."""
    return read_traces(context.stage("sample").path / _TRACES)
