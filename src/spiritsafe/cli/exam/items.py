"""``spiritsafe exam items``: how hard the problems of a paper are, learned from the certificates of its sittings."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import exam
from spiritsafe.cli.paths import EXISTING, GuardedCommand, OutputFile, record_kind
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_note, print_result
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.exam import records

_ITEMS = OutputFile(record_kind("a record of difficulties", lambda: records.PaperItems))


@click.command(cls=GuardedCommand, name="items")
@click.argument("certificates", nargs=-1, required=True, type=EXISTING)
@click.option("--paper", type=EXISTING, help="paper.json, or its folder: certificates are checked against it too.")
@click.option("--ledger", type=EXISTING, help="The ledger: certificates are checked against it too.")
@click.option(
    "--shorter",
    type=click.IntRange(min=1),
    metavar="N",
    help="Say how few chosen problems are as precise as N at random.",
)
@click.option("--out", type=_ITEMS, help="File for what was learned; `exam register --shorter` reads it.")
@json_option
def items_(
    certificates: tuple[Path, ...],
    paper: Path | None,
    ledger: Path | None,
    shorter: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Learn from CERTIFICATES of one paper how hard its problems are, and whether it is worn out."""
    loaded = exam.checked_certificates(certificates, paper=paper, ledger=ledger)
    items = exam.learn_items(loaded, checked=_checked(paper, ledger))
    say = print_note if as_json else print_result
    for sentence in (*exam.one_a_model(loaded)[1], *exam.items_lines(items, loaded[0].paper)):
        say(sentence)
    if shorter is not None:
        say(exam.shorter_statement(items, loaded[0].paper, shorter))
    if as_json:
        print_json([items])
    if out is not None:
        write_record(out, items)


def read_shorter(items: Path | None, as_precise_as: int | None, *, adaptive: bool) -> exam.ShorterTerms | None:
    """What ``exam register --shorter FILE --as-precise-as N [--adaptive]`` asks for.

    Raises:
        RecipeError: One was given without the other.
        SourceError: The file cannot be read.
        IntegrityError: It holds no difficulties.
    """
    if items is None and as_precise_as is None and not adaptive:
        return None
    if items is None or as_precise_as is None:
        raise RecipeError(
            "A shorter sitting needs a file of difficulties and a precision.",
            hint="Give both --shorter FILE and --as-precise-as N, or neither.",
        )
    return exam.ShorterTerms(items=read_record(items, records.PaperItems), num_fixed=as_precise_as, adaptive=adaptive)


def _checked(paper: Path | None, ledger: Path | None) -> records.ItemsChecked:
    if paper is not None:
        return "paper" if ledger is None else "paper and ledger"
    return "certificates alone" if ledger is None else "ledger"
