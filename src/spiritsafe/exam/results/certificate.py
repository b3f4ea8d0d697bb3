"""What a certificate says beside the numbers: who saw what, who held which key, what that is worth.

In: ledger entries and the result. Out: access history, separation class, plain-word statements, the signed
:class:`~spiritsafe.exam.records.certificate.Certificate`. Verification runs the same functions on the certificate's
evidence.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.record_files import parse_record, read_file
from spiritsafe.core.records import Verdict
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.accesses import AccessEntry, access_history
from spiritsafe.exam.entries.edits import amendment_entries, amendment_statements
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry, registration_states, sitting_end
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.records.review import Amendment
from spiritsafe.exam.results.correction import correction_of, known_before, sittings_before
from spiritsafe.exam.results.statements import separation_of, statements_of
from spiritsafe.ledger import Evidence, KeyPair, Ledger, LedgerEntry, verify_signature


@cache
def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("spiritsafe", "numpy", "scipy", "cryptography", "pyrage")}
    return {"python": platform.python_version(), "system": platform.system(), **packages}


def host_software(verdicts: Iterable[Verdict | None] = ()) -> dict[str, str]:
    """Versions that could change a grade or a number; and the sandboxes behind the verdicts, where there are any."""
    sandboxes = {verdict.sandbox for verdict in verdicts if verdict is not None and verdict.sandbox is not None}
    return {**_versions(), **({"sandbox": ", ".join(sorted(sandboxes))} if sandboxes else {})}


def _result_entry(log: PaperLog, registration: Registration, committed: ExamResult, *, is_amended: bool) -> PaperEntry:
    entry = sitting_end(log, registration)
    if entry is None or not entry.says(result=committed.content_digest):
        raise IntegrityError(
            "The ledger holds another result for this registration.", hint="A registration has one result: use that."
        )
    if not is_amended and log.of(ReissueEntry, sitting=registration.content_digest):
        raise ProcedureError(
            "Grades of this sitting were edited and its certificate re-issued.", hint="Use the re-issued certificate."
        )
    return entry


def issue_certificate(
    *,
    ledger: Ledger,
    header: PaperHeader,
    registration: Registration,
    result: ExamResult,
    paper_entry: LedgerEntry,
    registration_entry: LedgerEntry,
    examiner: KeyPair,
    host: KeyPair,
    amendment: Amendment | None = None,
    original: ExamResult | None = None,
) -> Certificate:
    """Gather the evidence under a fresh signed head, and sign the whole.

    Args:
        result: The sitting's; with an amendment, the amended one.
        host: Signs too, if another.
        original: The sitting's own result, of a re-issue.

    Raises:
        IntegrityError: The result is not in the ledger.
        ProcedureError: Its grades were edited since: only a re-issue counts them in.
    """
    head = ledger.head(examiner)
    log = PaperLog(ledger.entries()[: head.size], header)
    committed = original or result
    result_entry = _result_entry(log, registration, committed, is_amended=amendment is not None)
    later = amendment_entries(log, registration.content_digest) if amendment else []
    accesses = [entry.entry for entry in log.of(AccessEntry)]
    proven = [paper_entry, registration_entry, *accesses, result_entry.entry, *later]
    evidence: list[Evidence] = [ledger.evidence(index, head) for index in sorted({entry.index for entry in proven})]
    access = access_history(paper_entry, log)
    registrations = registration_states(log, maker_key=registration.maker.signing)
    correction = correction_of(
        registration,
        result.decision,
        registrations,
        known_before=known_before(log, registration),
        before=sittings_before(log, registration, registrations, result.reference),
    )
    design, amended = design_of(registration, header), tuple[str, ...]()
    if amendment:
        amended = amendment_statements(PaperLog(later, header), amendment.edits, committed, result, design)
    draft = Certificate(
        paper=header,
        registration=registration,
        result=result,
        head=head,
        evidence=tuple(evidence),
        access=access,
        registrations=registrations,
        separation=separation_of(registration.maker, header.examiner, result.host),
        statements=statements_of(
            header=header,
            registration=registration,
            result=result,
            access=access,
            registrations=registrations,
            correction=correction,
            amended=amended,
        ),
        signatures=(),
        correction=correction,
        amendment=amendment,
    )
    keys = [examiner] if host.public == examiner.public else [examiner, host]
    message = draft.signed_bytes()
    return draft.model_copy(update={"signatures": tuple(key.sign("certificate", message) for key in keys)})


HINT = "Do not rely on this certificate; ask its examiner for a good copy."


def load_certificate(path: Path) -> Certificate:
    """Read a certificate and check its signatures; use :func:`verify` for everything else.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is not canonical, or a signature is bad.
    """
    certificate = parse_record(read_file(path), Certificate, str(path))
    message = certificate.signed_bytes()
    wanted = {certificate.paper.examiner.signing, certificate.result.host.signing}
    signed = {s.key for s in certificate.signatures if verify_signature(s, "certificate", message)}
    if signed != wanted:
        raise IntegrityError(f"{path}: the signatures are not the examiner's and the host's.", hint=HINT)
    return certificate
