"""``spiritsafe report RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe.cli.paths import FOLDER, GuardedCommand
from spiritsafe.pipeline import rebuild_report, terminal_summary_of


@click.command(name="report", cls=GuardedCommand)
@click.argument("run", type=FOLDER)
def command(run: Path) -> None:
    """Build the report of the run directory RUN again from its records."""
    path = rebuild_report(run)
    click.echo(terminal_summary_of(run))
    click.echo(f"Report: {path}")
