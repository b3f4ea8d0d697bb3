"""The end of a run in the terminal: headline, ladder with intervals, where to look next.

In: :class:`ReportData`. Out: plain text of at most 100 columns, without colours or control characters, whatever the
models are called.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from spiritsafe.core.text.safe_text import visible
from spiritsafe.report.data.exam import Rung
from spiritsafe.report.data.learning import MadeRow, Reinforced
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    memory_text,
    printed,
    score_range,
    score_value,
    share_text,
    speed_text,
    time_text,
    work_text,
)
from spiritsafe.report.text.headline import confidence_text, gap_sentence, headline, platform_words
from spiritsafe.report.text.rewards import findings, versus_sentence, warnings_of
from spiritsafe.stats import Estimate

_MOST_GAPS = 5
_SIGN = 0.05
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
    if data.made:
        parts.append(_staircase(data.made))
    parts += [_wrapped(versus_sentence(pair)) for pair in data.versus]
    parts += [_wrapped(f"{step.name}: {' '.join((*findings(step), *_warned(step)))}") for step in data.reinforced]
    parts += _gaps(data)
    if platforms := platform_words(data.run):
        parts.append(_wrapped(platforms))
    separation = data.verification.separation if data.verification else "no certificate"
    parts.append(_wrapped(f"{data.run.name}: {len(data.stages)} stages, {time_text(data.total_s)}; {separation}."))
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return printed(Text(visible(text)))


def _ladder(data: ReportData) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0, 0, 1))
    table.add_column("Model", overflow="fold")
    for title in ("Weights", "Tok/s", "Sealed score", "Change, points", "Gain kept"):
        table.add_column(title, justify="right", no_wrap=True)
    teacher = data.rung_of("teacher")
    for rung in data.ladder:
        table.add_row(*(Text(visible(cell).replace("\n", " ⏎ ")) for cell in _cells(rung, teacher)))
    return printed(table)


def _warned(step: Reinforced) -> list[str]:
    count = len(warnings_of(step))
    return [f"Warnings and alarms: {count}, in the report."] if count else []


def _gaps(data: ReportData) -> list[str]:
    """What the public-against-sealed test says of each model; of many models, of those with a sign of studying."""
    sat = [rung for rung in data.ladder if rung.public]
    if len(sat) <= _MOST_GAPS:
        return [_wrapped(f"{rung.name}: {gap_sentence(rung)}") for rung in sat]
    studied = [rung for rung in sat if rung.public and rung.public.gap.p_value < _SIGN]
    rest = f"Public against sealed: {len(sat) - len(studied)} of {len(sat)} models show no sign of studying (report)."
    return [*(_wrapped(f"{rung.name}: {gap_sentence(rung)}") for rung in studied), _wrapped(rest)]


def _staircase(made: Sequence[MadeRow]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0, 0, 1))
    table.add_column("Made", overflow="fold")
    table.add_column("From", overflow="fold")
    table.add_column("What went in", overflow="fold")
    table.add_column("Operations", justify="right", no_wrap=True)
    table.add_column("Gain over start", justify="right", no_wrap=True)
    for row in made:
        cells = [
            row.name,
            row.start or "-",
            row.counts or "-",
            work_text(row.flops) if row.flops else "-",
            _change(row.gain) if row.gain else "-",
        ]
        table.add_row(*(Text(visible(cell).replace("\n", " ⏎ ")) for cell in cells))
    return printed(table)


def _change(change: Estimate) -> str:
    return f"{change_value(change)} [{change_range(change).replace(' to ', ', ')}]"


def _cells(rung: Rung, teacher: Rung | None) -> list[str]:
    size = memory_text(rung.weight_bytes)
    return [
        f"{rung.name} ({rung.role})",
        f"{size} {share_text(rung.weight_bytes, teacher.weight_bytes)}" if teacher else size,
        "-" if rung.tokens_per_s is None else speed_text(rung.tokens_per_s),
        "did not sit" if rung.sealed is None else _score(rung.sealed, 1),
        "-" if rung.change is None else _change(rung.change),
        "-" if rung.gain_kept is None else _score(rung.gain_kept, 0),
    ]


def _score(score: Estimate, digits: int) -> str:
    return f"{score_value(score, digits)} [{score_range(score, digits).removesuffix(_PERCENT)}]"
