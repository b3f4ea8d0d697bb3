"""Which models a recipe lets answer training problems, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.steps import ReinforceStep

When = Literal["before", "after"]


@final
@dataclass(frozen=True, kw_only=True)
class Probe:
    """One measurement.

    Attributes:
        stage: That makes it.
        model: That is measured.
        step: Whose task, sampling and size of the probe are taken.
    """

    stage: str
    model: str
    step: ReinforceStep

    def settings(self) -> dict[str, JSON]:
        """What it depends on, besides the run."""
        return {
            "probe": self.step.probe.to_json(),
            "of": self.step.task,
            "sampling": self.step.config.sampling.to_json(),
        }


def probes_of(recipe: Recipe) -> dict[tuple[str, When], Probe]:
    """The measurements of each model that is reinforced, before and after; those that are the same are made once.

    Controls have none: what they share with the real run is its start.
    """
    probes: dict[tuple[str, When], Probe] = {}
    made: dict[str, Probe] = {}
    for node in recipe.nodes:
        step = node.recipe
        if not isinstance(step, ReinforceStep) or node.control is not None or not step.probe.problems:
            continue
        models: tuple[tuple[When, str], ...] = (("before", step.start), ("after", node.name))
        for when, model in models:
            probe = Probe(stage=f"{when}-{node.name}", model=model, step=step)
            key = digest({"model": model, **probe.settings()})
            probes[node.name, when] = made.setdefault(key, probe)
    return probes
