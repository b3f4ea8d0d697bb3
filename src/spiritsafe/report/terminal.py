"""The end of a run in the terminal: headline, ladder with intervals, where to look next.

In: :class:`ReportData`. Out: plain text of at most 100 columns, without colours or control characters, whatever the
models are called.
"""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spiritsafe.core.stats import Estimate
from spiritsafe.report.data import ReportData
from spiritsafe.report.evidence import Rung
from spiritsafe.report.markup import visible
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    memory_text,
    score_range,
    score_value,
    share_text,
    speed_text,
    time_text,
)
from spiritsafe.report.wording import confidence_text, gap_sentence, headline

__all__ = ["WIDTH", "terminal_summary"]

WIDTH = 100
_PERCENT = "\u00a0%"


def terminal_summary(data: ReportData) -> str:
    """Headline, ladder table and findings as text; ends without a newline."""
    parts = [_wrapped(headline(data))]
    if data.ladder:
        parts.append(_ladder(data))
        notes = (
            f"Brackets: {confidence_text(data)} intervals. Change: against the base on the same problems, in points."
        )
        parts.append(_wrapped(notes))
    parts += [_wrapped(f"{rung.name}: {gap_sentence(rung)}") for rung in data.ladder if rung.public]
    separation = data.verification.separation if data.verification else "no certificate"
    parts.append(_wrapped(f"{data.run.name}: {len(data.stages)} stages, {time_text(data.total_s)}; {separation}."))
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return _printed(Text(visible(text)))


def _printed(content: Text | Table) -> str:
    """As a terminal of this width shows it: wide characters count double, long words are folded."""
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(content, overflow="fold")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _ladder(data: ReportData) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0, 0, 1))
    table.add_column("Model", overflow="fold")
    for title in ("Weights", "Tok/s", "Sealed score", "Change, points", "Gain kept"):
        table.add_column(title, justify="right", no_wrap=True)
    teacher = data.rung_of("teacher")
    for rung in data.ladder:
        table.add_row(*(Text(visible(cell).replace("\n", " ⏎ ")) for cell in _cells(rung, teacher)))
    return _printed(table)


def _cells(rung: Rung, teacher: Rung | None) -> list[str]:
    size = memory_text(rung.weight_bytes)
    return [
        f"{rung.name} ({rung.role})",
        f"{size} {share_text(rung.weight_bytes, teacher.weight_bytes)}" if teacher else size,
        "-" if rung.tokens_per_s is None else speed_text(rung.tokens_per_s),
        "did not sit" if rung.sealed is None else _score(rung.sealed, 1),
        "-"
        if rung.change is None
        else f"{change_value(rung.change)} [{change_range(rung.change).replace(' to ', ', ')}]",
        "-" if rung.gain_kept is None else _score(rung.gain_kept, 0),
    ]


def _score(score: Estimate, digits: int) -> str:
    return f"{score_value(score, digits)} [{score_range(score, digits).removesuffix(_PERCENT)}]"
