"""Counter-signing: what a re-run's report is worth to a certificate.

In: a certificate, a signed report. Out: the report, checked; and whether it is a third party's counter-signature:
whoever made the model, sealed the paper or hosted the sitting cannot counter-sign their own certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.rerun import CounterSignedRerun, RerunItem, RerunReport
from spiritsafe.exam.results.statements import separation_found
from spiritsafe.exam.verification.case import same
from spiritsafe.ledger import PublicKey, same_holder, verify_signature
from spiritsafe.stats import Estimate, PairedDifference, paired_difference, score_interval


def compare_items(items: Sequence[RerunItem], registration: Registration) -> tuple[Estimate, PairedDifference]:
    """Share of agreeing tries, and rerun minus original, by the statistics that were registered."""
    trials, intervals = registration.num_tries, registration.intervals
    agreeing: dict[int, int] = {}
    again: dict[int, int] = {}
    before: dict[int, int] = {}
    for item in items:
        right = (item.status == "correct", item.original == "correct")
        agreeing[item.index] = agreeing.get(item.index, 0) + (right[0] == right[1])
        again[item.index] = again.get(item.index, 0) + right[0]
        before[item.index] = before.get(item.index, 0) + right[1]
    places = sorted(agreeing)
    difference = paired_difference(
        [again[i] for i in places], [before[i] for i in places], trials=trials, intervals=intervals
    )
    return score_interval([agreeing[i] for i in places], trials=trials, intervals=intervals), difference


def rerun_statement(difference: PairedDifference, agrees: bool, same_digest: bool, kind: str) -> str:
    """The finding in plain words."""
    estimate = difference.difference
    span = f"{100 * estimate.value:+.1f} points ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
    finding = "Agrees within error" if agrees else "Does not agree"
    model = "a Generator that does not name the registered weights"
    if same_digest:
        model = "the registered weights" if kind == "local" else "the registered address, whose weights nobody sees"
    return f"{finding}: rerun minus original is {span}, asked of {model}."


def check_rerun(signed: CounterSignedRerun, what: str, *, certificate: Certificate) -> CounterSignedRerun:
    """Check that a report is signed, about this certificate, complete, and right in its numbers.

    Raises:
        IntegrityError: It is not.
    """
    report = signed.report
    outcomes = certificate.result.outcomes
    wanted = [(o.index, o.sample_index, o.status) for o in outcomes if o.half in report.halves]
    found = [(item.index, item.sample_index, item.original) for item in report.items]
    checks = [
        (signed.signature.key == report.runner.signing, "is signed by another key than its runner's"),
        (verify_signature(signed.signature, "rerun", signed.signed_bytes()), "has a bad signature"),
        (report.certificate == certificate.content_digest, "is about another certificate"),
        (report.paper_id == certificate.paper.paper_id, "is about another paper"),
        (bool(wanted), "asked nothing"),
        ([place[:2] for place in wanted] == [place[:2] for place in found], "leaves out tries that it must ask again"),
        (wanted == found, "misquotes the certificate's outcomes"),
        (
            report.same_digest == (report.generator.digest == certificate.registration.model_digest),
            "says otherwise of the weights than its Generator",
        ),
    ]
    for good, message in checks:
        if not good:
            raise _wrong(what, message)
    _check_numbers(report, what, certificate.registration)
    return signed


def _wrong(what: str, message: str) -> IntegrityError:
    return IntegrityError(f"The rerun report {what} {message}.", hint="Ask the re-runner for a good copy.")


def _check_numbers(report: RerunReport, what: str, registration: Registration) -> None:
    agreement, difference = compare_items(report.items, registration)
    if not same(report.difference.to_json(), difference.to_json()):
        raise _wrong(what, "has a difference that does not follow from its items")
    if not same(report.agreement.to_json(), agreement.to_json()):
        raise _wrong(what, "has an agreement that does not follow from its items")
    told = report.difference
    agrees = told.difference.low <= 0.0 <= told.difference.high
    if (report.agrees, report.statement) != (
        agrees,
        rerun_statement(told, agrees, report.same_digest, report.generator.kind),
    ):
        raise _wrong(what, "has a finding that does not follow from its difference")


def _parts(certificate: Certificate) -> dict[str, PublicKey]:
    return {
        "maker": certificate.registration.maker,
        "examiner": certificate.paper.examiner,
        "host": certificate.result.host,
    }


def _part_of(certificate: Certificate, report: RerunReport) -> str:
    """Which part of the exam the re-runner played; empty: none."""
    return next((name for name, key in _parts(certificate).items() if same_holder(key, report.runner)), "")


def rerun_finding(certificate: Certificate, report: RerunReport) -> str:
    """What a checked report means for the certificate, for people."""
    halves = " and ".join(report.halves)
    if part := _part_of(certificate, report):
        return f"asked again ({halves}) by its own {part}, {report.runner.label}: no counter-signature"
    verb = "counter-signed" if report.agrees else "NOT agreed with"
    return f"{verb} by {report.runner.label} ({halves}). {report.statement}"


def counter_signers(certificate: Certificate, reports: Iterable[RerunReport]) -> list[str]:
    """Third parties whose checked reports agree."""
    signers = (r.runner.label for r in reports if r.agrees and not _part_of(certificate, r))
    return list(dict.fromkeys(signers))


def separation_words(certificate: Certificate, reports: Iterable[RerunReport]) -> str:
    """The separation class as it is printed, raised by counter-signatures; the certificate itself stays as it is."""
    signers = counter_signers(certificate, reports)
    return separation_found(certificate) + (f", counter-signed by {', '.join(signers)}" if signers else "")


@final
class RerunEntry(PaperEntry):
    """Somebody asked again."""

    kind = "rerun"
    signer = "anybody"
    names_paper = False

    def is_of(self, report: RerunReport) -> bool:
        """Whether its runner filed this report with it."""
        return self.key == report.runner.signing and self.says(report=report.content_digest)


def rerun_entries(log: PaperLog, certificate: Certificate) -> list[RerunEntry]:
    """What the ledger says of re-runs of a certificate."""
    return [entry for entry in log.of(RerunEntry) if entry.says(certificate=certificate.content_digest)]
