"""Checking a re-run: is the report signed, about this certificate, and do its numbers follow from its items?

In: a :class:`~spiritsafe.core.certificates.CounterSignedRerun`, the certificate that it is about. Out: the report, or
an error that says what does not fit. The re-run itself computes its numbers with the same function.
Exercised by ``pytest tests/unit/exam/test_rerun_checking.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.certificates import Certificate, CounterSignedRerun, RerunItem
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.stats import PairedDifference, paired_difference, score_interval
from spiritsafe.ledger import verify_signature

__all__ = ["check_rerun", "compare_tries", "rerun_statement"]


def compare_tries(items: Sequence[RerunItem], num_tries: int) -> tuple[list[int], PairedDifference]:
    """Agreeing tries for each problem, and rerun minus original."""
    agreeing: dict[int, int] = {}
    again: dict[int, int] = {}
    before: dict[int, int] = {}
    for item in items:
        right = (item.status == "correct", item.original == "correct")
        agreeing[item.index] = agreeing.get(item.index, 0) + (right[0] == right[1])
        again[item.index] = again.get(item.index, 0) + right[0]
        before[item.index] = before.get(item.index, 0) + right[1]
    places = sorted(agreeing)
    difference = paired_difference([again[i] for i in places], [before[i] for i in places], trials=num_tries)
    return [agreeing[i] for i in places], difference


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
    """Check a report; ``what`` is how errors call it.

    Raises:
        IntegrityError: It is unsigned, about another certificate, or wrong in its numbers.
    """
    report, num_tries = signed.report, certificate.registration.num_tries
    originals = {(o.index, o.sample_index): o.status for o in certificate.result.outcomes}
    wanted = {(o.index, o.sample_index) for o in certificate.result.outcomes if o.half in report.halves}
    places = [(item.index, item.sample_index) for item in report.items]
    if not places or len(set(places)) != len(places) or set(places) != wanted:
        raise _bad(what, "does not hold each try of its halves once")
    agreement, difference = compare_tries(report.items, num_tries)
    checks = (
        (signed.signature.key == report.runner.signing, "is signed by another key than its runner's"),
        (verify_signature(signed.signature, "rerun", signed.signed_bytes()), "has a bad signature"),
        (report.certificate == certificate.content_digest, "is about another certificate"),
        (
            all(originals.get((item.index, item.sample_index)) == item.original for item in report.items),
            "misquotes the certificate's outcomes",
        ),
        (report.difference == difference, "has a difference that does not follow from its items"),
        (
            report.agreement == score_interval(agreement, trials=num_tries),
            "has an agreement that does not follow from its items",
        ),
        (
            report.agrees == (difference.difference.low <= 0.0 <= difference.difference.high),
            "calls itself agreeing or not against its own interval",
        ),
        (
            report.same_digest == (report.generator.digest == certificate.registration.model_digest),
            "says otherwise of its Generator's digest than the digest does",
        ),
        (
            report.statement
            == rerun_statement(report.difference, report.agrees, report.same_digest, report.generator.kind),
            "has a statement that does not follow from its numbers",
        ),
    )
    for good, message in checks:
        if not good:
            raise _bad(what, message)
    return signed


def _bad(what: str, message: str) -> IntegrityError:
    return IntegrityError(f"The rerun report {what} {message}.", hint="Ask the re-runner for a good copy.")
