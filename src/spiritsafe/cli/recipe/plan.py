"""``spiritsafe plan RECIPE``: Show what a recipe, or training a model, will take before anything heavy."""

from __future__ import annotations

import re
import sys

import click

from spiritsafe import models, pipeline
from spiritsafe.cli.paths import MODEL, NAMES_FILES, GuardedCommand
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.core.errors import RecipeError

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MEMORIES = ("24GB", "48GB", "80GB")
_OF_MODEL = ("--tokens", "--teacher", "--lora", "--memory")


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?) ?([MGT]i?B)", text)
    if found is None or not float(found[1]):
        raise RecipeError(f"--memory: {text!r} is no size of memory.", hint="Write 24GB or 22.5GiB.")
    return round(float(found[1]) * _UNITS[found[2]])


@click.command(name="plan", cls=GuardedCommand)
@click.argument("recipe", type=NAMES_FILES, required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option(
    "--model",
    type=MODEL,
    help="Instead of a recipe: a model to train. Its folder, its config.json, hf:org/name, gguf:…, wheel:…, tiny:….",
)
@click.option("--tokens", type=click.IntRange(1, 10**7), help="Of --model: tokens of the longest document.  [4096]")
@click.option("--teacher", type=MODEL, help="Of --model: a live teacher on the same GPU.")
@click.option("--lora", "lora_rank", type=click.IntRange(1, 4096), help="Of --model: rank of adapters.  [16]")
@click.option(
    "--memory",
    "memories",
    multiple=True,
    metavar="SIZE",
    help="Of --model: a GPU's memory.  [24GB, 48GB, 80GB]",
)
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    model: str | None,
    tokens: int | None,
    teacher: str | None,
    lora_rank: int | None,
    memories: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what RECIPE will do: stages, memory, disk, tokens and licence duties. Runs nothing.

    With --model instead: what each way of training that model takes, and on which GPUs it fits.

    Ends with exit code 2 where something in it cannot work; all of that is told.
    """
    if (recipe is None) == (model is None):
        raise RecipeError("Either a recipe or --model is to be planned.", hint="Give one of the two.")
    if model is not None:
        if overrides:
            raise RecipeError("--set is for a recipe.", hint="Leave it out, or give a recipe in place of --model.")
        found = pipeline.plan_model(
            model,
            [_bytes(one) for one in memories or _MEMORIES],
            longest_tokens=tokens or 4096,
            teacher=teacher,
            lora_rank=lora_rank or 16,
            cache=models.default_cache(),
        )
        if as_json:
            print_json([found.to_json()])
        else:
            click.echo(found.text())
        return
    given = (tokens, teacher, lora_rank, memories or None)
    useless = [name for name, value in zip(_OF_MODEL, given, strict=True) if value is not None]
    if useless:
        raise RecipeError(f"{', '.join(useless)}: for a model without a recipe.", hint="Give --model, or leave it out.")
    loaded, _ = pipeline.load_recipe(str(recipe), overrides)
    text, told, faults = pipeline.plan_recipe(loaded, cache=models.default_cache())
    if as_json:
        print_json([told])
    else:
        click.echo(text)
    if faults:
        sys.exit(RecipeError.exit_code)
