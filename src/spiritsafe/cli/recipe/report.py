"""``spiritsafe report RUN``: Build a run's report again."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import pipeline, report
from spiritsafe.cli.paths import FOLDER, GuardedCommand
from spiritsafe.cli.tables import json_option, print_json


@click.command(name="report", cls=GuardedCommand)
@click.argument("run", type=FOLDER)
@json_option
def command(run: Path, as_json: bool) -> None:
    """Build the report of the run directory RUN again from its records."""
    path = pipeline.rebuild_report(run)
    data = pipeline.report_data(run)
    if as_json:
        print_json([data.to_json()])
        return
    click.echo(report.terminal_summary(data))
    click.echo(f"Report: {path}")
