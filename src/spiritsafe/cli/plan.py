"""``spiritsafe plan RECIPE``."""

from __future__ import annotations

import click

from spiritsafe.cli.paths import NAMES_FILES, GuardedCommand
from spiritsafe.models import default_cache
from spiritsafe.pipeline import load_recipe, plan_recipe


@click.command(name="plan", cls=GuardedCommand)
@click.argument("recipe", type=NAMES_FILES)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
def command(recipe: str, overrides: tuple[str, ...]) -> None:
    """Show what RECIPE will do: stages, memory, disk, tokens and licence duties. Runs nothing."""
    loaded, _ = load_recipe(recipe, overrides)
    click.echo(plan_recipe(loaded, cache=default_cache()))
