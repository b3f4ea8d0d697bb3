"""Registrations: what will be sat is signed before anybody sits it, and each one ends in a result or a withdrawal.

In: a maker's key, a paper, a model's digest, sampling. Out: a signed ledger entry.
Exercised by ``pytest tests/unit/exam/test_registration.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.canonical import JSON
from spiritsafe.core.certificates import LedgerEntry, PaperHeader, PublicPaper, Registration, RegistrationState
from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.paper import paper_entry
from spiritsafe.ledger import KeyPair, Ledger

__all__ = [
    "end_of",
    "find_registration",
    "register",
    "registration_entry",
    "registration_states",
    "sitting_seed",
    "withdraw",
]


def sitting_seed(bank_root: str, model_digest: str) -> int:
    """The seed of every answer: a function of paper and model, so that nobody can try another."""
    return derive_seed("sitting", bank_root, model_digest)


def register(
    *,
    ledger: Ledger,
    paper: PublicPaper,
    maker: KeyPair,
    model_name: str,
    model_digest: str,
    sampling: Sampling,
    hypothesis: str,
    num_tries: int = 1,
) -> Registration:
    """Sign what will be sat. The same call again gives the same registration and appends nothing.

    Args:
        ledger: The ledger that holds the paper.
        paper: What will be sat.
        maker: Who made the model and answers for it.
        model_name: For people.
        model_digest: What the Generator must name (``Generator.describe().digest``).
        sampling: How tokens will be drawn.
        hypothesis: What the maker expects, in words.
        num_tries: Answers asked for each problem.

    Raises:
        ProcedureError: The paper is not in the ledger.
    """
    paper_entry(ledger, paper)
    registration = Registration(
        paper_id=paper.header.paper_id,
        model_name=model_name,
        model_digest=model_digest,
        sampling=sampling,
        num_tries=num_tries,
        seed=sitting_seed(paper.header.bank_root, model_digest),
        hypothesis=hypothesis,
        maker=maker.public,
    )
    digest = registration.content_digest
    if ledger.find("registration", digest=digest):
        return registration

    def only_once(entries: Sequence[LedgerEntry]) -> None:
        if any(entry.kind == "registration" and entry.body.get("digest") == digest for entry in entries):
            raise ProcedureError("This was registered a moment ago.", hint="Go on with the sitting.")

    body: dict[str, JSON] = {
        "paper_id": registration.paper_id,
        "digest": digest,
        "registration": registration.to_json(),
    }
    ledger.append("registration", body, maker, guard=only_once)
    return registration


def registration_entry(ledger: Ledger, registration: Registration) -> LedgerEntry:
    """The ledger's entry of a registration, signed by its maker.

    Raises:
        ProcedureError: There is none: nothing unregistered can be sat.
    """
    for entry in ledger.find("registration", digest=registration.content_digest):
        if (
            entry.signature.key == registration.maker.signing
            and entry.body.get("registration") == registration.to_json()
        ):
            return entry
    raise ProcedureError(
        "This sitting is not registered in the ledger.",
        hint="Register the model first (`spiritsafe exam register`), then sit.",
    )


def find_registration(ledger: Ledger, digest: str) -> Registration:
    """A registration by its digest.

    Raises:
        ProcedureError: The ledger has none.
    """
    for entry in ledger.find("registration", digest=digest):
        registration = Registration.from_json(entry.body.get("registration"))
        if registration.content_digest == digest:
            return registration
    raise ProcedureError(
        f"The ledger has no registration {digest}.",
        hint="Register the model first (`spiritsafe exam register`), then sit.",
    )


def end_of(entries: Sequence[LedgerEntry], registration: Registration, header: PaperHeader) -> LedgerEntry | None:
    """The entry that ended a registration: a result signed by the examiner or a withdrawal signed by the maker."""
    signer = {"result": header.examiner.signing, "withdrawal": registration.maker.signing}
    digest = registration.content_digest
    for entry in entries:
        about = entry.kind in signer and entry.body.get("registration") == digest
        if about and entry.signature.key == signer[entry.kind]:
            return entry
    return None


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

    def still_open(entries: Sequence[LedgerEntry]) -> None:
        if end_of(entries, registration, paper.header) is not None:
            raise ProcedureError("This registration has ended already.", hint="Its end stands in the ledger.")

    body: dict[str, JSON] = {
        "paper_id": registration.paper_id,
        "registration": registration.content_digest,
        "reason": reason,
    }
    return ledger.append("withdrawal", body, maker, guard=still_open)


def registration_states(
    entries: Sequence[LedgerEntry], *, header: PaperHeader, maker_key: str
) -> tuple[RegistrationState, ...]:
    """All registrations that one key signed for a paper, and how each ended, in ledger order."""
    states = []
    for entry in entries:
        if entry.kind != "registration" or entry.signature.key != maker_key:
            continue
        if entry.body.get("paper_id") != header.paper_id:
            continue
        registration = Registration.from_json(entry.body.get("registration"))
        end = end_of(entries, registration, header)
        accuracy = end.body.get("sealed_accuracy") if end else None
        states.append(
            RegistrationState(
                registration=registration.content_digest,
                model_name=registration.model_name,
                state="open" if end is None else "result" if end.kind == "result" else "withdrawn",
                sealed_accuracy=float(accuracy) if isinstance(accuracy, int | float) else None,
            )
        )
    return tuple(states)
