"""Running a recipe: its stages in order, each skipped when it is done and its inputs are the same.

In: a :class:`Recipe` and a root folder. Out: a run directory that ends in certificates and a report. Killed anywhere,
the same call goes on and ends in the same result.

Exercised by ``spiritsafe run tiny``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventLog, EventSink
from spiritsafe.core.files import ensure_directory, locked
from spiritsafe.core.rundir import RunDirectory, StageDirectory
from spiritsafe.pipeline.capturing import capture_teacher
from spiritsafe.pipeline.context import RunContext, RunWatcher
from spiritsafe.pipeline.cutting import cut_stage, make_cut
from spiritsafe.pipeline.examine import seal_paper, sit_exam
from spiritsafe.pipeline.peak import peak_bytes, reset_peak
from spiritsafe.pipeline.recipe import Recipe
from spiritsafe.pipeline.source import fetch_source
from spiritsafe.pipeline.student import make_student
from spiritsafe.pipeline.summary import write_summary
from spiritsafe.pipeline.teach import teach
from spiritsafe.pipeline.traces import sample_teacher, write_worked_traces
from spiritsafe.training import give_back_memory, is_torchrun

__all__ = ["RunOutcome", "StageSpec", "run_recipe", "stages_of"]

Work = Callable[[RunContext, StageDirectory, EventSink], dict[str, JSON]]


@final
@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One step of a run.

    Attributes:
        settings: The part of the recipe it reads.
        after: Stages whose outputs it reads.
        scratch: Files it leaves that are no outputs.
    """

    name: str
    work: Work
    settings: dict[str, JSON]
    after: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        num_run: Stages that had work to do; 0 when everything was done before.
    """

    directory: Path
    num_run: int
    num_skipped: int
    report: Path


def stages_of(recipe: Recipe) -> list[StageSpec]:
    """The stages of a recipe, in order."""
    whole = recipe.to_json()
    common: dict[str, JSON] = {"seed": recipe.seed, "task": whole["task"]}
    stages = [
        StageSpec(name="source", work=fetch_source, settings={"source": whole["source"]}),
        # The paper is sealed before anything is trained, so that nobody can say it was drawn to fit a model.
        StageSpec(name="seal", work=seal_paper, settings={"task": whole["task"], "exam": whole["exam"]}),
        StageSpec(
            name="traces",
            work=write_worked_traces,
            settings={
                **common,
                "teach": recipe.teach.problems,
                "sample": whole["sample"],
                "students": whole["students"],
            },
        ),
        StageSpec(
            name="teach",
            work=teach,
            settings={**common, "teach": whole["teach"], "engine": whole["engine"]},
            after=("source", "traces"),
            scratch=("training",),
        ),
    ]
    if recipe.sample is not None:
        stages.append(
            StageSpec(
                name="sample",
                work=sample_teacher,
                settings={**common, "sample": whole["sample"], "engine": whole["engine"]},
                after=("teach",),
                scratch=(
                    "attempts",
                ),  # holds seconds, which differ each time; its digest without them is in the result
            )
        )
    stages += _student_stages(recipe, common)
    models = ("source", "teach", *(student.name for student in recipe.rungs))
    stages.append(
        StageSpec(
            name="exam",
            work=sit_exam,
            settings={"exam": whole["exam"], "engine": whole["engine"]},
            after=("seal", *models),
            scratch=("sittings",),
        )
    )
    before = tuple(stage.name for stage in stages)
    stages.append(StageSpec(name="report", work=write_summary, settings={"recipe": whole}, after=before))
    return stages


def _student_stages(recipe: Recipe, common: dict[str, JSON]) -> list[StageSpec]:
    """One capture for all cached students, one cut for all students that have the same, and each student."""
    engine = recipe.engine.to_json()
    sources = ("teach", "traces") if recipe.sample is None else ("teach", "traces", "sample")
    stages: list[StageSpec] = []
    if recipe.cache is not None:
        wanted: list[JSON] = [[list(s.traces), s.problems] for s in recipe.students if s.signal == "cached"]
        settings: dict[str, JSON] = {**common, "cache": recipe.cache.to_json(), "wanted": wanted}
        stages.append(StageSpec(name="capture", work=capture_teacher, settings=settings, after=sources))
    made: set[str] = set()
    for student in recipe.rungs:
        settings = {**common, "student": student.to_json(), "engine": engine}
        cut = None if student.source is not None else cut_stage(student, recipe.students)
        if cut is not None and cut not in made:
            # a race heals its candidates in the student's own way
            training = student.train.to_json() if student.shape == "race" else None
            cut_settings = {
                **common,
                "cut": student.cut.to_json(),
                "traces": list(student.traces),
                "problems": student.problems,
                "train": training,
            }
            stages.append(
                StageSpec(
                    name=cut,
                    work=partial(make_cut, student),
                    settings=cut_settings,
                    after=sources,
                    scratch=("candidates", "race"),
                )
            )
            made.add(cut)
        after = (*sources, *((cut,) if cut else ()), *(("capture",) if student.signal == "cached" else ()))
        stages.append(
            StageSpec(
                name=student.name,
                work=partial(make_student, student),
                settings=settings,
                after=after,
                scratch=("training", "start", "rounds"),
            )
        )
    return stages


def run_recipe(recipe: Recipe, recipe_text: str, *, root: Path, cache: Path, watcher: RunWatcher) -> RunOutcome:
    """Run every stage that is not done.

    Args:
        recipe: What to do.
        recipe_text: The file it was read from, kept in the run directory.
        root: Where run directories go.
        cache: Where fetched models lie.
        watcher: Hears of stages and progress.

    Raises:
        RecipeError: Called under torchrun.
        SpiritsafeError: A stage failed; what was finished stays, and the same call goes on from there.
    """
    if is_torchrun():
        raise RecipeError(
            "A whole run is one process; torchrun has started several.",
            hint="Run it without torchrun; `spiritsafe.training.train` in a program of your own runs under torchrun.",
        )
    run = RunDirectory(root, recipe.name, recipe.resolved())
    ensure_directory(root)
    run.create(recipe_text)
    with locked(run.path / ".lock"):
        context = RunContext(recipe=recipe, run=run, watcher=watcher, cache=cache, done={})
        num_run = 0
        for number, spec in enumerate(stages_of(recipe), start=1):
            inputs: dict[str, JSON] = {
                "spiritsafe": __version__,
                "settings": spec.settings,
                "after": {name: context.stage(name).output_digest() for name in spec.after},
            }
            stage = run.stage(number, spec.name, inputs)
            if stage.is_done():
                watcher.skip(spec.name, str(stage.result().get("summary", "")))
            else:
                _run_stage(context, spec, stage)
                num_run += 1
            context.done[spec.name] = stage
        report = run.path / "report.html"
        return RunOutcome(directory=run.path, num_run=num_run, num_skipped=len(context.done) - num_run, report=report)


def _run_stage(context: RunContext, spec: StageSpec, stage: StageDirectory) -> None:
    stage.begin()
    context.watcher.begin(spec.name)
    give_back_memory()
    reset_peak()
    started = time.monotonic()
    events = EventLog(context.run.events, stage=spec.name, forward=context.watcher)
    try:
        result = spec.work(context, stage, events)
    except BaseException:
        context.watcher.end()
        raise
    seconds = time.monotonic() - started
    events.metrics(
        "stage",
        {"seconds": round(seconds, 3), "peak_bytes": peak_bytes(), "summary": result.get("summary")},
    )
    stage.finish(result, scratch=spec.scratch)
    context.watcher.end(str(result.get("summary", "")))
