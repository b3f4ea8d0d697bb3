"""``spiritsafe plan RECIPE``: Show what a recipe will do before anything heavy."""

from __future__ import annotations

import click

from spiritsafe import models, pipeline
from spiritsafe.cli.paths import NAMES_FILES, GuardedCommand


@click.command(name="plan", cls=GuardedCommand)
@click.argument("recipe", type=NAMES_FILES)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
def command(recipe: str, overrides: tuple[str, ...]) -> None:
    """Show what RECIPE will do: stages, memory, disk, tokens and licence duties. Runs nothing."""
    loaded, _ = pipeline.load_recipe(recipe, overrides)
    click.echo(pipeline.plan_recipe(loaded, cache=models.default_cache()))
