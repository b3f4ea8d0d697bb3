"""The trust page: one HTML file that says what may be relied on in one certificate.

In: a :class:`~spiritsafe.exam.records.trust.TrustPage`, made by the exam room. Out: a page that loads nothing and runs
nothing. Exercise it with ``spiritsafe exam verify … --trust-page FILE``.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.files.atomic import write_text
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.records import TrustPage
from spiritsafe.report.html.document import page_head
from spiritsafe.report.html.markup import paragraph, section, tag
from spiritsafe.report.numbers import score_text
from spiritsafe.report.sections.promises import trust_table


def _score_words(page: TrustPage) -> str:
    if page.predicted:
        return (
            f"Predicted, not measured: {score_text(page.sealed)} on the whole sealed half of {page.task}, from "
            f"{page.sealed.n} chosen problems."
        )
    return f"{score_text(page.sealed)} on {page.sealed.n} sealed problems of {page.task}."


def build_trust_page(page: TrustPage) -> str:
    """The whole page."""
    verdict = "Every step of the verification passed" if page.verified else "The verification failed"
    title = f"{quoted_name(page.model_name)}: what may be relied on"
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", title),
            paragraph(f"{verdict}. {_score_words(page)}", class_="support"),
            paragraph("Certificate ", tag("code", page.certificate, class_="digest")),
        ),
        tag("main", section("promises", "Promises", trust_table(page.promises, caption="Promises of the certificate"))),
        tag("footer", paragraph("Made by spiritsafe. This page is one file: it loads nothing and runs no script.")),
    )
    return f'<!doctype html>\n<html lang="en">\n{page_head(title)}\n{body}\n</html>\n'


def write_trust_page(path: Path, page: TrustPage) -> None:
    """Write the page, whole or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(path, build_trust_page(page))
