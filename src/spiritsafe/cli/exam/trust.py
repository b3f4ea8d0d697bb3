"""What ``exam verify`` says behind its steps: score, statements, and the promises with what became of them."""

from __future__ import annotations

from spiritsafe import exam
from spiritsafe.cli.terminal import print_note
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records


def trust_of(verified: exam.Verification, certificate: records.Certificate) -> records.TrustPage:
    """The promises and what became of them, by the records that the verification looked at."""
    return exam.trust_page(
        certificate, verified.steps, entries=verified.entries, reruns=verified.reruns, overlaps=verified.overlaps
    )


def show_trust(
    page: records.TrustPage, verified: exam.Verification, certificate: records.Certificate, *, long: bool
) -> None:
    """Print what may be relied on.

    Args:
        verified: Says what was computed.
        long: All of each promise instead of a line.
    """
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
