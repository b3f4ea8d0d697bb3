"""``spiritsafe plan RECIPE``: Show what a recipe will do before anything heavy."""

from __future__ import annotations

import sys

import click

from spiritsafe import models, pipeline
from spiritsafe.cli.paths import NAMES_FILES, GuardedCommand
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.core.errors import RecipeError


@click.command(name="plan", cls=GuardedCommand)
@click.argument("recipe", type=NAMES_FILES)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what RECIPE will do: stages, memory, disk, tokens and licence duties. Runs nothing.

    Ends with exit code 2 where something in it cannot work; all of that is told.
    """
    loaded, _ = pipeline.load_recipe(recipe, overrides)
    text, told, faults = pipeline.plan_recipe(loaded, cache=models.default_cache())
    if as_json:
        print_json([told])
    else:
        click.echo(text)
    if faults:
        sys.exit(RecipeError.exit_code)
