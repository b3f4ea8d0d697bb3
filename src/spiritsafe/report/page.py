"""The report: one HTML file that needs nothing else.

In: :class:`ReportData`. Out: a page with its style inside, no script, no request: its own content policy forbids
both, so that even a flaw in the escaping of model output could load or run nothing. Exercise it with
``spiritsafe run tiny``.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.files.atomic import write_text
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.document import page_head
from spiritsafe.report.html.markup import Html, paragraph, tag
from spiritsafe.report.numbers import date_text, time_text
from spiritsafe.report.sections.files import files_section
from spiritsafe.report.sections.ladder import key_figures, ladder_section
from spiritsafe.report.sections.lineage import staircase_section
from spiritsafe.report.sections.making import curves_section, inputs_section, memory_section, stages_section
from spiritsafe.report.sections.measured import measured_sections
from spiritsafe.report.sections.results import outcomes_section, parts_section, public_section
from spiritsafe.report.sections.rewards import rewards_section
from spiritsafe.report.sections.transcripts import transcripts_section
from spiritsafe.report.sections.verification import lineage_section, run_section, verify_section
from spiritsafe.report.text.headline import further_headlines, headline, headline_support, separations_of

_CONTENTS = (
    ("ladder", "Ladder"),
    ("files", "Files"),
    ("steps", "Step by step"),
    ("rewards", "Learning by reward"),
    ("measured", "Measured"),
    ("parts", "Part by part"),
    ("public", "Public and sealed"),
    ("outcomes", "Every problem"),
    ("inputs", "What went in"),
    ("stages", "Time"),
    ("curves", "Learning curves"),
    ("transcripts", "Transcripts"),
    ("memory", "Memory"),
    ("verify", "Verify"),
    ("lineage", "Lineage"),
    ("run", "Repeat"),
)


def build_report(data: ReportData) -> str:
    """The whole page."""
    body = tag(
        "body",
        tag("a", "To the results", href="#ladder", class_="skip"),
        _header(data),
        tag(
            "main",
            ladder_section(data),
            files_section(data),
            staircase_section(data),
            rewards_section(data),
            *measured_sections(data),
            parts_section(data),
            public_section(data),
            outcomes_section(data),
            inputs_section(data),
            stages_section(data),
            curves_section(data),
            transcripts_section(data),
            memory_section(data),
            verify_section(data),
            lineage_section(data),
            run_section(data),
        ),
        tag("footer", paragraph("Made by spiritsafe. This page is one file: it loads nothing and runs no script.")),
    )
    return f'<!doctype html>\n<html lang="en">\n{page_head(f"{data.run.name}: spiritsafe report")}\n{body}\n</html>\n'


def write_report(path: Path, data: ReportData) -> None:
    """Write the page, whole or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(path, build_report(data))


def _header(data: ReportData) -> Html:
    run = data.run
    stamp = [run.name, date_text(run.finished), *([time_text(data.total_s)] if data.stages else []), run.machine]
    separation = ", ".join(separations_of(data)) or "no certificate"
    return tag(
        "header",
        tag(
            "p", _mark(), tag("span", "spiritsafe", class_="word"), tag("span", "report", class_="kind"), class_="brand"
        ),
        tag("h1", headline(data)),
        *(paragraph(tag("strong", words), class_="support") for words in further_headlines(data)),
        paragraph(headline_support(data), class_="support"),
        key_figures(data),
        tag(
            "ul",
            *(tag("li", text) for text in stamp),
            tag("li", tag("a", separation, href="#verify")),
            class_="stamp",
            aria_label="The run",
        ),
        tag(
            "nav",
            tag("ul", *(tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in _contents(data))),
            aria_label="Contents",
        ),
    )


def _contents(data: ReportData) -> list[tuple[str, str]]:
    """The parts of this page: runs without steps, measures or exams have fewer."""
    there = {
        "files": any(rung.file for rung in data.ladder),
        "steps": data.made or any(exam.versus for exam in data.exams),
        "rewards": data.reinforced,
        "measured": data.measured or data.compute,
        "parts": any(score.parts for exam in data.exams for score in exam.scores),
        "public": data.exams,
        "outcomes": data.exams,
    }
    absent = {name for name, found in there.items() if not found}
    return [(anchor, title) for anchor, title in _CONTENTS if anchor not in absent]


def _mark() -> Html:
    """A drop behind glass: the spirit safe of a distillery."""
    return tag(
        "svg",
        tag("rect", x="2", y="4", width="28", height="24", rx="3", class_="frame"),
        tag(
            "path",
            d="M16 8.5c3 4 4.6 6.500 4.600 8.900a4.600 4.600 0 0 1-9.200 0c0-2.400 1.600-4.900 4.600-8.900z",
            class_="drop",
        ),
        tag("line", x1="6", y1="31", x2="26", y2="31", class_="frame"),
        class_="mark",
        viewBox="0 0 32 32",
        aria_hidden="true",
    )
