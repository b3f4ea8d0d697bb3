"""Re-issuing: a certificate whose grades were edited gets a successor that counts the edits in.

In: a verified certificate, the ledger with the edits, the examiner's key. Out: a new
:class:`~spiritsafe.exam.records.certificate.Certificate`: the sitting's result with the edited grades, every number
computed again, each edit listed with who, when and why, and the digest of the certificate that it supersedes. The
ledger commits to the amended result first; killed in between, the same command goes on. The old certificate verifies as
before; with the ledger at hand the verifier hears that a newer one supersedes it.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.files.record_files import write_record
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.edits import applied_edits, edit_statements
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry, registration_entry
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.records.review import Amendment
from spiritsafe.exam.results.amendment import amended_result, numbers_of, original_result
from spiritsafe.exam.results.certificate import issue_certificate
from spiritsafe.exam.verification.materials import Materials
from spiritsafe.exam.verification.verify import verification_of
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry


def reissue(
    certificate: Path, *, paper: Path, ledger: Ledger, examiner: KeyPair, output: Path, host: KeyPair | None = None
) -> Certificate:
    """Make the certificate that counts in all grades edited so far.

    Args:
        certificate: The one to supersede; verified first.
        paper: ``paper.json`` or its directory.
        ledger: Holds the edits; gets the entry.
        host: Who ran the sitting, if not the examiner; signs too.

    Raises:
        IntegrityError: The certificate does not verify, or an edit on record is not in order.
        ProcedureError: No grade was edited since, or a key is another's.
        StorageError: A file cannot be written; repeat when it can.
    """
    verified = verification_of(Materials(certificate=certificate, paper=paper, ledger=ledger.path))
    old, public = verified.require(), verified.require_paper()
    host = host or examiner
    if (examiner.public, host.public) != (old.paper.examiner, old.result.host):
        raise ProcedureError(
            f"This certificate was signed by {old.paper.examiner.label} and {old.result.host.label}.",
            hint="Use the same keys: the examiner's, and the host's where they differ.",
        )
    header, digest = old.paper, old.result.registration
    edits = applied_edits(PaperLog(ledger.entries(), header), digest)
    if not edits or (old.amendment is not None and old.amendment.edits == edits):
        raise ProcedureError(
            "No grade was edited since this certificate.",
            hint="File a dispute (`spiritsafe exam dispute`); the examiner answers it (`spiritsafe exam edit`).",
        )
    original = original_result(old)
    result = amended_result(original, [applied.edit for applied in edits], header, old.registration)
    amendment = Amendment(supersedes=old.content_digest, edits=edits, original=numbers_of(original))
    _commit(ledger, design_of(old.registration, header), result, amendment, examiner)
    new = issue_certificate(
        ledger=ledger,
        header=header,
        registration=old.registration,
        result=result,
        paper_entry=paper_entry(ledger, public),
        registration_entry=registration_entry(ledger, old.registration),
        examiner=examiner,
        host=host,
        amendment=amendment,
        original=original,
    )
    write_record(output, new)
    return new


def edits_told(certificate: Certificate) -> list[str]:
    """What a re-issued certificate says of its edits."""
    amendment, design = certificate.amendment, design_of(certificate.registration, certificate.paper)
    original = original_result(certificate)
    return edit_statements(amendment.edits, original, certificate.result, design) if amendment else []


def _commit(ledger: Ledger, design: Design, result: ExamResult, amendment: Amendment, examiner: KeyPair) -> LedgerEntry:
    body: dict[str, JSON] = {
        "registration": result.registration,
        "supersedes": amendment.supersedes,
        "result": result.content_digest,
        "num_edits": len(amendment.edits),
        **design.ledger_scores(result),
    }
    if result.decision is not None:
        body["p_value"] = result.decision.p_value

    def no_other_edit(log: PaperLog) -> None:
        if applied_edits(log, result.registration) != amendment.edits:
            raise ProcedureError("A grade was edited a moment ago.", hint="Run the same command again.")

    newest = PaperLog(ledger.entries(), design.header).of(ReissueEntry, sitting=result.registration)[-1:]
    if newest and newest[0].says(**body):  # killed before the certificate was written
        return newest[0].entry
    return ReissueEntry.append(ledger, design.header, examiner, no_other_edit, **body)
