"""What ``exam verify`` says behind its steps: score, statements, and the promises with what became of them."""

from __future__ import annotations

from pathlib import Path

from spiritsafe import exam, report
from spiritsafe.cli.terminal import print_note
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records


def show_trust(
    verified: exam.Verification, certificate: records.Certificate, *, long: bool, output: Path | None
) -> None:
    """Print what may be relied on, and write the page where one is wanted.

    Args:
        verified: The verification; what is printed are the records that it looked at.
        long: All of each promise instead of a line.
        output: File for the HTML page.
    """
    page = exam.trust_page(
        certificate, verified.steps, entries=verified.entries, reruns=verified.reruns, overlaps=verified.overlaps
    )
    if page.verified:
        score = page.sealed
        print_note("")
        name, numbers = quoted_name(page.model_name), f"{score.value:.1%} [{score.low:.1%}, {score.high:.1%}]"
        if page.predicted:
            print_note(
                f"Verified: {name} was asked {score.n} chosen problems of {page.task}; the item model "
                f"predicts {numbers} for the whole sealed half. That score was not measured."
            )
        else:
            print_note(f"Verified: {name} scored {numbers} on {score.n} sealed problems of {page.task}.")
        for statement in exam.full_labels(certificate.statements, certificate):
            print_note(f"- {statement}")
        for statement in verified.computed:
            print_note(f"- computed here: {statement}")
    print_note("")
    print_note("What may be relied on:")
    for line in exam.trust_lines(page, long=long):
        print_note(line)
    if output is not None:
        report.write_trust_page(output, page)
