"""What signs of memory mean, in plain words, and how a report of them is checked.

In: the tests of :mod:`spiritsafe.exam.contamination.memorisation`. Out: statements; for whoever checks a report, an
:class:`IntegrityError` if it is not its examiner's, not of this paper or not in the ledger. The scores of single
problems are not published, so the tests themselves cannot be recomputed by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiritsafe.core.files.record_files import parse_record
from spiritsafe.exam.contamination.signed_report import MemoryEntry, check_examiner_report
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.records.contamination import OrderTest, ScoreTest, SignedMemory

SUPPORTING_ONLY = (
    "Supporting evidence only: training by reward hides memory from these scores (arXiv 2510.02386), and no sign of it "
    "is no proof of none. What counts is the public-sealed test of a sitting."
)
_LEVEL = 0.05


def statements_of_memory(has_spread: bool, scores: Sequence[ScoreTest], order: OrderTest | None) -> tuple[str, ...]:
    """What was found and what it is worth, in plain words."""
    num_tests = len(scores) + (order is not None)
    found = [(test.p_value, f"{test.method} of the {test.text}") for test in scores]
    if order is not None:
        found.append((order.p_value, "the published order"))
    smallest, name = min(found, default=(1.0, "nothing"))
    corrected = min(1.0, smallest * num_tests)
    if not found:
        lead = "Nothing could be tested: the texts do not fit this model."
    elif corrected < _LEVEL:
        lead = f"A sign of memory: {name} (p = {corrected:.2g}, corrected for {num_tests} tests)."
    else:
        lead = f"No sign of memory in log-probabilities (smallest of {num_tests} p-values, corrected: {corrected:.2g})."
    lines = [
        f"{test.method} of the {test.text}: a public problem scores higher than a sealed one with chance "
        f"{test.auc.value:.2f} ({test.auc.low:.2f} to {test.auc.high:.2f}), p = {test.p_value:.2g}."
        for test in scores
    ]
    if order is not None:
        lines.append(
            f"Published order: {order.num_shards} shards of {order.shard_size} problems are likelier than their "
            f"shuffles by {order.mean_excess:+.2f} nats each, p = {order.p_value:.2g}."
        )
    else:
        lines.append("The published order was not tested: too few problems fit the model's context together.")
    if scores and not has_spread:
        lines.append("These weights give no spread over the vocabulary: Min-K% stands in for Min-K%++.")
    return (lead, *lines, SUPPORTING_ONLY)


def check_memorisation(data: bytes, path: Path, *, log: PaperLog) -> SignedMemory:
    """Check that a memory report is its examiner's, of this paper, and in this ledger; its scores are not published."""
    signed = parse_record(data, SignedMemory, f"The memory report {path}")
    report = signed.report
    expected = statements_of_memory(report.has_spread, report.scores, report.order)
    check_examiner_report(
        signed,
        path,
        kind=MemoryEntry,
        log=log,
        follows=[(report.statements == expected, "has statements that do not follow from its tests")],
    )
    return signed
