"""``spiritsafe code explain PATH``: explanations of which each is told whether the code can be written anew from it.

In: a file of code, tests of it, and one or two models. Out: a folder with a page in Markdown for each file that was
explained, and ``report.json``; nothing else is written anywhere.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from spiritsafe import assist
from spiritsafe.cli.answers.code.common import (
    TESTS_FOLDER,
    code_options,
    environment_named,
    opened_model,
    refuse_below,
    refuse_trouble,
    sampling_inputs,
)
from spiritsafe.cli.answers.code.report_folder import ReportFolder, subject_inputs
from spiritsafe.cli.answers.code.tests_table import from_here
from spiritsafe.cli.answers.code.write_tests import COMMAND as TESTS_COMMAND
from spiritsafe.cli.model_options import Patience
from spiritsafe.cli.paths import EXISTING, GuardedCommand
from spiritsafe.cli.tables import print_json
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling
from spiritsafe.core.text.safe_text import one_line

_FEW_MUTANTS = 8
"""None is needed here, and a file has to have one."""


@click.command(name="explain", cls=GuardedCommand)
@code_options(out="spiritsafe-explained", temperature=0.0, gate="routines were written anew rightly")
@click.option("--rebuilder-endpoint", help="Base URL of the server whose model writes the code anew.")
@click.option("--rebuilder-model", help="Its name there; left out, the model that explains writes anew, too.")
@click.option("--tests", "tests_path", type=EXISTING, help="Tests of the file; those of `spiritsafe code tests`.")
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
    python: Path | None,
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
    subject = _subject_at(path, python, seed)
    tests_path = tests_path or _tests_of(subject)
    tests = _tests_text(tests_path)
    folder = ReportFolder(out, assist.ExplanationsReport, "code explain", overwrite=overwrite)
    (name,) = folder.names([(path, f"{path.name}.md")])
    folder.refuse_to_replace({path: name})
    refuse_trouble(subject)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    with ExitStack() as stack:
        explainer = stack.enter_context(opened_model(model, endpoint, endpoint_model, api_key_env, patience))
        rebuilder = explainer
        if rebuilder_model is not None:
            rebuilder = stack.enter_context(
                opened_model(None, rebuilder_endpoint, rebuilder_model, api_key_env, Patience())
            )
        inputs = subject_inputs(
            subject,
            model=explainer.describe().digest,
            rebuilder=rebuilder.describe().digest,
            tests=digest_bytes(tests.encode("utf-8")),
            seed=seed,
            **sampling_inputs(sampling, patience),
        )
        report = folder.earlier(path, inputs)
        if report is not None:
            TerminalSink().skip(one_line(from_here(str(path))), "as before, nothing is asked")
        else:
            report = _explained(subject, tests_path, tests, explainer, rebuilder, sampling, seed)
            report = folder.put(path, name, inputs, report, assist.explanations_page(report))
    if as_json:
        print_json([report])
    else:
        _show(report, out / name)
    refuse_below(report.share, fail_under, "The share of routines that were written anew rightly")


def _subject_at(path: Path, python: Path | None, seed: int) -> assist.Subject:
    """The one file.

    Raises:
        RecipeError: It is none.
    """
    if not path.is_file():
        raise RecipeError(f"{path} is no file.", hint="Explain one file after the other.")
    (subject,) = assist.subjects_at(path, most_mutants=_FEW_MUTANTS, seed=seed, python=environment_named(python))
    assert not isinstance(subject, assist.UnusableFile)  # of one file that would be an error
    return subject


def _explained(
    subject: assist.Subject,
    tests_path: Path,
    tests: str,
    explainer: Generator,
    rebuilder: Generator,
    sampling: Sampling,
    seed: int,
) -> assist.ExplanationsReport:
    watcher = TerminalSink()
    watcher.begin(one_line(from_here(str(subject.path))))
    try:
        return assist.explain_code(
            subject,
            tests,
            explainer,
            rebuilder,
            tests_file=str(tests_path),
            sampling=sampling,
            seed=seed,
            events=watcher,
        )
    finally:
        watcher.end()


def _tests_of(subject: assist.Subject) -> Path:
    """Where `spiritsafe code tests` wrote the tests of a file, or would by default."""
    folder = Path(TESTS_FOLDER)
    written = ReportFolder(folder, assist.TestsReport, TESTS_COMMAND, overwrite=True).name_of(subject.path)
    return folder / (written or subject.test_name)


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
