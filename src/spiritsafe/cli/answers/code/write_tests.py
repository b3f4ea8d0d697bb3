"""``spiritsafe code tests PATH``: tests of which each is known to hold and to notice a fault that no other notices.

In: code, and a model. Out: a folder with a file of tests for each file of code, and ``report.json``; nothing else is
written anywhere. What is done is written at once, and what is as it was when it was done is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

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
from spiritsafe.cli.answers.code.report_folder import REPORT, ReportFolder, subject_inputs
from spiritsafe.cli.answers.code.tests_table import from_here, show_tests
from spiritsafe.cli.model_options import Patience
from spiritsafe.cli.paths import GuardedCommand
from spiritsafe.cli.tables import print_json
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SpiritsafeError, TaskError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling
from spiritsafe.core.text.safe_text import one_line

COMMAND = "code tests"


@click.command(name="tests", cls=GuardedCommand)
@code_options(out=TESTS_FOLDER, temperature=0.7, gate="mutants are killed")
@click.option(
    "--budget", type=click.IntRange(1, 1000), default=6, show_default=True, help="Questions for each file, at most."
)
@click.option(
    "--mutants", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Faults of each file, at most."
)
def write_code_tests(
    path: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    patience: Patience,
    python: Path | None,
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
    against mutants of it; each kept one kills a mutant that no other kept one kills. What an earlier call has done is
    not done again where nothing has changed.
    """
    found = [
        one
        for one in assist.subjects_at(path, most_mutants=mutants, seed=seed, python=environment_named(python))
        if not one.path.resolve().is_relative_to(out.resolve())
    ]
    if not found:
        raise TaskError(f"{path} has no code beside what is in {out}.", hint="Give another --out.")
    subjects = [one for one in found if not isinstance(one, assist.UnusableFile)]
    folder = ReportFolder(out, assist.TestsReport, COMMAND, overwrite=overwrite)
    names = dict(
        zip(
            (one.path for one in subjects),
            folder.names([(one.path, one.test_name) for one in subjects]),
            strict=True,
        )
    )
    folder.refuse_to_replace(names)
    if path.is_file():
        refuse_trouble(subjects[0])
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    settings = {"budget": budget, "mutants": mutants, "seed": seed, **sampling_inputs(sampling, patience)}
    with opened_model(model, endpoint, endpoint_model, api_key_env, patience) as generator:
        work = _Work(folder, names, generator, budget, sampling, seed, settings)
        reports = [work.report_on(one) for one in found]
    if as_json:
        print_json(reports)
    else:
        show_tests(reports, work.as_before)
        click.echo(f"tests and {REPORT}, with every fault by name: {one_line(str(out))}")
    _refuse_troubles(reports)
    killed, num_mutants = sum(one.killed for one in reports), sum(one.mutants for one in reports)
    refuse_below(killed / max(1, num_mutants), fail_under, "The share of mutants that were killed")


@final
@dataclass(frozen=True, slots=True)
class _Work:
    """What is the same for all files, and those of them that were as before."""

    folder: ReportFolder[assist.TestsReport]
    names: Mapping[Path, str]
    generator: Generator
    budget: int
    sampling: Sampling
    seed: int
    settings: Mapping[str, JSON]
    as_before: list[assist.TestsReport] = field(default_factory=list)

    def report_on(self, one: assist.Subject | assist.UnusableFile) -> assist.TestsReport:
        """Do what is to be done for a file, and write it."""
        info = self.generator.describe()
        if isinstance(one, assist.UnusableFile):
            told = assist.TestsReport(
                path=str(one.path),
                language=one.language,
                source_digest="",
                model=info.name,
                model_digest=info.digest,
                trouble=one.trouble,
            )
            return self.folder.put_trouble(one.path, "", told)
        inputs = subject_inputs(one, model=info.digest, **self.settings)
        watcher, label = TerminalSink(), one_line(from_here(str(one.path)))
        if (earlier := self.folder.earlier(one.path, inputs)) is not None:
            watcher.skip(label, "as before, nothing is asked")
            self.as_before.append(earlier)
            return earlier
        watcher.begin(label)
        try:
            written = assist.write_tests(
                one,
                self.generator,
                most_questions=self.budget,
                sampling=self.sampling,
                seed=self.seed,
                events=watcher,
            )
        finally:
            watcher.end()
        name = self.names[one.path]
        if written.report.trouble is not None:
            return self.folder.put_trouble(one.path, name, written.report)
        report = written.report.model_copy(update={"tests_file": name if written.text else ""})
        return self.folder.put(one.path, name, inputs, report, written.text)


def _refuse_troubles(reports: list[assist.TestsReport]) -> None:
    """End with exit code 1 where a file could not be tested.

    Raises:
        SpiritsafeError: There is one.
    """
    if num := sum(one.trouble is not None for one in reports):
        raise SpiritsafeError(
            f"{num} of {len(reports)} files could not be tested.",
            hint=f"Each is named above and in {REPORT}, with what to do; then run the same command again.",
        )
