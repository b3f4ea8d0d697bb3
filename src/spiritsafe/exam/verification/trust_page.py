"""The trust page: what may be relied on, what not, and what a cheater would still have to do.

In: a certificate, the steps of its verification, the ledger and the re-runs that were given with it. Out: a
:class:`~spiritsafe.exam.records.trust.TrustPage`, one promise after the other, and its lines for a terminal. A failed
step takes the promises with it that stand on it; nothing behind it counts as checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.records.trust import Promise, TrustPage
from spiritsafe.exam.verification.findings import Finding, View
from spiritsafe.exam.verification.promises import PROMISE_RULES, PromiseRule
from spiritsafe.exam.verification.verify import StepResult
from spiritsafe.ledger import LedgerEntry

_FIRST = ("certificate file", "certificate signatures", "paper file")
"""Where one of these fails, nothing that the certificate says is worth anything."""

_GIVE = {
    "sealed file": "--sealed sealed.age",
    "ledger file": "--ledger FILE",
    "witnessed heads": "--ledger FILE --witness FILE --witness-key VKEY (of somebody outside this exam whom you know)",
    "trusted keys": "--trust KEY_ID",
    "revealed answers": "--revealed FILE (the examiner opens answers with `exam reveal`)",
    "paper in force": "--ledger FILE",
    "disputes": "--ledger FILE",
    "opened paper": "--opened DIRECTORY (the examiner retires a paper with `exam open`)",
    "published answers": "--opened DIRECTORY with the answers (`exam open --journal`)",
    "training overlap": "--overlap FILE (the examiner makes one with `exam overlap`)",
    "re-runs": "--rerun FILE (`exam rerun` makes one)",
    "difficulties": "--items FILE (what `exam items` wrote, by which the problems were chosen)",
}
_GOOD_COPY = "a certificate that passes every step"


def trust_page(
    certificate: Certificate,
    steps: Sequence[StepResult],
    *,
    entries: Sequence[LedgerEntry] | None = None,
    reruns: Sequence[CounterSignedRerun] = (),
    overlaps: Sequence[SignedOverlap] = (),
) -> TrustPage:
    """Judge every promise.

    Args:
        steps: What :func:`spiritsafe.exam.verify` found, all of it.
        entries: The ledger's, when it was given to the verification.
        reruns: The re-runs that were given to the verification.
        overlaps: The reports on training files that were given to it.
    """
    by_name = {step.name: step for step in steps}
    view = View(certificate=certificate, steps=by_name, entries=entries, reruns=reruns, overlaps=overlaps)
    predicted = certificate.result.predicted
    return TrustPage(
        certificate=certificate.content_digest,
        model_name=certificate.registration.model_name,
        task=certificate.paper.task,
        sealed=predicted.score if predicted else certificate.result.sealed.accuracy,
        verified=all(step.ok for step in steps),
        promises=tuple(_promise(rule, view) for rule in PROMISE_RULES),
        predicted=predicted is not None,
    )


def _promise(rule: PromiseRule, view: View) -> Promise:
    finding = _found(rule, view)
    remote = view.certificate.result.generator.kind != "local"
    return Promise(
        name=rule.name,
        text=rule.text,
        state=finding.state,
        finding=finding.text,
        steps=tuple(sorted(view.steps[name].number for name in rule.steps)),
        give=finding.give,
        cheat=(rule.remote_cheat if remote else "") or rule.cheat,
    )


def _found(rule: PromiseRule, view: View) -> Finding:
    own = [view.steps[name] for name in rule.steps]
    for step in own:
        if step.checked and not step.ok:
            return Finding("does not hold", f"step {step.number} ({step.name}) failed: {step.detail}")
    for step in (*(view.steps[name] for name in _FIRST), *own):
        if not step.ok:
            failed = f"step {step.number} failed: {step.detail}" if step.checked else step.detail
            return Finding("not checked here", failed, _GOOD_COPY)
    judged = rule.judge(view)
    missing = next((step for step in own if not step.checked), None)
    if missing is None or judged.state == "does not hold":  # what a certificate admits needs no further file
        return judged
    return Finding("not checked here", missing.detail, _GIVE[missing.name])


def trust_lines(page: TrustPage, *, long: bool = False) -> list[str]:
    """The page for a terminal: one line a promise, or with evidence and what a cheater would still have to do."""
    width = max(len(promise.state) for promise in page.promises)
    lines = []
    lost = [promise for promise in page.promises if promise.give == _GOOD_COPY]
    for promise in page.promises:
        if promise in lost and not long:
            continue
        line = f"{promise.state:{width}s}  {promise.text}"
        if not long:
            lines.append(line + (f" Give {promise.give}." if promise.give else ""))
            continue
        numbers = ", ".join(str(number) for number in promise.steps)
        lines += [line, f"    found: {promise.finding} (step {numbers})"]
        if promise.give:
            lines.append(f"    to check it, give {promise.give}")
        lines.append(f"    left to a cheater: {promise.cheat}")
    if lost and not long:
        all_of = "nothing" if len(lost) == len(page.promises) else "nothing else"
        lines.append(f"{all_of}: that takes {_GOOD_COPY}.")
    return lines
