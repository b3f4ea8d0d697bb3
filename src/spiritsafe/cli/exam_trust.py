"""What ``exam verify`` says behind its steps: score, statements, and the promises with what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiritsafe.cli.say import say
from spiritsafe.core.certificates import Certificate, CounterSignedRerun
from spiritsafe.core.contamination import SignedOverlap
from spiritsafe.core.files import read_json
from spiritsafe.exam import StepResult, trust_lines, trust_page
from spiritsafe.ledger import Ledger
from spiritsafe.report import write_trust_page

__all__ = ["show_trust"]


def show_trust(
    path: Path,
    steps: Sequence[StepResult],
    *,
    ledger: Path | None,
    reruns: Sequence[Path],
    overlaps: Sequence[Path],
    long: bool,
    output: Path | None,
) -> None:
    """Print what may be relied on, and write the page where one is wanted.

    Args:
        path: The certificate; its first step passed.
        steps: All of the verification.
        ledger: The one that was given to it.
        reruns: Those that were given to it; only believed where their step passed.
        overlaps: The same of reports on training files.
        long: All of each promise instead of a line.
        output: File for the HTML page.
    """
    certificate = Certificate.from_json(read_json(path))
    checked = {step.name for step in steps if step.ok and step.checked}
    page = trust_page(
        certificate,
        steps,
        entries=Ledger(ledger).entries() if ledger and "ledger file" in checked else None,
        reruns=[CounterSignedRerun.from_json(read_json(file)) for file in reruns] if "re-runs" in checked else (),
        overlaps=(
            [SignedOverlap.from_json(read_json(file)) for file in overlaps] if "training overlap" in checked else ()
        ),
    )
    if page.verified:
        score = page.sealed
        say("")
        numbers = f"{score.value:.1%} [{score.low:.1%}, {score.high:.1%}]"
        if page.predicted:
            say(
                f"Verified: {page.model_name} was asked {score.n} chosen problems of {page.task}; the item model "
                f"predicts {numbers} for the whole sealed half. That score was not measured."
            )
        else:
            say(f"Verified: {page.model_name} scored {numbers} on {score.n} sealed problems of {page.task}.")
        for statement in certificate.statements:
            say(f"- {statement}")
    say("")
    say("What may be relied on:")
    for line in trust_lines(page, long=long):
        say(line)
    if output is not None:
        write_trust_page(output, page)
