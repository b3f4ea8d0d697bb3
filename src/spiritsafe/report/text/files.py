"""What is said of models that are one file, on the page, in the terminal and on a card.

In: a report's records. Out: words, and which file another one makes needless.
"""

from __future__ import annotations

from spiritsafe.report.data.exam import ExamPart
from spiritsafe.report.data.models import FileFigures
from spiritsafe.report.data.run import ReportData
from spiritsafe.stats import Estimate, dominating

FILES_NOTE = (
    "Each file sat the exam itself: its own bytes answered. Change is against the model that it holds, on the same "
    "problems. A file is dominated where another one is no larger and scored no less."
)


def bits_text(figures: FileFigures) -> str:
    """Bits a weight as they are, and how much is stored in another type than the name says."""
    said = f"{figures.bits_per_weight:.2f}"
    share = figures.substituted_share
    return f"{said}, {share:.0%} not {figures.type}" if share >= 0.005 else said


def divergence_text(kl: Estimate) -> tuple[str, str]:
    """Value and interval, in two digits that count: a file of 16 bits differs by millionths."""
    return f"{kl.value:.2g}", f"{kl.low:.2g} to {kl.high:.2g}"


def dominated_by(data: ReportData, exam: ExamPart | None) -> dict[str, str]:
    """Files that another file of the same model makes needless, with its name; by the scores of one exam."""
    found: dict[str, str] = {}
    if exam is None:
        return found
    sat = [(rung, score) for rung, score in data.sat(exam) if rung.file and rung.weight_bytes]
    for of in dict.fromkeys(rung.file.of for rung, _ in sat if rung.file):
        files = [(rung, score) for rung, score in sat if rung.file and rung.file.of == of]
        choices = [(float(rung.weight_bytes or 0), score.sealed.value) for rung, score in files]
        for (rung, _), better in zip(files, dominating(choices), strict=True):
            if better is not None:
                found[rung.name] = files[better][0].name
    return found
