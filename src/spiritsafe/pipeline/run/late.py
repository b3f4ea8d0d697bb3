"""More out of a run that is finished: a model as other files, their sittings of the same papers, and a release.

In: a run directory. Out: further stages in it, and a report that knows of them. Nothing is trained again; the papers
were sealed before anything was, and each file is registered before it sits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.events import EventLog
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.lock import locked
from spiritsafe.pipeline.context import RunContext, RunWatcher
from spiritsafe.pipeline.plan.known import forecast_of_run
from spiritsafe.pipeline.recipe.graph import unknown
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run.run import work_off
from spiritsafe.pipeline.run.stages import report_stage, sitting, stages_of
from spiritsafe.pipeline.run_directory import RunDirectory
from spiritsafe.pipeline.stages.exam import late_stage
from spiritsafe.pipeline.stages.release import release_directory, releases_of
from spiritsafe.pipeline.step import StageSpec, step_of
from spiritsafe.pipeline.steps.quantise import QuantiseStep
from spiritsafe.tracking import TrackedRun, Tracking
from spiritsafe.training import Parallel

_RELEASE = "late-release"


@final
@dataclass(frozen=True, kw_only=True)
class LateRelease:
    """What is to be released of a run.

    Attributes:
        model: Its name in the run; None: what the recipe itself releases, else the last model that files were made of,
            else the last one that was made.
        files: Types of GGUF files to make of it, beside those that the run made.
        settings: Further keys of a ``release`` step.
    """

    model: str | None = None
    files: tuple[str, ...] = ()
    settings: dict[str, Any]


def release_run(run: Path, wish: LateRelease, *, cache: Path, watcher: RunWatcher) -> Path:
    """Release a model of a finished run.

    Returns:
        The release's folder, inside the run's.

    Raises:
        SourceError: There is no run, or it is not finished.
        RecipeError: It has no such model, or such a file or name cannot be.
        SpiritsafeError: A stage failed; the same call goes on from there.
    """
    directory, recipe = _opened(run)
    extended, files = _extended(recipe, wish)
    exact = frozenset(spec.name for spec in stages_of(extended) if spec.is_exact)
    context = RunContext(recipe=extended, run=directory, watcher=watcher, cache=cache, done={}, exact=exact)
    told = TrackedRun(name=run.name, id=directory.hash, project=recipe.track.project, directory=run)
    tracking = Tracking((), told, log=EventLog(directory.events, stage="run"), watcher=watcher)
    with locked(run / ".lock"), tracking:
        begun, stages = directory.existing(), stages_of(recipe)
        own = {stage.name: stage for number, stage in begun.items() if number <= len(stages)}
        for spec in stages:  # a resolved recipe has its tables in another order than the file, so numbers say nothing
            stage = own.get(spec.name)
            if stage is None or not stage.is_done():
                raise SourceError(
                    f"{run} is not finished: its stage {spec.name} is not done.",
                    hint="Finish it first: spiritsafe run with its recipe.",
                )
            context.done[spec.name] = stage
        _require_possible(context, (*files, _RELEASE))
        later = {stage.name: number for number, stage in begun.items() if number > len(stages)}
        specs = _numbered(_late_stages(recipe, extended, files), later, len(stages))
        work_off(context, specs, tracking, Parallel())
    return release_directory(context, _RELEASE)


def _require_possible(context: RunContext, names: Sequence[str]) -> None:
    """Refuse what a plan would: files that cannot be, a release of nothing, a name that a licence forbids."""
    forecast, nodes = forecast_of_run(context), [context.recipe.node(name) for name in names]
    if found := [fault for node in nodes for fault in step_of(node).faults(node, forecast)]:
        raise RecipeError(f"{'; '.join(found)}.", hint="Change what is asked for; nothing was made.")


def _opened(run: Path) -> tuple[RunDirectory, Recipe]:
    resolved = run / "resolved.json"
    if not resolved.is_file():
        raise SourceError(f"{run} is no run directory.", hint="Give the folder that `spiritsafe run` printed.")
    value = read_json(resolved)
    recipe = recipe_of(value["recipe"])
    return RunDirectory(run.parent, recipe.name, value, path=run), recipe


def _extended(recipe: Recipe, wish: LateRelease) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with steps that make files and release them, and the names of the new files."""
    made = [node for node in recipe.made if node.makes_model and node.control is None]
    model = wish.model or _model_to_release(recipe)
    if model is None:
        raise RecipeError("This run made no model.", hint="Name a given one with --model.")
    if model not in {node.name for node in recipe.all_models}:
        raise RecipeError(f"--model names {unknown(model, (n.name for n in recipe.all_models))}.", hint="Name another.")
    mine = [node for node in made if node.is_file and node.recipe.needs.weights == model]
    there = {step.to for node in mine if isinstance(step := node.recipe, QuantiseStep) and not step.needs.sets}
    new = {kind: f"{model}-{kind}".lower() for kind in wish.files if kind not in there}
    files = (*(node.name for node in mine), *new.values())
    steps: list[dict[str, Any]] = [
        {"kind": "quantise", "name": name, "from": model, "to": kind} for kind, name in new.items()
    ]
    steps.append({**wish.settings, "kind": "release", "name": _RELEASE, "from": model, "files": list(files)})
    value = recipe.to_json()
    # files sit what their model sat; everybody is named, so that nobody else sits
    exams = [
        {**exam.to_json(), "sits": [*sat, *(new.values() if model in sat else ())]}
        for exam in recipe.exams
        for sat in (recipe.examinees(exam),)
    ]
    return recipe_of({**value, "steps": [*value["steps"], *steps], "exams": exams}), tuple(new.values())


def _model_to_release(recipe: Recipe) -> str | None:
    """The one that the recipe itself releases, else one that it made files of, else the last that it made."""
    released = [name for node in releases_of(recipe) for name in node.recipe.needs.models[:1]]
    made = [node for node in recipe.made if node.makes_model and node.control is None]
    stored = [str(node.recipe.needs.weights) for node in made if node.is_file]
    plain = [node.name for node in made if node.recipe.outcome == "model"]
    return next(iter((*released, *reversed(stored), *reversed(plain))), None)


def _late_stages(recipe: Recipe, extended: Recipe, files: Sequence[str]) -> Iterator[StageSpec]:
    """Files, their sittings, the release, the report."""
    for name in files:
        yield from step_of(extended.node(name)).stages(extended.node(name), extended)
    sittings = [
        sitting(extended, exam, late_stage(exam, name), (name,))  # whoever else sits is no part of it
        for exam, with_files in zip(recipe.exams, extended.exams, strict=True)
        for name in files
        if name in extended.examinees(with_files)
    ]
    yield from sittings
    node, sat = extended.node(_RELEASE), tuple(spec.name for spec in sittings)
    yield from (replace(spec, after=(*spec.after, *sat)) for spec in step_of(node).stages(node, extended))
    yield report_stage(extended, (*sat, _RELEASE))


def _numbered(specs: Iterable[StageSpec], later: dict[str, int], last: int) -> Iterator[tuple[int, StageSpec]]:
    """Each stage with the number that it had among the later ones, or the next."""
    number = max(later.values(), default=last)
    for spec in specs:
        if spec.name not in later:
            number += 1
        yield later.get(spec.name, number), spec
