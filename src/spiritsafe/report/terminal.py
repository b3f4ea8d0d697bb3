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
from spiritsafe.report.data.exam import ExamPart, ExamScore
from spiritsafe.report.data.learning import Reinforced
from spiritsafe.report.data.models import Rung
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    memory_text,
    printed,
    scaled_count,
    score_range,
    score_value,
    share_text,
    speed_text,
    time_text,
    work_text,
)
from spiritsafe.report.text.files import bits_text, divergence_text, dominated_by
from spiritsafe.report.text.headline import (
    base_name,
    bases_of,
    confidence_text,
    exam_words,
    further_headlines,
    gap_sentence,
    headline,
    platform_words,
    separations_of,
)
from spiritsafe.report.text.measured import PRACTICE, measured_difference, measured_value, what_words
from spiritsafe.report.text.rewards import findings, versus_sentence, warnings_of
from spiritsafe.stats import Estimate

_MOST_GAPS = 5
_SIGN = 0.05
_PERCENT = "\u00a0%"


def terminal_summary(data: ReportData) -> str:
    """Headline, ladder table and findings as text; ends without a newline."""
    parts = [_wrapped(words) for words in (headline(data), *further_headlines(data))]
    for exam in data.exams:
        parts += _exam(data, exam)
    if any(rung.file for rung in data.ladder):
        parts += _files(data)
    if data.unsat:
        parts.append(_unsat(data))
    if data.made:
        parts.append(_staircase(data))
    for exam in data.exams:
        before = f"{exam.name}: " if len(data.exams) > 1 else ""
        parts += [_wrapped(f"{before}{versus_sentence(pair)}") for pair in exam.versus]
    names = [exam.name for exam in data.exams]
    parts += [
        _wrapped(f"{step.name}: {' '.join((*findings(step, names), *_warned(step)))}") for step in data.reinforced
    ]
    if data.measured:
        parts += _measured(data)
    for exam in data.exams:
        parts += _gaps(data, exam)
    if platforms := platform_words(data.run):
        parts.append(_wrapped(platforms))
    separation = ", ".join(separations_of(data)) or "no certificate"
    parts.append(_wrapped(f"{data.run.name}: {len(data.stages)} stages, {time_text(data.total_s)}; {separation}."))
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return printed(Text(visible(text)))


def _table(titles: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text that may be folded, then columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0, 0, 1))
    for title in titles:
        table.add_column(title, overflow="fold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(visible(cell).replace("\n", " ⏎ ")) for cell in row))
    return printed(table)


def _exam(data: ReportData, exam: ExamPart) -> list[str]:
    """The ladder of one exam."""
    if not exam.scores:
        return [_wrapped(f"No model sat {exam_words(data, exam)}.")]
    several, bases = len(data.exams) > 1, bases_of(exam)
    if len(bases) < 2:
        over = f"against {base_name(data, bases[0] if bases else None)}"
    else:
        over = "against the given model that its weights come from"
    head = [f"{exam.name}: {exam.num_sealed} sealed problems of {exam.task}"] if several else []
    columns = ("Weights", "Tok/s", "Sealed score", "Change, points", "Gain kept")
    ladder = _table(("Model",), columns, [_cells(rung, score, data.teacher) for rung, score in data.sat(exam)])
    confidence = confidence_text(exam.estimates() if several else data.estimates())
    notes = f"Brackets: {confidence} intervals. Change: {over} on the same problems, in points."
    return [*map(_wrapped, head), ladder, _wrapped(notes)]


def _files(data: ReportData) -> list[str]:
    """What each file weighs and takes; what it scored stands in the ladder."""
    worse = {name: other for exam in data.exams for name, other in dominated_by(data, exam).items()}
    rows = [
        [
            f"{rung.name} ({figures.type})",
            worse.get(rung.name, "-"),
            "-" if rung.weight_bytes is None else memory_text(rung.weight_bytes),
            bits_text(figures),
            "-" if figures.kl is None else divergence_text(figures.kl)[0],
            "-" if figures.memory_bytes is None else memory_text(figures.memory_bytes),
            "-" if figures.tokens_per_s is None else speed_text(figures.tokens_per_s),
        ]
        for rung in data.ladder
        if (figures := rung.file)
    ]
    numbers = ("Bytes", "Bits a weight", "KL, nats", "Memory", "Tok/s")
    return [_table(("File", "Dominated by"), numbers, rows)]


def _unsat(data: ReportData) -> str:
    """Models without a score, by their sizes."""
    made_by = {row.name: row.made_by for row in data.made}
    rows = [
        [
            f"{rung.name} ({rung.role})",
            made_by.get(rung.name, "given" if data.is_given(rung) else "-"),
            "-" if rung.num_parameters is None else scaled_count(rung.num_parameters),
            _size(rung, data.teacher),
        ]
        for rung in data.unsat
    ]
    title = "Models that sat no exam" if data.exams else "Model"
    return _table((title, "How it was made"), ("Parameters", "Weights"), rows)


def _measured(data: ReportData) -> list[str]:
    rows = []
    for one in data.measured:
        value, span = measured_value(one)
        difference = "-"
        if one.difference:
            change, between = measured_difference(one, one.difference)
            difference = f"{change} [{between.replace(' to ', ', ')}]"
        rows.append(
            [one.step, one.model, one.data, what_words(one), f"{value} [{span.removesuffix(_PERCENT)}]", difference]
        )
    listed = _table(("Step", "Model", "Data", "What"), ("Value", "Against the first"), rows)
    confidence = confidence_text(found for one in data.measured for found in (one.value, one.difference) if found)
    return [listed, _wrapped(f"{PRACTICE}. Brackets: {confidence} intervals.")]


def _warned(step: Reinforced) -> list[str]:
    count = len(warnings_of(step))
    return [f"Warnings and alarms: {count}, in the report."] if count else []


def _gaps(data: ReportData, exam: ExamPart) -> list[str]:
    """What the public-against-sealed test says of each model; of many models, of those with a sign of studying."""
    before = f"{exam.name}, " if len(data.exams) > 1 else ""
    sat = [score for score in exam.scores if score.public]
    few = len(sat) <= _MOST_GAPS
    told = [score for score in sat if few or (score.public and score.public.gap.p_value < _SIGN)]
    sentences = [f"{before}{score.model}: {gap_sentence(score, base_name(data, score.against))}" for score in told]
    if not few:
        count = f"{len(sat) - len(told)} of {len(sat)} models"
        named = f" in {exam.name}" if before else ""
        sentences.append(f"Public against sealed{named}: {count} show no sign of studying (report).")
    return [_wrapped(sentence) for sentence in sentences]


def _staircase(data: ReportData) -> str:
    exam = data.exams[0] if len(data.exams) == 1 else None
    rows = []
    for row in data.made:
        cells = [row.name, row.start or "-", row.counts or "-", work_text(row.flops) if row.flops else "-"]
        if exam:
            score = exam.score_of(row.name)
            cells.append(_change(score.gain) if score and score.gain else "-")
        rows.append(cells)
    numbers = ("Operations", *(("Gain over start",) if exam else ()))
    return _table(("Made", "From", "What went in"), numbers, rows)


def _change(change: Estimate) -> str:
    return f"{change_value(change)} [{change_range(change).replace(' to ', ', ')}]"


def _cells(rung: Rung, score: ExamScore, teacher: Rung | None) -> list[str]:
    return [
        f"{rung.name} ({rung.role})",
        _size(rung, teacher),
        "-" if score.tokens_per_s is None else speed_text(score.tokens_per_s),
        _score(score.sealed, 1),
        "-" if score.change is None else _change(score.change),
        "-" if score.gain_kept is None else _score(score.gain_kept, 0),
    ]


def _size(rung: Rung, teacher: Rung | None) -> str:
    if rung.weight_bytes is None:
        return "served"
    size = memory_text(rung.weight_bytes)
    if rung.file is not None:
        return f"{size} {rung.file.type}"
    return f"{size} {share_text(rung.weight_bytes, teacher.weight_bytes)}" if teacher and teacher.weight_bytes else size


def _score(score: Estimate, digits: int) -> str:
    return f"{score_value(score, digits)} [{score_range(score, digits).removesuffix(_PERCENT)}]"
