"""``spiritsafe new DATA``: Write a first recipe for your data, teacher and student."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from spiritsafe import models, pipeline
from spiritsafe.cli.paths import MODEL, NAMES_FILES, GuardedCommand, Kind, OutputFile
from spiritsafe.cli.terminal import print_note
from spiritsafe.core.files.atomic import write_text

_NOTHING_YET = Kind("an empty file", lambda _: False)


@click.command(name="new", cls=GuardedCommand)
@click.argument("data", type=NAMES_FILES)
@click.option("--teacher", type=MODEL, required=True, help="A server's URL, or any model.")
@click.option("--teacher-model", help="The server's name of the teacher; it is asked when left out.")
@click.option("--api-key-env", help="Name of the environment variable that holds the server's key.")
@click.option("--student", type=MODEL, required=True, help="Any model: hf:org/name, a directory.")
@click.option("--out", type=OutputFile(_NOTHING_YET), help="File to write; standard output when left out.")
def command(
    data: str,
    teacher: str,
    teacher_model: str | None,
    api_key_env: str | None,
    student: str,
    out: Path | None,
) -> None:
    """Write a recipe for DATA: a file or folder of rows, a hub set (org/name) or a task.

    It says in comments what was found, and is yours to change. Nothing is fetched but a model's small files.
    """
    cache = models.default_cache()
    text = pipeline.draft_recipe(
        data, teacher=teacher, student=student, cache=cache, teacher_model=teacher_model, api_key_env=api_key_env
    )
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
    _, _, faults = pipeline.plan_recipe(pipeline.recipe_of(tomllib.loads(text)), cache=cache)
    for fault in faults:
        print_note(f"To be mended: {fault}")
