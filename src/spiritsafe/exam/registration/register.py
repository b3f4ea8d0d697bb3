"""Registrations: what will be sat is signed before anybody sits it, and each one ends in a result or a withdrawal.

In: a maker's key, a paper, a model's digest, sampling; a claim, a budget, a stop rule. Out: a signed ledger entry. A
paper with a protocol is sat by it: who wants otherwise says so here, and the certificate prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Message, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.core.text.names import LONGEST_NAME, is_plain, quoted_name
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import RegistrationEntry, WithdrawalEntry, check_open, registration_entry
from spiritsafe.exam.entries.retirement import check_in_force
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.records.paper import PaperHeader, PublicPaper
from spiritsafe.exam.records.registration import MOST_LEVEL, Budget, Claim, Registration
from spiritsafe.exam.registration.short_form import ShorterTerms, check_on_record, choose_for
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry
from spiritsafe.stats import INTERVALS, LARGEST_MARGIN, BettingRule, ChosenProblems, StopRule


def sitting_seed(bank_root: str, model_digest: str) -> int:
    """The seed of every answer: a function of paper and model, so that nobody can try another."""
    return derive_seed("sitting", bank_root, model_digest)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationTerms:
    """What a maker may promise beside model and sampling.

    Attributes:
        deviate: Deviate from the paper's protocol; without it a deviation is an error.
        shorter: Ask only problems that past sittings chose; None: the whole paper.
    """

    claim: Claim | None = None
    budget: Budget | None = None
    stop: StopRule | BettingRule | None = None
    num_probes: int = 0
    preamble: tuple[Message, ...] | None = None
    deviate: bool = False
    shorter: ShorterTerms | None = None


def deviations_of(
    header: PaperHeader, sampling: Sampling, num_tries: int, preamble: tuple[Message, ...] | None
) -> tuple[str, ...]:
    """In what these deviate from the paper's protocol; nothing without one."""
    protocol = header.protocol
    if protocol is None:
        return ()
    wanted, found = protocol.sampling.to_json(), sampling.to_json()
    names = [f"sampling.{name}" for name in wanted if wanted[name] != found[name]]
    if num_tries != protocol.num_tries:
        names.append("num_tries")
    if preamble is not None and preamble != protocol.preamble:
        names.append("preamble")
    return tuple(names)


def register(
    *,
    ledger: Ledger,
    paper: PublicPaper,
    maker: KeyPair,
    model_name: str,
    model_digest: str,
    hypothesis: str,
    sampling: Sampling | None = None,
    num_tries: int | None = None,
    terms: RegistrationTerms | None = None,
) -> Registration:
    """Sign what will be sat. The same call again gives the same registration and appends nothing.

    Args:
        ledger: The ledger that holds the paper.
        model_name: For people; at most 80 characters, all of them to be seen.
        model_digest: What the Generator must name (``Generator.describe().digest``).
        sampling: How tokens will be drawn; None: as the paper's protocol says.
        num_tries: Answers asked for each problem; None: as the protocol says, or one.
        terms: Claim, budget, stop rule, probes, deviations.

    Raises:
        ProcedureError: The paper is not in the ledger or retired, its protocol would be broken in silence, a claim's
            level is above 0.05 or its margin above 0.25, a stop rule has no claim to decide, the model's name is too
            long or hides something, or a shorter sitting cannot be held on these terms.
    """
    paper_entry(ledger, paper)
    terms, header = terms or RegistrationTerms(), paper.header
    sampling, num_tries = _as_protocol(header, sampling, num_tries)
    deviations = deviations_of(header, sampling, num_tries, terms.preamble)
    if deviations and not terms.deviate:
        raise ProcedureError(
            f"This is not how the paper is sat: {', '.join(deviations)} differ from its protocol.",
            hint="Register by the protocol, or deviate explicitly: the certificate will say in what.",
        )
    _check_claim(header, terms)
    if terms.shorter is not None:
        check_on_record(terms.shorter.items, PaperLog(ledger.entries(), header))
    registration = Registration(
        paper_id=header.paper_id,
        model_name=model_name,
        model_digest=model_digest,
        sampling=sampling,
        num_tries=num_tries,
        seed=sitting_seed(header.bank_root, model_digest),
        hypothesis=hypothesis,
        maker=maker.public,
        claim=terms.claim,
        budget=terms.budget,
        stop=terms.stop,
        num_probes=terms.num_probes,
        preamble=terms.preamble if "preamble" in deviations or header.protocol is None else None,
        deviations=deviations,
        chosen=None if terms.shorter is None else _chosen(terms, terms.shorter, header, model_digest),
        intervals=INTERVALS,
    )
    digest = registration.content_digest
    if PaperLog(ledger.entries(), header).of(RegistrationEntry, sitting=digest):
        return registration
    if not is_plain(model_name):
        raise ProcedureError(
            f"A model cannot be called {quoted_name(model_name)} on a certificate.",
            hint=f"Give a name of at most {LONGEST_NAME} characters, all of them to be seen, with single spaces.",
        )

    def only_once(log: PaperLog) -> None:
        check_in_force(log)
        if log.of(RegistrationEntry, sitting=digest):  # its maker's: another's entry may carry its digest too
            raise ProcedureError("This was registered a moment ago.", hint="Go on with the sitting.")

    RegistrationEntry.append(ledger, header, maker, only_once, digest=digest, registration=registration.to_json())
    return registration


def _chosen(terms: RegistrationTerms, shorter: ShorterTerms, header: PaperHeader, model_digest: str) -> ChosenProblems:
    promises = (("a claim", terms.claim), ("a stop rule", terms.stop))
    promised = [name for name, value in promises if value is not None]
    return choose_for(shorter, header, model_digest=model_digest, promised=promised)


def _check_claim(header: PaperHeader, terms: RegistrationTerms) -> None:
    if terms.claim is not None and terms.claim.level > MOST_LEVEL:
        raise ProcedureError(
            f"A level of {terms.claim.level:g} decides next to nothing.",
            hint=f"Register the claim at a level of {MOST_LEVEL:g} or less; 0.025 is usual.",
        )
    if terms.claim is not None and terms.claim.margin > LARGEST_MARGIN:
        raise ProcedureError(
            f"A margin of {100 * terms.claim.margin:g} points decides next to nothing.",
            hint=f"Register the claim with a margin of {100 * LARGEST_MARGIN:g} points or less.",
        )
    if terms.stop is None:
        return
    if terms.claim is None:
        raise ProcedureError(
            "A stop rule decides a claim, and there is none.", hint="Add a claim, or ask the whole paper."
        )
    if (terms.stop.num_problems, terms.stop.alpha) != (header.num_sealed, terms.claim.level):
        raise ProcedureError(
            f"The stop rule is made for {terms.stop.num_problems} problems at level {terms.stop.alpha:g}.",
            hint=f"This paper has {header.num_sealed} sealed problems, and the claim level {terms.claim.level:g}.",
        )


def _as_protocol(header: PaperHeader, sampling: Sampling | None, num_tries: int | None) -> tuple[Sampling, int]:
    protocol = header.protocol
    if protocol is not None:
        return sampling or protocol.sampling, protocol.num_tries if num_tries is None else num_tries
    if sampling is None:
        raise ProcedureError("No sampling was given, and the paper has no protocol.", hint="Say how tokens are drawn.")
    return sampling, 1 if num_tries is None else num_tries


def withdraw(
    *, ledger: Ledger, paper: PublicPaper, registration: Registration, maker: KeyPair, reason: str
) -> LedgerEntry:
    """Record that a registered sitting will not happen.

    Raises:
        ProcedureError: Not the maker's key, or the registration has ended already.
    """
    registration_entry(ledger, registration)
    if maker.public.signing != registration.maker.signing:
        raise ProcedureError("Only the maker can withdraw a registration.", hint="Use the key that registered it.")

    still_open, digest = partial(check_open, registration=registration), registration.content_digest
    own: dict[str, JSON] = {"paper_id": registration.paper_id, "registration": digest, "reason": reason}
    return WithdrawalEntry.append(ledger, paper.header, maker, still_open, **own)
