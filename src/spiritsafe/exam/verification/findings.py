"""Judges: what is to be said of each promise of a certificate, once its steps were run.

In: a :class:`View`. Out: a :class:`Finding`. A judge is only believed where no step failed that its promise stands on
(:mod:`spiritsafe.exam.verification.trust_page`); what is promised stands in
:mod:`spiritsafe.exam.verification.promises`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final, get_args

from spiritsafe.core.text.lengths import is_overlong
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.accesses import AccessEntry, count_openings, opening_entries
from spiritsafe.exam.entries.asked_once import askings
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import registration_states
from spiritsafe.exam.entries.retirement import RevealEntry
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import Certificate, RegistrationState
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.registration import MOST_LEVEL, RegistrationEnd
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.records.trust import TrustState
from spiritsafe.exam.results.amendment import original_result
from spiritsafe.exam.results.correction import before_words, sittings_before
from spiritsafe.exam.results.reach import Reach
from spiritsafe.exam.results.scores import LARGEST_UNSEEN_LEAK, studied_of
from spiritsafe.exam.results.statements import separation_found
from spiritsafe.exam.verification.verify import StepResult
from spiritsafe.ledger import LedgerEntry, PublicKey, same_holder, wrong_clocks

_SIGN = 0.05
_MOST_OVERLONG = 0.05  # share of answers: an honest model that repeats one long word is overlong now and then


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """A judge's word; ``give`` says what is missing where it was not checked."""

    state: TrustState
    text: str
    give: str = ""


def _parts(certificate: Certificate) -> tuple[PublicKey, ...]:
    return certificate.registration.maker, certificate.paper.examiner, certificate.result.host


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is judged.

    Attributes:
        steps: What the verification found, by name.
        entries: The whole ledger as it is now; None when it was not given.
        reruns: Checked reports of others who asked again.
        overlaps: Checked reports of what stands in training files.
    """

    certificate: Certificate
    steps: Mapping[str, StepResult]
    entries: Sequence[LedgerEntry] | None = None
    reruns: Sequence[CounterSignedRerun] = ()
    overlaps: Sequence[SignedOverlap] = ()

    @property
    def design(self) -> Design:
        """How the sitting was held."""
        return design_of(self.certificate.registration, self.certificate.paper)

    @property
    def log(self) -> PaperLog:
        """The paper's log, as far as the certificate shows it."""
        return PaperLog([evidence.entry for evidence in self.certificate.evidence], self.certificate.paper)

    @property
    def outside_reruns(self) -> list[CounterSignedRerun]:
        """Those by nobody who took part."""
        parts = _parts(self.certificate)
        return [signed for signed in self.reruns if not any(same_holder(signed.report.runner, part) for part in parts)]


def _first_opening(view: View) -> LedgerEntry | None:
    """The entry with which this sitting began."""
    openings = opening_entries(view.log, view.certificate.registration.content_digest)
    return openings[0].entry if openings else None


def _times(view: View) -> dict[str, str]:
    """First time of each kind of entry in the evidence, and of the first opening for this sitting."""
    entries, opened = view.log.entries, _first_opening(view)
    wrong = {entry.index for entry in wrong_clocks(entries)}
    times: dict[str, str] = {}
    for name, entry in [*((entry.kind, entry) for entry in entries), ("opened", opened)]:
        if entry is not None:
            doubt = f" (the clock of ledger entry {entry.index} is wrong)" if entry.index in wrong else ""
            times.setdefault(name, entry.time + doubt)
    return {"opened": "", **times}


def judge_committed(view: View) -> Finding:
    """When the bank was committed to, and when it was first opened for this sitting."""
    times, header = _times(view), view.certificate.paper
    return Finding(
        "holds",
        f"{header.num_problems} problems were committed to at {times['paper']}; the first was asked after "
        f"{times['opened']}",
    )


def judge_cut(view: View) -> Finding:
    """How many problems the lot made public."""
    header = view.certificate.paper
    within = f", in each of {len(header.strata)} strata" if header.strata else ""
    return Finding(
        "holds", f"{header.num_public} of {header.num_problems} are public, as the bank's root picks{within}"
    )


def _opened(view: View, *, before: int | None = None) -> set[int]:
    """Places of sealed problems that the examiner opened to everybody, as far as the ledger was given.

    Args:
        view: What is judged.
        before: Only by entries before the one of this index.
    """
    header = view.certificate.paper
    kinds = halves(header)
    reveals = PaperLog((view.entries or ())[:before], header).of(RevealEntry)
    own = [reveal for reveal in reveals if reveal.key == header.examiner.signing]
    found = {place for reveal in own for place in reveal.places("places") if 0 <= place < len(kinds)}
    return {place for place in found if kinds[place] == "sealed"}


def judge_sealed(view: View) -> Finding:
    """Who holds keys to the sealed half, and how often it was opened on record."""
    header = view.certificate.paper
    named = ", ".join(key.label for key in (header.examiner, *header.recipients))
    openings = count_openings(view.log.of(AccessEntry))
    opened = len(_opened(view))
    parts = [f"each alone can open it: {named}", f"{openings} openings on record"]
    if header.reviewers:
        parts.append(f"read before by the reviewers {', '.join(key.label for key in header.reviewers)}")
    if opened:
        parts.append(f"{opened} sealed problems opened to everybody, in disputes")
    return Finding("holds", "; ".join(parts))


def judge_fresh(view: View) -> Finding:
    """Whether an endpoint had been sent sealed problems before."""
    certificate, opening = view.certificate, _first_opening(view)
    begun = opening.index if opening else 0  # the order is the ledger's: times are clocks
    seen = zip(view.log.of(AccessEntry), certificate.access[1:], strict=True)  # the first record is of the sealing
    before = [r for entry, r in seen if r.exposed and r.num_sealed and entry.index < begun]
    if before:
        who = ", ".join(sorted({record.who for record in before}))
        return Finding("does not hold", f"before this sitting sealed problems went to {who} (from {before[0].time} on)")
    if opened := len(_opened(view, before=begun)):
        return Finding("does not hold", f"before this sitting {opened} sealed problems were opened to everybody")
    return Finding("holds", "no operator of an endpoint was sent a sealed problem before this sitting")


def judge_fixed(view: View) -> Finding:
    """What was registered, and that it was registered first."""
    registration, times = view.certificate.registration, _times(view)
    sampling = registration.sampling
    deviates = (
        f"; deviates from the protocol in {', '.join(registration.deviations)}" if registration.deviations else ""
    )
    chosen = view.design.chosen_words
    return Finding(
        "holds",
        f"{registration.model_digest[:19]}…, temperature {sampling.temperature:g}, {sampling.max_tokens} tokens, "
        f"{registration.num_tries} tries, seed {registration.seed}: registered {times['registration']}, first asked "
        f"after {times['opened']}{deviates}{chosen}",
    )


def judge_limits(view: View) -> Finding:
    """Whether answers are as long as the registered number of tokens gives."""
    result, sampling = view.certificate.result, view.certificate.registration.sampling
    number = sum(is_overlong(outcome.num_tokens, sampling) for outcome in result.outcomes)
    if not number:
        return Finding("holds", f"no answer is longer than {sampling.max_tokens} tokens usually give")
    share = number / len(result.outcomes)
    return Finding(
        "does not hold" if share > _MOST_OVERLONG else "cannot be told",
        f"{number} of {len(result.outcomes)} answers are longer than {sampling.max_tokens} tokens usually give",
    )


def judge_one_model(view: View) -> Finding:
    """What probes, or a re-run of the same weights, say."""
    identity, result = view.certificate.result.identity, view.certificate.result
    if identity is not None:
        state: TrustState = "cannot be told" if identity.same is None else "holds" if identity.same else "does not hold"
        return Finding(state, identity.statement)
    again = [s.report for s in view.outside_reruns if s.report.same_digest and s.report.agrees]
    if again and result.generator.kind == again[0].generator.kind == "local":  # an endpoint's digest is no weights'
        return Finding("holds", f"{again[0].runner.label} asked the same weights again: {again[0].statement}")
    if result.generator.kind == "local":
        return Finding(
            "not checked here",
            "that the registered weights answered is the host's word",
            "a re-run of the same weights by somebody else: --rerun FILE",
        )
    return Finding("cannot be told", "no probes were registered, and nobody outside sees an endpoint's weights")


def judge_stayed(view: View) -> Finding:
    """Class A or B, and to whom the problems are exposed."""
    exposed = sorted({record.who for record in view.certificate.access if record.exposed})
    if view.certificate.result.generator.kind != "local":
        return Finding("does not hold", f"class B: the problems are exposed to {', '.join(exposed)}; use them no more")
    if exposed:
        return Finding(
            "does not hold", f"class A for this model, but the problems are exposed to {', '.join(exposed)} as well"
        )
    return Finding("holds", "class A: the weights ran on the host, which reports that no problem left it")


def judge_asked_once(view: View) -> Finding:
    """What the openings say of questions that were asked again."""
    certificate, words = view.certificate, view.steps["asked once"].detail
    openings = opening_entries(view.log, certificate.registration.content_digest)
    found = askings(openings, original_result(certificate), certificate.registration.num_tries)
    if found.again:
        return Finding("does not hold", words)
    if found.num_empty or (found.num_openings > 1 and not found.is_committed):
        return Finding("cannot be told", words)
    return Finding("holds", words)


def judge_counted(view: View) -> Finding:
    """All tries by how they ended."""
    result = view.certificate.result
    counts: dict[str, int] = {}
    for outcome in result.outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    words = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return Finding("holds" if view.design.is_whole else "does not hold", view.design.counted(result, words))


def judge_answered(view: View) -> Finding:
    """How many tries brought no answer at all."""
    reach = Reach.of(outcome.status for outcome in view.certificate.result.outcomes)
    if not reach.is_enough:
        return Finding("does not hold", f"{reach}: they count as wrong, so this is no score of the model")
    return Finding("holds", f"{reach}; they count as wrong" if reach.failed else str(reach))


def judge_ended(view: View) -> Finding:
    """Why the sitting ended."""
    return Finding("holds", view.steps["ending"].detail)


def _states(view: View) -> tuple[RegistrationState, ...]:
    """This maker's registrations: as the ledger has them now, or as the certificate does."""
    certificate = view.certificate
    if view.entries is None:
        return certificate.registrations
    log = PaperLog(view.entries, certificate.paper)
    return registration_states(log, maker_key=certificate.registration.maker.signing)


def judge_complete(view: View) -> Finding:
    """How each registration of this maker ended."""
    states = _states(view)
    count = {kind: sum(state.state == kind for state in states) for kind in get_args(RegistrationEnd)}
    words = f"{len(states)} registrations: {count['result']} with a result, {count['withdrawn']} withdrawn"
    if count["open"]:
        owed = ", ".join(quoted_name(state.model_name) for state in states if state.state == "open")
        words += f", {count['lapsed']} lapsed without a result" if count["lapsed"] else ""
        return Finding("does not hold", f"{words}, {count['open']} still open and owed a result: {owed}")
    if count["lapsed"]:
        never = ", ".join(quoted_name(state.model_name) for state in states if state.state == "lapsed")
        return Finding("does not hold", f"{words}, {count['lapsed']} lapsed without a result: {never}")
    return Finding("holds", f"{words}, none open")


def judge_history(view: View) -> Finding:
    """Whether witnesses saw the same ledger, this sitting's result included."""
    witnessed = view.steps["witnessed heads"]
    seen = witnessed.facts.num_witnessed
    needed = 1 + max(evidence.entry.index for evidence in view.certificate.evidence)
    if seen < needed:
        return Finding(
            "not checked here",
            f"witnesses saw the ledger's first {seen} entries, and this certificate needs {needed}",
            "a witness who saw the ledger since then: --witness FILE",
        )
    return Finding("holds", f"{view.steps['ledger file'].detail}; {witnessed.detail}")


def judge_grades(view: View) -> Finding:
    """What opened answers show."""
    return Finding(
        "holds", f"{view.steps['revealed answers'].detail} ({len(view.certificate.result.outcomes)} tries in all)"
    )


def judge_decision(view: View) -> Finding:
    """The corrected decision."""
    correction = view.certificate.correction
    if correction is None:
        return Finding("holds", "no claim was registered, so nothing is decided")
    reference = view.certificate.result.reference
    reach = Reach((reference.num_failed if reference else 0) or 0, (reference.num_outcomes if reference else 0) or 0)
    if not reach.is_enough:
        return Finding("does not hold", f"the reference was not reached: {reach}")
    certificate = view.certificate
    before = sittings_before(
        view.log, certificate.registration, certificate.registrations, certificate.result.reference
    )
    told = [correction.statement]
    if before and not (correction.num_before or correction.known_before):
        told.append(before_words(before))
    if correction.level > MOST_LEVEL:
        told.append(f"That level is a weak one: claims are registered at {MOST_LEVEL:g} or less.")
    doubt: TrustState = "cannot be told" if before or correction.level > MOST_LEVEL else "holds"
    return Finding("does not hold" if correction.known_before else doubt, " ".join(told))


def judge_regraded(view: View) -> Finding:
    """What the task's own verifier says of the published answers."""
    step = view.steps["published answers"]
    return Finding("holds" if step.facts.graded_again else "cannot be told", step.detail)


def judge_disputes(view: View) -> Finding:
    """What is on record of grades that somebody called wrong."""
    step = view.steps["disputes"]
    return Finding("does not hold" if step.facts.unsettled else "holds", step.detail)


def judge_studying(view: View) -> Finding:
    """The public-sealed test, with what it could have found."""
    result = view.certificate.result
    if result.memory is not None and result.memory.p_value < _SIGN:
        return Finding("does not hold", result.memory_statement)
    if result.gap.p_value < _SIGN:
        return Finding("does not hold", result.gap_statement)
    leak = result.gap.smallest_leak
    enough = leak is not None and leak <= LARGEST_UNSEEN_LEAK
    return Finding("holds" if enough else "cannot be told", f"{result.gap_statement} {_studied(view)}".strip())


def _studied(view: View) -> str:
    """The share studied, whether or not the certificate says it: older versions did not, and a host may not."""
    result = view.certificate.result
    words = studied_of(result.outcomes, view.certificate.registration, view.certificate.paper)
    return words if result.studied_statement or not words else f"Computed here: {words}"


def judge_training(view: View) -> Finding:
    """What the examiner found in the training files that were shown."""
    verdicts = {signed.report.verdict for signed in view.overlaps}
    state: TrustState = "holds"
    if "sealed problems found" in verdicts:
        state = "does not hold"
    elif "undecided" in verdicts:
        state = "cannot be told"
    return Finding(state, view.steps["training overlap"].detail)


def judge_keys(view: View) -> Finding:
    """Which parts different keys played."""
    maker, examiner, host = _parts(view.certificate)
    who = f"maker {maker.label}, examiner {examiner.label}, host {host.label}"
    separation = separation_found(view.certificate)
    return Finding("holds" if separation == "third party" else "does not hold", f"{separation}: {who}")


def judge_examiner(view: View) -> Finding:
    """Whether the examiner's key is a trusted one."""
    return Finding("holds", view.steps["trusted keys"].detail)


def judge_rerun(view: View) -> Finding:
    """What others found who asked again."""
    outside = view.outside_reruns
    if not outside:
        return Finding(
            "not checked here",
            "only a party to this exam asked again: " + ", ".join(s.report.runner.label for s in view.reruns),
            "a re-run by somebody else: --rerun FILE",
        )
    disagrees = [signed for signed in outside if not signed.report.agrees]
    found = " ".join(
        f"{signed.report.runner.label}, {' and '.join(signed.report.halves)} half: {signed.report.statement}"
        for signed in disagrees or outside
    )
    return Finding("does not hold" if disagrees else "holds", found)
