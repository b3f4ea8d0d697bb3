"""What went into a run, for its report: given models, data sets, traces.

In: finished stages. Out: :class:`~spiritsafe.report.Inputs`. An example is a problem of the train bucket.
"""

from __future__ import annotations

from typing import Any

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.pipeline.context import RunContext, read_problems
from spiritsafe.pipeline.recipe.data import DataRecipe
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.stages.sets import task_of
from spiritsafe.pipeline.stages.source import lineage_of
from spiritsafe.pipeline.step import step_of
from spiritsafe.report import DataInfo, Inputs, Source, TraceCounts

UNSOLVED = "no worked solution"
"""Why nothing can be learnt from a row alone."""


def inputs_of(context: RunContext) -> Inputs:
    """Everything that was given, and what was kept of it."""
    recipe = context.recipe
    return Inputs(
        sources=tuple(
            _source(context, name, given) for name, given in recipe.models.items() if isinstance(given, GivenRecipe)
        ),
        data=tuple(_data(context, name, data) for name, data in recipe.data.items() if isinstance(data, DataRecipe)),
        traces=tuple(counts for node in recipe.nodes if (counts := _traces(context, node)) is not None),
    )


def _source(context: RunContext, name: str, given: GivenRecipe) -> Source:
    checkpoint = lineage_of(context, name)
    return Source(
        name=name,
        spec=given.source,
        digest=None if given.source is None else checkpoint.digest,
        license=checkpoint.license,
        num_parameters=checkpoint.num_parameters or None,
        weight_bytes=checkpoint.weight_bytes or None,
        endpoint=given.endpoint,
        served_as=given.model,
    )


def _data(context: RunContext, name: str, data: DataRecipe) -> DataInfo:
    result: dict[str, Any] = context.stage(name).result()
    first, (verifier, version, about) = next(read_problems(context, name), None), _task_words(context, name)
    is_solved = result["dropped"].get(UNSOLVED, 0) < result["problems"]
    return DataInfo(
        name=name,
        origin=data.hub or ", ".join(data.files) or result["task"],
        verifier=verifier if result["verifies"] else None,
        version=version if result["verifies"] else None,
        num_problems=result["problems"],
        num_solutions=result["verified"] if is_solved else None,
        about=about,
        example=None if first is None else first.messages[-1].content,
    )


def _task_words(context: RunContext, name: str) -> tuple[str, str | None, dict[str, str]]:
    """Verifier, its version, and what there is to say of a set; a report does not fail for files that are gone."""
    try:
        task = task_of(context, [name])
        return task.verifier.name, task.verifier.version, task.about()
    except (SourceError, TaskError):
        return "not readable any more", None, {}


def _traces(context: RunContext, node: Node) -> TraceCounts | None:
    """What was kept of a set that can be learnt from."""
    origin = step_of(node).words(node).origin
    if origin is None or node.name not in context.done:
        return None
    result: dict[str, Any] = context.stage(node.name).result()
    if result["dropped"].get(UNSOLVED, 0) == result["asked"]:
        return None
    return TraceCounts(
        origin=origin, num_asked=result["asked"], num_verified=result["verified"], dropped=result["dropped"]
    )
