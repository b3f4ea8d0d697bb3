"""``spiritsafe code tests PATH``: tests of which each is known to hold and to notice a fault that no other notices.

In: code, and a model. Out: a folder with a file of tests for each file of code, and ``report.json``; nothing else is
written anywhere. What is done is written at once, so that an end in the middle leaves the files that are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from spiritsafe import __version__, assist
from spiritsafe.cli.answers.code.common import (
    TESTS_FOLDER,
    asking_options,
    opened_model,
    refuse_below,
    refuse_to_replace,
)
from spiritsafe.cli.model_options import Patience
from spiritsafe.cli.paths import EXISTING, GuardedCommand, OutputFolder
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import TaskError
from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.core.records import Sampling
from spiritsafe.core.text.safe_text import one_line

REPORT = "report.json"


@click.command(name="tests", cls=GuardedCommand)
@click.argument("path", type=EXISTING)
@asking_options
@json_option
@click.option("--out", type=OutputFolder(), default=TESTS_FOLDER, show_default=True, help="The only folder written to.")
@click.option(
    "--budget", type=click.IntRange(1, 1000), default=6, show_default=True, help="Questions for each file, at most."
)
@click.option(
    "--mutants", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Faults of each file, at most."
)
@click.option("--temperature", type=click.FloatRange(0.0, 10.0), default=0.7, show_default=True)
@click.option(
    "--fail-under", type=click.FloatRange(0.0, 1.0), metavar="SHARE", help="Exit code 1 where fewer mutants are killed."
)
@click.option("--overwrite", is_flag=True, help="Replace files in --out.")
def write_code_tests(
    path: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    patience: Patience,
    out: Path,
    budget: int,
    mutants: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    fail_under: float | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Let a model write tests for the code at PATH, and keep those that hold and notice faults.

    PATH is a file or a folder, of Python, Fortran or COBOL. Every test is run in a sandbox, against the code and
    against mutants of it; each kept one kills a mutant that no other kept one kills.
    """
    subjects = [
        one
        for one in assist.subjects_at(path, most_mutants=mutants, seed=seed)
        if not one.path.resolve().is_relative_to(out.resolve())
    ]
    if not subjects:
        raise TaskError(f"{path} has no code beside what is in {out}.", hint="Give another --out.")
    names = files_of_tests(subjects)
    refuse_to_replace([out / name for name in (*names, REPORT)], overwrite=overwrite)
    reports: list[assist.TestsReport] = []
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    with opened_model(model, endpoint, endpoint_model, api_key_env, patience) as generator:
        for subject, name in zip(subjects, names, strict=True):
            watcher = TerminalSink()
            watcher.begin(one_line(str(subject.path)))
            try:
                written = assist.write_tests(
                    subject, generator, most_questions=budget, sampling=sampling, seed=seed, events=watcher
                )
            finally:
                watcher.end()
            report = written.report.model_copy(update={"tests_file": name if written.text else ""})
            if written.text:
                write_text(out / name, written.text)
            reports.append(report)
            write_json(out / REPORT, {"spiritsafe": __version__, "files": [one.to_json() for one in reports]})
    killed, num_mutants = sum(one.killed for one in reports), sum(one.mutants for one in reports)
    if as_json:
        print_json(reports)
    else:
        _show(reports, out)
    refuse_below(killed / max(1, num_mutants), fail_under, "The share of mutants that were killed")


def files_of_tests(subjects: Sequence[assist.Subject]) -> list[str]:
    """Names of their files of tests, each once: where two would be the same, with their folder's or a number."""
    plain = [one.test_name for one in subjects]
    names: list[str] = []
    for subject, name in zip(subjects, plain, strict=True):
        stem, suffix = Path(name).stem, Path(name).suffix
        if plain.count(name) > 1:
            stem = f"{stem}_{subject.path.parent.name}".removesuffix("_")
        number = 1
        while (found := f"{stem}{'' if number == 1 else f'_{number}'}{suffix}") in names:
            number += 1
        names.append(found)
    return names


def _from_here(path: str) -> str:
    """A path as it is shortest to say."""
    here = Path(path).resolve()
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else path


def _why_none(report: assist.TestsReport) -> str:
    """What was wrong with the last answer that anything was wrong with."""
    told = [one.told for one in report.rounds if one.told] or [one.reason for one in report.invalid]
    return told[-1] if told else ""


def _show(reports: Sequence[assist.TestsReport], out: Path) -> None:
    from rich.console import Console  # not before something is shown
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for heading in ("killed", "tests", "invalid", "redundant", "lines", "asked", "tokens", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in reports:
        table.add_row(
            one_line(_from_here(one.path)),
            f"{one.killed}/{one.mutants}",
            str(len(one.kept)),
            str(len(one.invalid)),
            str(len(one.redundant)),
            "-" if one.coverage is None else f"{one.coverage:.0%}",
            str(one.cost.questions),
            f"{one.cost.tokens_in + one.cost.tokens_out:,}",
            f"{one.seconds:.1f}",
        )
    Console(markup=False).print(table)
    for one in reports:
        if not one.kept and (why := _why_none(one)):
            click.echo(one_line(f"{_from_here(one.path)}: no test is kept: {why}"))
    click.echo(f"tests and {REPORT}, with every fault by name: {one_line(str(out))}")
