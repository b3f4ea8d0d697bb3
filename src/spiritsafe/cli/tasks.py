"""``spiritsafe tasks list|show|audit``: List, show and audit tasks."""

from __future__ import annotations

import os
import sys
from itertools import groupby, islice
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from spiritsafe import models, stats, tasks
from spiritsafe.cli.paths import NAMES_FILES, GuardedGroup
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.core.text.safe_text import visible
from spiritsafe.core.text.tool_calls import with_calls

_MOST = 1_000_000


@click.group(name="tasks", cls=GuardedGroup)
def command() -> None:
    """List, show and audit tasks."""


@command.command()
@click.argument("spec", type=NAMES_FILES)
@click.option("--count", type=click.IntRange(0, _MOST), default=3, show_default=True, help="Problems to show.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--model", type=NAMES_FILES, help="Show what this model would learn: hf:org/name, a directory.")
@json_option
def show(spec: str, count: int, seed: int, model: str | None, as_json: bool) -> None:
    """Show what the task SPEC is made of, and problems of it from the train bucket."""
    task = tasks.build_task(spec)
    if task.finite:
        count = min(count, task.sizes()["train"])
    problems = list(islice(task.problems("train", seed=seed, count=count), count))
    if as_json:
        gold = [task.gold(problem) if task.verifies else None for problem in problems]
        print_json({**one.to_json(), "gold": answer} for one, answer in zip(problems, gold, strict=True))
        return
    click.echo(f"{task.name} (version {task.version})\n")
    told = task.about()
    if task.finite:
        sizes = task.sizes()
        told["problems"] = ", ".join(f"{sizes[split]:,} {split}" for split in sizes)
    for heading, text in told.items():
        click.echo(f"{heading:<10}{visible(text)}")
    if told:
        click.echo("")
    chat = None if model is None else models.ChatFormat(models.resolve_source(model, events=TerminalSink()))
    for problem in problems:
        if chat is None or problem.solution is None:
            _show_problem(task, problem)
        else:
            turns: Any = problem.facts.get("turns", ())
            _show_document(chat, chat.document(problem.messages, problem.solution, turns=turns))
        click.echo("")


def _show_problem(task: tasks.Task, problem: Problem) -> None:
    for tool in problem.messages[0].tools if problem.messages else ():
        click.echo(f"tool: {visible(tool)}")
    for message in problem.messages:
        click.echo(f"{message.role}: {visible(with_calls(message.content, message.tool_calls))}")
    if task.verifies:
        click.echo(f"gold: {task.gold(problem)}")
    if problem.solution is not None:
        click.echo(f"{'worked solution' if task.verifies else 'reply'}: {visible(problem.solution)}")


def _show_document(chat: models.ChatFormat, document: models.Document) -> None:
    """A document as the model reads it; what it learns is coloured, or between « and » where there are no colours."""
    in_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    pairs = zip(document.token_ids, document.supervised, strict=True)
    for is_learnt, part in groupby(pairs, key=lambda pair: pair[1]):
        text = visible(chat.spell([token for token, _ in part]))
        if not is_learnt:
            click.echo(text, nl=False)
        else:
            click.echo(click.style(text, fg="green", bold=True) if in_colour else f"«{text}»", nl=False)
    num_learnt = sum(document.supervised)
    click.echo(f"\n({num_learnt:,} of {len(document.token_ids):,} tokens are learnt)")


@command.command()
@click.argument("specs", nargs=-1, required=True, type=NAMES_FILES)
@click.option("--count", type=click.IntRange(1, _MOST), default=200, show_default=True, help="Problems to look at.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@json_option
def audit(specs: tuple[str, ...], count: int, seed: int, as_json: bool) -> None:
    """Audit tasks: gold accepted, junk rejected, hostile text survived, floor of trivial answers."""
    failed = []
    for spec in specs:
        report = tasks.audit_task(tasks.build_task(spec), count=count, seed=seed)
        if not report.passed:
            failed.append(spec)
        if as_json:
            print_json([report])
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
        click.echo(
            f"        right answers rejected {_error_rate(*report.right_rejected)}, "
            f"wrong accepted {_error_rate(*report.wrong_accepted)}"
        )
        for reason in report.reasons:
            click.echo(f"        - {reason}")
    if failed:
        raise TaskError(
            f"{len(failed)} of {len(specs)} tasks failed the audit.", hint="Do not train or examine on them."
        )


def _error_rate(count: int, total: int) -> str:
    """How many of how many, and the 95 % interval of the share."""
    if not total:
        return "0 of 0"
    share = stats.clopper_pearson_interval(count, total)
    between = f"{share.low:.1%} to {share.high:.1%}" if count else f"at most {share.high:.1%}"
    return f"{count} of {total} ({between})"


@command.command(name="list")
@click.option("--refused", is_flag=True, help="Show the families that failed the audit, with the reason.")
@json_option
def list_(refused: bool, as_json: bool) -> None:
    """List the families of tasks."""
    families = [family for family in tasks.list_families() if (family.refused is not None) == refused]
    if as_json:
        print_json(families)
        return
    table = Table("task", "what it asks" if not refused else "why it is refused", box=None, pad_edge=False)
    for family in families:
        licence = f"; licence: {family.licence}" if family.licence else ""
        table.add_row(family.spec, family.refused if refused else f"{family.description}{licence}")
    Console().print(table)
