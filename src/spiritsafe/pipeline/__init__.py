"""Pipelines: a recipe goes in, a run directory with certificates and a report comes out."""

from spiritsafe.pipeline.plan import plan_recipe
from spiritsafe.pipeline.recipe import Recipe, load_recipe, packaged_recipes
from spiritsafe.pipeline.run import RunOutcome, run_recipe, stages_of
from spiritsafe.pipeline.summary import rebuild_report, terminal_summary_of

__all__ = [
    "Recipe",
    "RunOutcome",
    "load_recipe",
    "packaged_recipes",
    "plan_recipe",
    "rebuild_report",
    "run_recipe",
    "stages_of",
    "terminal_summary_of",
]
