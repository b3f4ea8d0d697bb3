"""Pipelines: a recipe goes in, a run directory with certificates and a report comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.pipeline.plan.draft.write import draft_recipe
    from spiritsafe.pipeline.plan.model_plan import ModelPlan, plan_model
    from spiritsafe.pipeline.plan.text import plan_recipe
    from spiritsafe.pipeline.recipe.load import load_recipe, recipe_of
    from spiritsafe.pipeline.recipe.reference.files import packaged_recipes, recipe_text
    from spiritsafe.pipeline.recipe.reference.json_schema import recipe_schema
    from spiritsafe.pipeline.recipe.reference.keys import RecipeKey, RecipeTable, recipe_tables
    from spiritsafe.pipeline.recipe.schema import Recipe
    from spiritsafe.pipeline.run.late import LateRelease, release_run
    from spiritsafe.pipeline.run.run import RunOutcome, run_recipe
    from spiritsafe.pipeline.run.stages import stages_of
    from spiritsafe.pipeline.summary.gather import rebuild_report, report_data
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "LateRelease", "ModelPlan", "Recipe", "RecipeKey", "RecipeTable", "RunOutcome", "draft_recipe", "load_recipe",
    "packaged_recipes", "plan_model", "plan_recipe", "rebuild_report", "recipe_of", "recipe_schema", "recipe_tables",
    "recipe_text", "release_run", "report_data", "run_recipe", "stages_of",
]  # fmt: skip
