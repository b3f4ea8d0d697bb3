"""What every report beside the sittings must be: its examiner's, about this paper, and in this ledger.

In: a signed report, the paper's log, and what else must follow from the report itself. Out:
nothing, or an error that says what does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog, openers
from spiritsafe.exam.records.contamination import SignedMemory, SignedOverlap
from spiritsafe.ledger import verify_signature


@final
class OverlapEntry(PaperEntry):
    """What stands in training files was reported."""

    kind: ClassVar[Literal["overlap"]] = "overlap"
    signer = "opener"


@final
class MemoryEntry(PaperEntry):
    """Signs of memory were reported."""

    kind: ClassVar[Literal["memory"]] = "memory"
    signer = "opener"


def check_examiner_report(
    signed: SignedOverlap | SignedMemory,
    path: Path,
    *,
    kind: type[OverlapEntry] | type[MemoryEntry],
    log: PaperLog,
    follows: Sequence[tuple[bool, str]],
) -> None:
    """Check who signed a report, about what, that its words follow, and that the ledger names it, in this order.

    Args:
        kind: Of report, signature and ledger entry.
        follows: What else must be true, and what is said where it is not.

    Raises:
        IntegrityError: Something does not fit.
    """
    report, own = signed.report, signed.report.examiner.signing
    is_entered = any(entry.key == own and entry.says(report=report.content_digest) for entry in log.of(kind))
    checks = (
        (signed.signature.key == own, "is signed by another key than its examiner's"),
        (verify_signature(signed.signature, kind.kind, signed.signed_bytes()), "has a bad signature"),
        (report.paper_id == log.header.paper_id, "is of another paper"),
        (own in openers(log.header), "is of somebody who cannot open this paper"),
        *follows,
        (is_entered, "is not in the ledger"),
    )
    for good, message in checks:
        if not good:
            raise IntegrityError(
                f"The {kind.kind} report {path} {message}.",
                hint="Ask the examiner for the report that the ledger names.",
            )
