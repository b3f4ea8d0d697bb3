"""``spiritsafe exam overlap|memory|foreign``: looking for leaks, of a paper or of somebody else's benchmark."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import exam, stats
from spiritsafe.cli.exam.options import key_option, ledger_option
from spiritsafe.cli.model_options import generator_options, local_model, open_any_generator
from spiritsafe.cli.paths import EXISTING, GuardedCommand, OutputFile, record_kind
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import open_sink, print_note, print_result
from spiritsafe.core.files.record_files import write_record
from spiritsafe.exam import records
from spiritsafe.ledger import KeyPair, Ledger

_OVERLAP = OutputFile(record_kind("a report on training files", lambda: records.SignedOverlap))
_MEMORY = OutputFile(record_kind("a report of signs of memory", lambda: records.SignedMemory))
_FOREIGN = OutputFile(record_kind("a test on a foreign benchmark", lambda: stats.ForeignTest))


@click.command(cls=GuardedCommand, name="overlap")
@click.argument("paper", type=EXISTING)
@ledger_option
@key_option("A key file that opens the sealed half.")
@click.option("--file", "files", multiple=True, required=True, type=EXISTING, help="A training file; once for each.")
@click.option("--about", default="", help="Whose training files they are said to be.")
@click.option("--ngram", type=click.IntRange(1, 1000), default=13, show_default=True, help="Words in a run.")
@click.option("--names", is_flag=True, help="Mask capitalised words too, not only numbers.")
@click.option(
    "--most",
    type=click.IntRange(min=0),
    default=records.MOST_OVERLAPS,
    show_default=True,
    help="How often this paper may be compared at all.",
)
@click.option("--out", type=_OVERLAP, required=True, help="File for the signed report.")
def overlap_(
    paper: Path,
    ledger: Path,
    key: Path,
    files: tuple[Path, ...],
    about: str,
    ngram: int,
    names: bool,
    most: int,
    out: Path,
) -> None:
    """Look for the problems of PAPER in training files; hashes and counts leave, never a problem."""
    loaded, book = exam.load_paper(paper), Ledger(ledger)
    known = exam.count_overlaps(exam.PaperLog(book.entries(), loaded.header))
    print_note(f"comparisons of this paper on record: {known} of at most {most}")
    signed = exam.overlap(
        paper=paper,
        files=files,
        task=exam.task_of_paper(loaded),
        examiner=KeyPair.load(key),
        ledger=book,
        output=out,
        terms=exam.OverlapTerms(about=about, ngram=ngram, mask_names=names, most=most),
        events=open_sink(),
    )
    for statement in signed.report.statements:
        print_note(statement)


@click.command(cls=GuardedCommand, name="memory")
@click.argument("paper", type=EXISTING)
@generator_options
@ledger_option
@key_option("A key file that opens the sealed half.")
@click.option("--out", type=_MEMORY, required=True, help="File for the signed report.")
def memory_(
    paper: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    ledger: Path,
    key: Path,
    out: Path,
) -> None:
    """Look for memory of PAPER in a local model's log-probabilities. Supporting evidence only."""
    sink = open_sink()
    directory = local_model(model, endpoint, sink)
    generator = open_any_generator(directory, endpoint, endpoint_model, api_key_env)
    try:
        signed = exam.memory(
            paper=paper,
            generator=generator,
            task=exam.task_of_paper(exam.load_paper(paper)),
            examiner=KeyPair.load(key),
            ledger=Ledger(ledger),
            output=out,
            events=sink,
        )
    finally:
        generator.close()
    for statement in signed.report.statements:
        print_note(statement)


@click.command(cls=GuardedCommand, name="foreign")
@click.argument("file", type=EXISTING)
@click.option("--out", type=_FOREIGN, help="File for the test's record.")
@json_option
def foreign_(file: Path, out: Path | None, as_json: bool) -> None:
    """Did a student study a foreign benchmark? FILE has its counts and those of reference models, as JSON."""
    rows = exam.read_foreign(file)
    test = exam.foreign_test(rows)
    if as_json:
        print_json([test])
    for line in exam.foreign_lines(rows, test):
        (print_note if as_json else print_result)(line)
    if out is not None:
        write_record(out, test)
