"""``spiritsafe recipes list|show|schema``: List and show recipes, and what they may say."""

from __future__ import annotations

import json

import click

from spiritsafe import pipeline
from spiritsafe.cli.paths import NAMES_FILES, GuardedGroup
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.core.text.safe_text import visible


@click.group(name="recipes", cls=GuardedGroup)
def command() -> None:
    """List and show recipes, and what they may say."""


@command.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the recipes that come with the program."""
    found = pipeline.packaged_recipes()
    if as_json:
        print_json({"name": name, "summary": summary} for name, summary in found.items())
        return
    width = max(map(len, found))
    for name, summary in found.items():
        click.echo(f"{name:<{width}}  {summary}")


@command.command()
@click.argument("recipe", type=NAMES_FILES)
@click.option("--resolved", is_flag=True, help="As JSON, with every key that it leaves out.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key; with --resolved.")
def show(recipe: str, resolved: bool, overrides: tuple[str, ...]) -> None:
    """Print RECIPE (a packaged name or a .toml file) as it is written."""
    if overrides and not resolved:
        raise click.UsageError("--set changes what a recipe comes to: add --resolved.")
    if not resolved:
        click.echo(visible(pipeline.recipe_text(recipe)), nl=False)
        return
    loaded, _ = pipeline.load_recipe(recipe, overrides)
    click.echo(json.dumps(loaded.to_json(), indent=2, ensure_ascii=False))


@command.command()
def schema() -> None:
    """Print JSON Schema of recipes, for editors that complete and check TOML."""
    click.echo(json.dumps(pipeline.recipe_schema(), indent=2, ensure_ascii=False))
