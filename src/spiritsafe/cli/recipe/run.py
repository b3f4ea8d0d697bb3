"""``spiritsafe run RECIPE``: Run a recipe, or go on with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from spiritsafe import models, pipeline, report
from spiritsafe.cli.paths import NAMES_FILES, GuardedCommand, OutputFolder
from spiritsafe.cli.stopping import term_as_interrupt
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import SilentSink, TerminalSink
from spiritsafe.core.process.torchrun import is_follower


@click.command(name="run", cls=GuardedCommand)
@click.argument("recipe", type=NAMES_FILES)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--root", type=OutputFolder(), default=Path("runs"), show_default=True, help="Runs go here.")
@click.option(
    "--track",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Show the curves to a tracker: trackio, wandb, mlflow, tensorboard. In place of the recipe's own.",
)
@json_option
def command(recipe: str, overrides: tuple[str, ...], root: Path, trackers: tuple[str, ...], as_json: bool) -> None:
    """Run RECIPE (a .toml file or a packaged name), or go on with it; under torchrun, by several processes."""
    if trackers:
        overrides = (*overrides, f"track.trackers={json.dumps(trackers)}")
    loaded, text = pipeline.load_recipe(recipe, overrides)
    watcher = SilentSink() if is_follower() else TerminalSink()
    with term_as_interrupt():
        outcome = pipeline.run_recipe(loaded, text, root=root, cache=models.default_cache(), watcher=watcher)
    if is_follower():
        return
    data = pipeline.report_data(outcome.directory)
    if as_json:
        print_json([{"run": outcome, "report": data.to_json()}])
        return
    if outcome.num_run == 0:
        click.echo(f"Nothing to do: all {outcome.num_skipped} stages of this run are done and unchanged.")
    click.echo(report.terminal_summary(data))
    for name, place in outcome.models.items():
        click.echo(f"Model {name}: {place}")
    for name, place in outcome.releases.items():
        click.echo(f"Release {name}: {place}; check it: spiritsafe release verify {shlex.quote(str(place))}")
    click.echo(f"Report: {outcome.report}")
