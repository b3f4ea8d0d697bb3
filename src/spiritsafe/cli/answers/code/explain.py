"""``spiritsafe code explain PATH``: explanations of which each is told whether the code can be written anew from it.

In: a file of code, tests of it, and one or two models. Out: a folder with a page in Markdown, and ``report.json``;
nothing else is written anywhere.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from spiritsafe import assist
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
from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Sampling
from spiritsafe.core.text.safe_text import one_line

_FEW_MUTANTS = 8
"""None is needed here, and a file has to have one."""


@click.command(name="explain", cls=GuardedCommand)
@click.argument("path", type=EXISTING)
@asking_options
@click.option("--rebuilder-endpoint", help="Base URL of the server whose model writes the code anew.")
@click.option("--rebuilder-model", help="Its name there; left out, the model that explains writes anew, too.")
@click.option("--tests", "tests_path", type=EXISTING, help="Tests of the file; those of `spiritsafe code tests`.")
@json_option
@click.option(
    "--out", type=OutputFolder(), default="spiritsafe-explained", show_default=True, help="The only folder written to."
)
@click.option("--temperature", type=click.FloatRange(0.0, 10.0), default=0.0, show_default=True)
@click.option(
    "--fail-under",
    type=click.FloatRange(0.0, 1.0),
    metavar="SHARE",
    help="Exit code 1 where fewer routines were written anew rightly.",
)
@click.option("--overwrite", is_flag=True, help="Replace files in --out.")
def explain_a_file(
    path: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    patience: Patience,
    rebuilder_endpoint: str | None,
    rebuilder_model: str | None,
    tests_path: Path | None,
    out: Path,
    temperature: float,
    max_tokens: int,
    seed: int,
    fail_under: float | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Let a model explain the routines of the file PATH, and try each explanation.

    A model that sees the explanation and the routine's heading, and no code, writes the routine anew; the tests of the
    file decide. A routine that no test notices is explained all the same, and told to be not shown.
    """
    if (rebuilder_endpoint is None) != (rebuilder_model is None):
        raise RecipeError(
            "The model that writes the code anew is half named.",
            hint="Give both --rebuilder-endpoint and --rebuilder-model.",
        )
    if not path.is_file():
        raise RecipeError(f"{path} is no file.", hint="Explain one file after the other.")
    (subject,) = assist.subjects_at(path, most_mutants=_FEW_MUTANTS, seed=seed)
    tests_path = tests_path or Path(TESTS_FOLDER) / subject.test_name
    tests = _tests_text(tests_path)
    page, record = out / f"{path.name}.md", out / "report.json"
    refuse_to_replace([page, record], overwrite=overwrite)
    watcher = TerminalSink()
    with ExitStack() as stack:
        explainer = stack.enter_context(opened_model(model, endpoint, endpoint_model, api_key_env, patience))
        rebuilder = explainer
        if rebuilder_model is not None:
            rebuilder = stack.enter_context(
                opened_model(None, rebuilder_endpoint, rebuilder_model, api_key_env, Patience())
            )
        watcher.begin(one_line(str(path)))
        try:
            report = assist.explain_code(
                subject,
                tests,
                explainer,
                rebuilder,
                tests_file=str(tests_path),
                sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
                seed=seed,
                events=watcher,
            )
        finally:
            watcher.end()
    write_text(page, assist.explanations_page(report))
    write_json(record, report.to_json())
    if as_json:
        print_json([report])
    else:
        _show(report, page)
    refuse_below(report.share, fail_under, "The share of routines that were written anew rightly")


def _tests_text(path: Path) -> str:
    if not path.is_file():
        raise TaskError(
            f"There are no tests at {path}.", hint="Name them with --tests, or write some: spiritsafe code tests PATH."
        )
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8.", hint="Give --tests a file of text.") from error


def _show(report: assist.ExplanationsReport, page: Path) -> None:
    width = max(len(one.name) for one in report.routines)
    for one in report.routines:
        failed = f"  fails {', '.join(one.failed)}" if one.failed else ""
        reason = f"  {one.reason}" if one.reason else ""
        click.echo(one_line(f"{one.name:<{width}}  {one.verdict}{failed}{reason}"))
    if report.rebuilder_digest == report.model_digest:
        click.echo("The model that explained wrote the code anew itself; another one would show more.")
    click.echo(f"page: {one_line(str(page))}")
