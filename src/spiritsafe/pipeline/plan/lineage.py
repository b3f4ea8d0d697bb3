"""Lineage before a run: what every model that a recipe makes will have been made from, however far back.

In: a recipe, and records of its given models. Out: the records that a run would write, but for digests and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models import parent_of
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Used, uses_of
from spiritsafe.pipeline.recipe.schema import Recipe

LINEAGE_FILE = "lineage.json"
"""Of a given model, in the folder of its stage."""


def given_lineage(context: RunContext, name: str) -> Checkpoint:
    """What a given model of a run is, with the licence that the recipe says."""
    return context.stage(name).read(LINEAGE_FILE, Checkpoint)


def parents_of(uses: Iterable[tuple[Checkpoint, Sequence[str]]]) -> tuple[Parent, ...]:
    """One parent a model, with all that was used of it, in the order given; models of which nothing was used go."""
    models: dict[str, Checkpoint] = {}
    used: dict[str, dict[str, None]] = {}
    for checkpoint, what in uses:
        models.setdefault(checkpoint.digest, checkpoint)
        used.setdefault(checkpoint.digest, {}).update(dict.fromkeys(what))
    return tuple(parent_of(models[digest], *names) for digest, names in used.items() if names)


def planned_lineage(recipe: Recipe, given: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """What lineages will say of a recipe's models, given ones first.

    Args:
        given: What is known of given models, by their names in the recipe. What is made of others is left out.
    """
    found = dict(given)

    def used(use: Used) -> Checkpoint:
        table, checkpoint = recipe.models.get(use.model), found[use.model]
        return table.speaker(checkpoint) if use.speaks and isinstance(table, GivenRecipe) else checkpoint

    for node in recipe.made:
        uses = uses_of(recipe.nodes, node.name)
        first = next((use.model for use in uses), None)  # whose licence a routed system bears
        start = found.get(str(node.recipe.needs.weights or first))
        if not node.makes_model or start is None or any(use.model not in found for use in uses):
            continue
        found[node.name] = Checkpoint(
            name=node.name,
            digest=f"planned:{node.name}",
            license=start.license,
            num_parameters=0,
            weight_bytes=0,
            parents=parents_of((used(use), use.used_as) for use in uses),
        )
    return found
