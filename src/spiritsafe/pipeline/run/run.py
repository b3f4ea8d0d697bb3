"""Running a recipe: its stages in order, each skipped when it is done and its inputs are the same.

In: a :class:`Recipe` and a root folder. Out: a run directory that ends in certificates and a report. Killed anywhere,
the same call goes on and ends in the same result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.events import EventLog, EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.lock import locked
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error
from spiritsafe.core.process.platforms import in_a_row, other_text
from spiritsafe.models import preferred_dtype, this_platform
from spiritsafe.pipeline.context import RunContext, RunWatcher
from spiritsafe.pipeline.plan.memory import planned_device
from spiritsafe.pipeline.plan.peak_memory import peak_bytes, reset_peak
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory
from spiritsafe.pipeline.stages.checks import ease_memory
from spiritsafe.pipeline.stages.release import release_directory, releases_of
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.step import StageSpec
from spiritsafe.pipeline.summary.gather import memory_uses
from spiritsafe.tracking import TrackedRun, Tracking
from spiritsafe.training import Parallel, choose_mode, current_parallel, give_back_memory

_SEEN_WITHIN_S = 30.0
"""So long a shared file system may take to show one machine what another has written."""


@final
@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        num_run: Stages that had work to do; 0 when everything was done before.
        models: Where the models lie that steps made, controls left out.
        releases: Where the releases lie.
    """

    directory: Path
    num_run: int
    num_skipped: int
    report: Path
    models: dict[str, Path]
    releases: dict[str, Path]


def run_recipe(recipe: Recipe, recipe_text: str, *, root: Path, cache: Path, watcher: RunWatcher) -> RunOutcome:
    """Run every stage that is not done.

    Under torchrun every process must make this call. Stages that train are worked on by all, each with models on its
    own device; the others by the main one, which alone writes the run directory, while the rest wait.

    Args:
        recipe_text: The file it was read from, kept in the run directory.
        root: Where run directories go; every process must see it.
        watcher: Hears of stages and progress, in the main process.

    Raises:
        CompatibilityError: It was begun where models sample in another number format than here, or processes do not
            fit each other or do not see the same files, or the library of a tracker is not installed.
        ProcedureError: Another process failed; the message is its own.
        SpiritsafeError: A stage failed; what was finished stays, and the same call goes on from there.
    """
    run = RunDirectory(root, recipe.name, recipe.resolved())
    parallel = current_parallel()
    with parallel.shared_fate():
        parallel.require_same(run.hash, what="the recipe")
        tracking = _tracking(recipe, run, watcher, parallel)
        if parallel.is_main:
            ensure_directory(root)
            run.create(recipe_text)
        exact = frozenset(spec.name for spec in stages_of(recipe) if spec.is_exact)
        context = RunContext(recipe=recipe, run=run, watcher=watcher, cache=cache, done={}, exact=exact)
        with locked(run.path / ".lock") if parallel.is_main else nullcontext(), tracking:
            return _run_stages(context, tracking, parallel)


def _tracking(recipe: Recipe, run: RunDirectory, watcher: RunWatcher, parallel: Parallel) -> Tracking:
    """What the main process tells trackers; the others tell nothing."""
    told = TrackedRun(
        name=run.path.name, id=run.hash.partition(":")[2], project=recipe.track.project, directory=run.path
    )
    names = recipe.track.trackers if parallel.is_main else ()
    return Tracking(names, told, log=EventLog(run.events, stage="run"), watcher=watcher)


def _run_stages(context: RunContext, tracking: Tracking, parallel: Parallel) -> RunOutcome:
    recipe, run = context.recipe, context.run
    choose_mode("auto", parallel, context.device)  # fewer GPUs than processes: it is said before anything is done
    num_run = work_off(context, enumerate(stages_of(recipe), start=1), tracking, parallel)
    made = {node.name: node for node in recipe.made if node.makes_model and node.control is None}
    return RunOutcome(
        directory=run.path,
        num_run=num_run,
        num_skipped=len(context.done) - num_run,
        report=run.path / "report.html",
        models={name: model_directory(context, name) for name in made},
        releases={node.name: release_directory(context, node.name) for node in releases_of(recipe)},
    )


def work_off(
    context: RunContext, stages: Iterable[tuple[int, StageSpec]], tracking: Tracking, parallel: Parallel
) -> int:
    """Work on each stage that is not done; all of them are done in the context then.

    Args:
        stages: With the number of each one's folder.

    Returns:
        How many had work to do.

    Raises:
        SpiritsafeError: As :func:`run_recipe`.
    """
    num_run = 0
    for number, spec in stages:
        stage = context.run.stage(number, spec.name, parallel.on_main(partial(_inputs, context, spec)))
        if parallel.on_main(stage.is_done):
            if parallel.is_main:
                context.watcher.skip(spec.name, str(stage.result().get("summary", "")))
        else:
            if spec.is_collective:
                _run_stage(context, spec, stage, tracking, parallel)
            else:
                parallel.on_main(partial(_run_stage, context, spec, stage, tracking, Parallel()))
            num_run += 1
        _require_seen(stage, parallel)
        context.done[spec.name] = stage
    return num_run


def _inputs(context: RunContext, spec: StageSpec) -> dict[str, JSON]:
    return {
        "spiritsafe": __version__,
        "settings": spec.settings,
        "after": {name: context.stage(name).output_digest() for name in spec.after},
    }


def _require_seen(stage: StageDirectory, parallel: Parallel) -> None:
    """Refuse to go on where a process does not see what the main one wrote.

    Raises:
        CompatibilityError: One does not.
    """
    if parallel.size == 1:
        return
    parallel.on_main(lambda: None)  # however long its last work takes
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not stage.is_seen() and time.monotonic() < deadline:
        time.sleep(0.1)
    blind = [rank for rank, is_seen in enumerate(parallel.gather(stage.is_seen())) if not is_seen]
    if blind:
        raise CompatibilityError(
            f"Processes {blind} do not see {stage.path}, which process 0 has written.",
            hint="Give --root a folder on a file system that all machines share, under the same path.",
        )


def _run_stage(
    context: RunContext, spec: StageSpec, stage: StageDirectory, tracking: Tracking, parallel: Parallel
) -> None:
    """Work on a stage, alone or with all processes; the main one writes it."""
    parallel.on_main(partial(_begin, context, spec, stage))
    if not parallel.is_main:
        give_back_memory()
        with TemporaryDirectory(prefix="spiritsafe-") as own:
            _worked(context, spec, stage.beside(Path(own)), NullSink())
        return
    context.watcher.begin(spec.name)
    give_back_memory()
    reset_peak()
    started = time.monotonic()
    events = EventLog(context.run.events, stage=spec.name, forward=tracking.heard(spec.name, context.watcher))
    try:
        result = _worked(context, spec, stage, events)
    except BaseException:
        context.watcher.end()
        raise
    seconds, peak = time.monotonic() - started, peak_bytes()
    events.metrics("stage", {"seconds": round(seconds, 3), "peak_bytes": peak, "summary": result.get("summary")})
    if "check" in context.done:
        for use in memory_uses(context, {spec.name: peak}):
            if use.missed:
                events.metrics("memory_missed", {"text": use.missed})
    stage.finish(result, scratch=spec.scratch)
    context.watcher.end(str(result.get("summary", "")))


def _begin(context: RunContext, spec: StageSpec, stage: StageDirectory) -> None:
    """Begin a stage; say it where this one, or stages before it, were computed on another platform.

    Raises:
        CompatibilityError: They were in another number format: what models sample in, and what "auto" comes to.
    """
    if spec.is_exact:
        stage.begin()
        return
    device = planned_device(context.recipe)
    here = this_platform(device, preferred_dtype(device))
    known = in_a_row([*context.platforms().values(), stage.earlier()])
    text = other_text(known, here, what="This run")
    stage.begin(here)
    if text is not None and known[-1] != here:
        EventLog(context.run.events, stage="run", forward=context.watcher).metrics("warning", {"message": text})


def _worked(context: RunContext, spec: StageSpec, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """What the stage's work returns; where its memory ran out, what the same command will do then.

    Raises:
        BudgetError: Memory ran out.
        CompatibilityError: The work needs float64, and the device has none.
    """
    try:
        return spec.work(context, stage, events)
    except TypeError as error:
        if context.device.type != "mps" or "float64" not in str(error):
            raise
        raise CompatibilityError(
            f"{spec.name} computes in float64, which this GPU does not have: {error}.",
            hint='Set engine.device to "cpu" for this recipe.',
        ) from error
    except (MemoryError, RuntimeError, OSError) as error:
        cause = error.__cause__ if isinstance(error, BudgetError) and error.__cause__ is not None else error
        if not is_out_of_memory(cause):
            raise
        eased = ease_memory(stage)
        if eased is None:
            raise memory_error(cause) from error
        hint = f"Run the same command again: it goes on from its last checkpoint. {eased.note}"
        raise memory_error(cause, hint=hint) from error
