"""What every report beside the sittings must be: its examiner's, about this paper, and in this ledger.

In: a signed report, the paper's header, the ledger's entries, and what else must follow from the report itself. Out:
nothing, or an error that says what does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.records.contamination import SignedMemory, SignedOverlap
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.ledger import LedgerEntry, verify_signature


def check_examiner_report(
    signed: SignedOverlap | SignedMemory,
    path: Path,
    *,
    kind: Literal["overlap", "memory"],
    header: PaperHeader,
    entries: Sequence[LedgerEntry],
    follows: Sequence[tuple[bool, str]],
) -> None:
    """Check who signed a report, about what, that its words follow, and that the ledger names it, in this order.

    Args:
        signed: The report.
        path: How errors call it.
        kind: Of report, signature and ledger entry.
        header: The paper's.
        entries: The whole ledger's.
        follows: What else must be true, and what is said where it is not.

    Raises:
        IntegrityError: Something does not fit.
    """
    report = signed.report
    keys = {key.signing for key in (header.examiner, *header.recipients)}
    is_entered = any(
        entry.kind == kind
        and entry.signature.key == report.examiner.signing
        and entry.body.get("paper_id") == report.paper_id
        and entry.body.get("report") == report.content_digest
        for entry in entries
    )
    checks = (
        (signed.signature.key == report.examiner.signing, "is signed by another key than its examiner's"),
        (verify_signature(signed.signature, kind, signed.signed_bytes()), "has a bad signature"),
        (report.paper_id == header.paper_id, "is of another paper"),
        (report.examiner.signing in keys, "is of somebody who cannot open this paper"),
        *follows,
        (is_entered, "is not in the ledger"),
    )
    for good, message in checks:
        if not good:
            raise IntegrityError(
                f"The {kind} report {path} {message}.", hint="Ask the examiner for the report that the ledger names."
            )
