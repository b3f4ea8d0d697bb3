"""``spiritsafe tasks list|show|audit``: List, show and audit tasks."""

from __future__ import annotations

import json
from itertools import islice

import click
from rich.console import Console
from rich.table import Table

from spiritsafe import tasks
from spiritsafe.cli.paths import NAMES_FILES, GuardedGroup
from spiritsafe.core.errors import TaskError

_MOST = 1_000_000


@click.group(name="tasks", cls=GuardedGroup)
def command() -> None:
    """List, show and audit tasks."""


@command.command()
@click.argument("spec", type=NAMES_FILES)
@click.option("--count", type=click.IntRange(0, _MOST), default=3, show_default=True, help="Problems to show.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
def show(spec: str, count: int, seed: int) -> None:
    """Show problems of the task SPEC, from the train bucket."""
    task = tasks.build_task(spec)
    click.echo(f"{task.name} (version {task.version})\n")
    for problem in islice(task.problems("train", seed=seed, count=count), count):
        for message in problem.messages:
            click.echo(f"{message.role}: {message.content}")
        click.echo(f"gold: {task.gold(problem)}")
        if problem.solution is not None:
            click.echo(f"worked solution: {problem.solution}")
        click.echo("")


@command.command()
@click.argument("specs", nargs=-1, required=True, type=NAMES_FILES)
@click.option("--count", type=click.IntRange(1, _MOST), default=200, show_default=True, help="Problems to look at.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON lines.")
def audit(specs: tuple[str, ...], count: int, seed: int, as_json: bool) -> None:
    """Audit tasks: gold accepted, junk rejected, hostile text survived, floor of trivial answers."""
    failed = []
    for spec in specs:
        report = tasks.audit_task(tasks.build_task(spec), count=count, seed=seed)
        if not report.passed:
            failed.append(spec)
        if as_json:
            click.echo(json.dumps(report.to_json(), sort_keys=True))
            continue
        what = f"{report.num_problems} distinct"
        if report.num_problems < report.num_asked:
            what = f"all {report.num_problems} that there are ({report.num_asked} were asked for)"
        worst = max(report.junk_accepted.values(), default=0.0)
        click.echo(f"{'passed' if report.passed else 'FAILED'}  {report.task}")
        click.echo(
            f"        gold {report.gold_accepted:.0%}, worst junk {worst:.1%}, floor {report.floor_score:.1%}, "
            f"{what} ({report.share_new:.0%} of draws new), {report.grade_ms:.2f} ms a grade"
        )
        for reason in report.reasons:
            click.echo(f"        - {reason}")
    if failed:
        raise TaskError(
            f"{len(failed)} of {len(specs)} tasks failed the audit.", hint="Do not train or examine on them."
        )


@command.command(name="list")
@click.option("--refused", is_flag=True, help="Show the families that failed the audit, with the reason.")
def list_(refused: bool) -> None:
    """List the families of tasks."""
    table = Table("task", "what it asks" if not refused else "why it is refused", box=None, pad_edge=False)
    for family in tasks.list_families():
        if (family.refused is not None) == refused:
            table.add_row(family.spec, family.refused if refused else family.description)
    Console().print(table)
