"""Licence duties before a run: what follows for every model that a recipe makes, and what forbids one.

In: a forecast, which knows given models' licences. Out: duties by model, lines of the plan, faults.
"""

from __future__ import annotations

from spiritsafe.pipeline.plan.lineage import planned_lineage
from spiritsafe.pipeline.step import Forecast
from spiritsafe.release import NOT_LEGAL_ADVICE, Duties, Duty, duties_of, duties_summary, duty_words


def planned_duties(forecast: Forecast) -> dict[str, Duties]:
    """Of each model that would be made and of whose ancestors at least the names are known."""
    lineage = planned_lineage(forecast.recipe, forecast.given)
    return {
        node.name: duties_of([lineage[node.name], *lineage.values()])
        for node in forecast.recipe.made
        if node.name in lineage
    }


def duty_faults(forecast: Forecast) -> list[str]:
    """Models that may not be used as the recipe uses them."""
    found: dict[str, list[str]] = {}
    for name, duties in planned_duties(forecast).items():
        for duty in duties.of("blocked"):
            found.setdefault(f"{duty_words(duty)}; {_asked_for(duty, forecast)}", []).append(name)
    return [f"{', '.join(names)}: {said}" for said, names in found.items()]


def _asked_for(duty: Duty, forecast: Forecast) -> str:
    keys = _keys(duty, forecast)
    return f'if you have its permission, say so: {keys} licence_granted = "by whom, when"'


def _keys(duty: Duty, forecast: Forecast) -> str:
    """Tables of the recipe in which something is said of the models that a duty comes from."""
    tables = [f"[models.{key}]" for key, names in _names(forecast).items() if {c.model for c in duty.causes} & names]
    return ", ".join(tables) or "[models.<name>]"


def _names(forecast: Forecast) -> dict[str, set[str]]:
    """What given models are called in lineages: as sources, and behind endpoints."""
    found = {}
    for key, checkpoint in forecast.given.items():
        served = getattr(forecast.recipe.models[key], "model", None)
        parents = (parent.name for parent in checkpoint.parents)
        found[key] = {checkpoint.name, *parents, *([] if served is None else [str(served)])}
    return found


def duty_lines(forecast: Forecast) -> list[str]:
    """What the plan says of licences, each line with the models that it is true of."""
    found: dict[str, list[str]] = {}
    for name, duties in planned_duties(forecast).items():
        for line in duties_summary(duties):
            found.setdefault(line, []).append(name)
        for duty in duties.of("unknown"):
            said = f'no release without a licence: state it ({_keys(duty, forecast)} licence = "MIT")'
            found.setdefault(said, []).append(name)
    lines = [f"{', '.join(names)}: {line}" for line, names in found.items()]
    return [*lines, NOT_LEGAL_ADVICE] if lines else []
