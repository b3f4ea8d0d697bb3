"""Which models a recipe lets try dev problems, and when."""

from __future__ import annotations

from typing import Literal

from spiritsafe.core.canonical import digest
from spiritsafe.pipeline.recipe.made import Probe
from spiritsafe.pipeline.recipe.schema import Recipe

When = Literal["before", "after"]


def probes_of(recipe: Recipe) -> dict[tuple[str, When], Probe]:
    """The measurements of each model that wants them, before and after; those that are the same are made once.

    Controls have none: what they share with the real run is its start.
    """
    probes: dict[tuple[str, When], Probe] = {}
    made: dict[str, Probe] = {}
    for node in recipe.made:
        models: tuple[tuple[When, str | None], ...] = (("before", node.recipe.needs.weights), ("after", node.name))
        for when, model in models if node.control is None and node.makes_model else ():
            probe = node.recipe.probe_of(str(model), f"{when}-{node.name}")
            if probe is not None:
                key = digest({"model": probe.model, **probe.settings()})
                probes[node.name, when] = made.setdefault(key, probe)
    return probes
