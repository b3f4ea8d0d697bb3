"""The checking part of the page: how to verify, licences and lineage, how to repeat the run.

In: :class:`ReportData`. Out: sections.
"""

from __future__ import annotations

from spiritsafe.core.records import Checkpoint
from spiritsafe.report.data.exam import ExamPart, VerificationSummary
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, join, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, table, wide
from spiritsafe.report.numbers import date_text, memory_text, scaled_count, time_text
from spiritsafe.report.sections.exams import exam_title
from spiritsafe.report.sections.promises import trust_table
from spiritsafe.report.text.headline import platform_words, separation_text


def _command(text: str) -> Html:
    """A command that breaks between words, not at the hyphens of its options, and copies as it was given."""
    words = join((tag("span", word) for word in text.split(" ")), " ")
    return tag("pre", tag("code", words), class_="command")


def verify_section(data: ReportData) -> Html:
    """Numbered steps for a stranger, certificates, and who held the keys; each exam has its part."""
    title = "How to verify"
    parts = [part for exam in data.exams if exam.verification for part in _verify(data, exam, exam.verification)]
    if not parts:
        parts = [paragraph("This run issued no certificate, so its numbers rest on the maker’s word alone.")]
    return section("verify", title, *parts)


def _verify(data: ReportData, exam: ExamPart, checks: VerificationSummary) -> list[Html | None]:
    steps = tag(
        "ol",
        *(tag("li", paragraph(step.text), _command(step.command) if step.command else None) for step in checks.steps),
        class_="steps",
    )
    rows = [
        [tag("span", entry.model, class_="model"), tag("code", entry.path), tag("code", entry.digest, class_="digest")]
        for entry in checks.certificates
    ]
    columns = plain("Certificate of", "File") + wide("Digest")
    listed = (
        table(columns, rows, caption="Certificates") if rows else paragraph("No model of this run holds a certificate.")
    )
    marks = [("Paper", exam.paper)]
    if checks.ledger_head:
        marks.append(("Ledger head", checks.ledger_head))
    facts = tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", tag("code", value, class_="digest"))) for name, value in marks),
        class_="facts",
    )
    said = [
        tag(
            "details",
            tag("summary", f"What the certificate of {entry.model} says"),
            tag("ul", *(tag("li", statement) for statement in entry.statements)),
        )
        for entry in checks.certificates
        if entry.statements
    ]
    relied = [
        tag(
            "details",
            tag("summary", f"What may be relied on in the certificate of {entry.model}"),
            trust_table(entry.promises, caption=f"Promises of the certificate of {entry.model}"),
        )
        for entry in checks.certificates
        if entry.promises
    ]
    separation = paragraph(separation_text(checks), class_="separation")
    return [exam_title(data, exam), separation, steps, listed, *said, *relied, facts]


def lineage_section(data: ReportData) -> Html:
    """Every model with its parents, how each was used, and its licence."""
    title = "Licences and lineage"
    if not data.lineage:
        return section("lineage", title, paragraph("No lineage was recorded for this run."))
    columns = plain("Model", "Licence") + numeric("Parameters", "Weights") + wide("Made from", "Digest")
    return section("lineage", title, table(columns, [_lineage_row(entry) for entry in data.lineage], caption=title))


def _lineage_row(entry: Checkpoint) -> list[object]:
    parents = [
        tag("span", f"{parent.name} ({parent.license}): {', '.join(parent.used_as).replace('_', ' ')}", class_="parent")
        for parent in entry.parents
    ]
    return [
        tag("span", entry.name, class_="model"),
        tag("span", entry.license, class_="licence"),
        scaled_count(entry.num_parameters) if entry.num_parameters else nothing("not known"),
        memory_text(entry.weight_bytes) if entry.weight_bytes else nothing("served"),
        join(parents) if parents else "made elsewhere",
        tag("code", entry.digest, class_="digest"),
    ]


def run_section(data: ReportData) -> Html:
    """What repeats the run, and on what it ran."""
    run = data.run
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    facts = [
        ("Finished", date_text(run.finished)),
        ("Time of all stages", time_text(data.total_s)),
        ("Machine", run.machine),
        *([("Platforms", platforms)] if (platforms := platform_words(run)) else []),
        ("Versions", versions or "not recorded"),
        ("Recipe digest", tag("code", run.recipe, class_="digest")),
    ]
    return section(
        "run",
        "How to repeat it",
        _command(run.command),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )
