"""``spiritsafe report RUN``: Build a run's report again."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import pipeline
from spiritsafe.cli.paths import FOLDER, GuardedCommand


@click.command(name="report", cls=GuardedCommand)
@click.argument("run", type=FOLDER)
def command(run: Path) -> None:
    """Build the report of the run directory RUN again from its records."""
    path = pipeline.rebuild_report(run)
    click.echo(pipeline.terminal_summary_of(run))
    click.echo(f"Report: {path}")
