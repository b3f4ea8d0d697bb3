"""The table of what tests were written, for people.

In: reports. Out: lines on the terminal. A path that is too long loses its beginning, so that what tells files apart
stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from spiritsafe import assist
from spiritsafe.core.text.safe_text import one_line

_HEADINGS = ("killed", "kept", "dropped", "lines", "asked", "tokens", "s")
_FEWEST = 12
"""Columns of a path, however narrow the terminal is."""


def report_table(reports: Sequence[assist.TestsReport], width: int | None) -> list[str]:
    """Its lines.

    Args:
        reports: One a line.
        width: Of the terminal; None: there is none, and no path is shortened.
    """
    from rich.cells import cell_len  # not before something is shown

    rows = [_HEADINGS, *map(_figures, reports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    paths = ["file", *(one_line(from_here(one.path)) for one in reports)]
    room = max(map(cell_len, paths))
    if width is not None:
        room = min(room, max(_FEWEST, width - sum(widths) - 2 * len(widths)))
    shown = [_shortened(path, room) for path in paths]
    return [
        "  ".join(
            [path + " " * (room - cell_len(path)), *(one.rjust(most) for one, most in zip(row, widths, strict=True))]
        )
        for path, row in zip(shown, rows, strict=True)
    ]


def _figures(report: assist.TestsReport) -> tuple[str, ...]:
    if report.trouble is not None:
        return ("-",) * len(_HEADINGS)
    return (
        f"{report.killed}/{report.mutants}",
        str(len(report.kept)),
        str(len(report.invalid) + len(report.redundant)),
        "-" if report.coverage is None else f"{report.coverage:.0%}",
        str(report.cost.questions),
        f"{report.cost.tokens_in + report.cost.tokens_out:,}",
        f"{report.seconds:.0f}",
    )


def _shortened(path: str, room: int) -> str:
    """A path without its beginning, where it is too long."""
    from rich.cells import cell_len

    if cell_len(path) <= room:
        return path
    while cell_len(path) > room - 1:
        path = path[1:]
    return f"…{path}"


def from_here(path: str) -> str:
    """A path as it is shortest to say."""
    here = Path(path).resolve()
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else path


def _why_none(report: assist.TestsReport) -> str:
    """What was wrong with the last answer that anything was wrong with."""
    told = [one.told for one in report.rounds if one.told] or [one.reason for one in report.invalid]
    return told[-1] if told else ""


def show_tests(reports: Sequence[assist.TestsReport], as_before: Sequence[assist.TestsReport]) -> None:
    """Print it, and what else is to be said of files."""
    from rich.console import Console

    console = Console()
    for line in report_table(reports, console.width if console.is_terminal else None):
        click.echo(line)
    for one in reports:
        if one.trouble is not None:
            click.echo(one_line(f"not tested: {one.trouble.reason} {one.trouble.hint}"))
        elif not one.kept and (why := _why_none(one)):
            click.echo(one_line(f"{from_here(one.path)}: no test is kept: {why}"))
    if as_before:
        names = ", ".join(from_here(one.path) for one in as_before)
        click.echo(one_line(f"as before, so that nothing was asked: {names}"))
