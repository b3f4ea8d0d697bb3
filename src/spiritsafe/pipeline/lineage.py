"""What a model of a run was made from, for its ``lineage.json``.

In: the models whose weights, answers, logits or hidden states went in. Out: its parents, each model once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models import parent_of, read_checkpoint
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.source import model_directory
from spiritsafe.pipeline.step_recipe import WORKED, SampleStep

__all__ = ["answerers", "parents_of"]


def answerers(context: RunContext, traces: Iterable[str]) -> list[Checkpoint]:
    """The models that wrote some sets of answers; worked solutions come with the task."""
    steps = {step.name: step for step in context.recipe.steps if isinstance(step, SampleStep)}
    names = ["teacher" if name == "sampled" else steps[name].start for name in traces if name != WORKED]
    return [read_checkpoint(model_directory(context, name)) for name in names if name != WORKED]


def parents_of(uses: Iterable[tuple[Checkpoint, Sequence[str]]]) -> tuple[Parent, ...]:
    """One parent a model, with all that was used of it, in the order given; models of which nothing was used go."""
    models: dict[str, Checkpoint] = {}
    used: dict[str, dict[str, None]] = {}
    for checkpoint, what in uses:
        models.setdefault(checkpoint.digest, checkpoint)
        used.setdefault(checkpoint.digest, {}).update(dict.fromkeys(what))
    return tuple(parent_of(models[digest], *names) for digest, names in used.items() if names)
