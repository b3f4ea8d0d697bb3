"""The table of a finished `spiritsafe run ladder`: arms over their seeds, with intervals, and paired differences.

In: the run's directory, or this folder with the published certificates. Out: Markdown. Each sealed problem was answered
by three students of an arm, alike but for the seed; intervals take the problems as clusters.

    python experiments/ladder/table.py experiments/ladder
"""

from __future__ import annotations

import sys
from pathlib import Path

from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.paired import paired_difference

REFERENCE = "kl-70"


def sealed_right(certificate: Certificate) -> list[int]:
    """1 or 0 for each sealed problem, in bank order."""
    right = {o.index: int(o.status == "correct") for o in certificate.result.outcomes if o.half == "sealed"}
    return [right[index] for index in sorted(right)]


def main(folder: Path) -> None:
    paths = sorted([*folder.glob("*.certificate.json"), *folder.glob("stages/*-exam/*.certificate.json")])
    arms: dict[str, list[list[int]]] = {}
    for path in paths:
        name = path.name.removesuffix(".certificate.json")
        stem, _, number = name.rpartition("-")
        arms.setdefault(stem if number in ("1", "2", "3") else name, []).append(
            sealed_right(Certificate.from_json(read_json(path)))
        )
    totals = {arm: [sum(column) for column in zip(*runs, strict=True)] for arm, runs in arms.items()}
    print(f"| arm | seeds | sealed score | each seed | against {REFERENCE}, points |")
    print("|---|---|---|---|---|")
    for arm, runs in arms.items():
        score = score_interval(totals[arm], trials=len(runs))
        each = ", ".join(f"{100 * sum(run) / len(run):.0f}" for run in runs)
        against = ""
        if arm != REFERENCE and len(runs) == len(arms[REFERENCE]):
            found = paired_difference(totals[arm], totals[REFERENCE], trials=len(runs))
            d = found.difference
            against = f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}], p = {found.p_value:.3f}"
        print(
            f"| {arm} | {len(runs)} | {100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}] "
            f"| {each} | {against} |"
        )


main(Path(sys.argv[1]))
