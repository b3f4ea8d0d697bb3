"""What each numbered step of a verification checks; :mod:`spiritsafe.exam.verifying` runs them in order.

In: the material of one verification. Out: a line of detail, or an :class:`IntegrityError` that says what is wrong. To
add a step, write the function and give it its place in :data:`STEPS`.
Exercised by ``pytest tests/unit/exam/test_verification_steps.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.certificates import Certificate, LedgerEntry, PublicPaper
from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.certifying import (
    access_history,
    accesses_of_paper,
    opening_entries,
    separation_of,
    statements_of,
)
from spiritsafe.exam.paper import PAPER_FILE, check_bank, check_split
from spiritsafe.exam.recordfile import parse_record, read_file
from spiritsafe.exam.registration import registration_states, sitting_seed
from spiritsafe.exam.scoring import check_complete, score_outcomes
from spiritsafe.ledger import Ledger, verify_evidence, verify_head, verify_signature

__all__ = ["HINT", "STEPS", "Case", "NotGivenError"]

HINT = "Do not rely on this certificate; ask its examiner for a good copy."
_TOLERANCE = 1e-9  # libraries and machines may differ in the last bits of an interval


@final
class Case:
    """The material of one verification; files are read before the first step."""

    def __init__(
        self,
        certificate: Path,
        paper: Path,
        ledger: Path | None,
        result: Path | None,
        sealed: Path | None,
        trusted_keys: Collection[str],
    ) -> None:
        self.certificate_bytes = read_file(certificate)
        self.paper_bytes = read_file(paper / PAPER_FILE if paper.is_dir() else paper)
        self.result_bytes = read_file(result) if result else None
        self.sealed_bytes = read_file(sealed) if sealed else None
        self.ledger = Ledger(ledger) if ledger else None
        if ledger is not None:
            read_file(ledger)  # a missing ledger is the caller's mistake, not the certificate's
        self.trusted_keys = trusted_keys
        self._certificate: Certificate | None = None
        self._paper: PublicPaper | None = None

    @property
    def certificate(self) -> Certificate:
        """The certificate; an IntegrityError if the file is none."""
        if self._certificate is None:
            self._certificate = parse_record(self.certificate_bytes, Certificate, "The certificate file")
        return self._certificate

    @property
    def paper(self) -> PublicPaper:
        """The public paper; an IntegrityError if the file is none."""
        if self._paper is None:
            self._paper = parse_record(self.paper_bytes, PublicPaper, "The paper file")
        return self._paper

    @property
    def entries(self) -> list[LedgerEntry]:
        """The certificate's ledger entries."""
        return [evidence.entry for evidence in self.certificate.evidence]


class NotGivenError(Exception):
    """The file that a step needs was not given."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise IntegrityError(message, hint=HINT)


# Step 1
def _certificate_file(case: Case) -> str:
    certificate = case.certificate
    return f"{certificate.result.model_name}, certificate {certificate.content_digest}"


# Step 2
def _certificate_signatures(case: Case) -> str:
    certificate = case.certificate
    wanted = {certificate.paper.examiner.signing, certificate.result.host.signing}
    _require({s.key for s in certificate.signatures} == wanted, "The signatures are not the examiner's and the host's.")
    _require(len(certificate.signatures) == len(wanted), "A signature is doubled.")
    message = certificate.signed_bytes()
    for signature in certificate.signatures:
        _require(
            verify_signature(signature, "certificate", message),
            f"The signature of key {signature.key[:16]}… is not over this certificate.",
        )
    return f"signed by {certificate.paper.examiner.label}" + (
        f" and {certificate.result.host.label}" if len(wanted) == 2 else ""
    )


# Step 3
def _paper_file(case: Case) -> str:
    _require(case.paper.header == case.certificate.paper, "The paper file is another paper than the certificate's.")
    _require(case.certificate.result.paper_id == case.paper.header.paper_id, "The result is of another paper.")
    return f"paper {case.paper.header.paper_id}, {case.paper.header.task}"


# Step 4
def _paper_bank(case: Case) -> str:
    check_bank(case.paper)
    header = case.paper.header
    return f"{header.num_problems} commitments, {header.num_public} of them opened, hash to the bank's root"


# Step 5
def _paper_split(case: Case) -> str:
    check_split(case.paper)
    return "the public half is the one that the bank's root picks"


# Step 6
def _sealed_file(case: Case) -> str:
    if case.sealed_bytes is None:
        raise NotGivenError("no encrypted half given; its digest is part of the paper")
    _require(
        digest_bytes(case.sealed_bytes) == case.paper.header.sealed_digest,
        "The encrypted half is not the one committed to.",
    )
    return "the encrypted half is the one committed to"


# Step 7
def _registration(case: Case) -> str:
    certificate = case.certificate
    registration, result = certificate.registration, certificate.result
    _require(registration.paper_id == certificate.paper.paper_id, "The registration is for another paper.")
    _require(result.registration == registration.content_digest, "The result answers another registration.")
    _require(
        (result.model_name, result.model_digest) == (registration.model_name, registration.model_digest),
        "The model that sat is not the registered one.",
    )
    _require(result.generator.digest == registration.model_digest, "The Generator named another model.")
    _require(result.sampling == registration.sampling, "The sampling is not the registered one.")
    expected = sitting_seed(certificate.paper.bank_root, registration.model_digest)
    _require(registration.seed == expected, "The seed is not the one that paper and model fix.")
    return f"{registration.model_name} as registered by {registration.maker.label}"


# Step 8
def _ledger_proofs(case: Case) -> str:
    certificate = case.certificate
    _require(verify_head(certificate.head), "The ledger head's signature is bad.")
    _require(
        certificate.head.signature.key == certificate.paper.examiner.signing,
        "The ledger head is not signed by the examiner.",
    )
    for evidence in certificate.evidence:
        _require(
            verify_evidence(evidence, certificate.head),
            f"Ledger entry {evidence.entry.index} is not signed, or not under the signed head.",
        )
    return f"{len(certificate.evidence)} entries are signed and lie under a head of {certificate.head.size} entries"


def _only(entries: list[LedgerEntry], kind: str) -> LedgerEntry:
    found = [entry for entry in entries if entry.kind == kind]
    _require(len(found) == 1, f"The evidence has {len(found)} entries of kind {kind}, not one.")
    return found[0]


# Step 9
def _procedure(case: Case) -> str:
    certificate, entries = case.certificate, case.entries
    indices = [entry.index for entry in entries]
    _require(indices == sorted(set(indices)), "The evidence is out of order.")
    examiner, maker = certificate.paper.examiner.signing, certificate.registration.maker.signing
    paper, registration, result = (_only(entries, kind) for kind in ("paper", "registration", "result"))
    _require(
        paper.signature.key == examiner and paper.body.get("header") == certificate.paper.to_json(),
        "The ledger's paper entry is not the examiner's, or of another paper.",
    )
    _require(
        registration.signature.key == maker
        and registration.body.get("registration") == certificate.registration.to_json(),
        "The ledger's registration entry is not the maker's, or another registration.",
    )
    openings = opening_entries(entries, certificate.paper, certificate.registration.content_digest)
    _require(bool(openings), "No entry opened the paper for this sitting.")
    order = [paper.index, registration.index, openings[0].index, openings[-1].index, result.index]
    _require(order == sorted(order), "The steps are out of order: paper, registration, opening, result.")
    times = [entry.time for entry in entries]
    _require(times == sorted(times), "The ledger's times run backwards.")
    _require(result.signature.key == examiner, "The ledger's result entry is not signed by the examiner.")
    return f"sealed {paper.time}, registered {registration.time}, opened {openings[0].time}, result {result.time}"


# Step 10
def _complete(case: Case) -> str:
    certificate = case.certificate
    check_complete(certificate.result.outcomes, certificate.paper, certificate.registration.num_tries)
    return f"{len(certificate.result.outcomes)} tries, every committed problem among them"


def _same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, float) and isinstance(theirs, float | int):
        return abs(ours - theirs) <= _TOLERANCE
    return ours == theirs


# Step 11
def _numbers(case: Case) -> str:
    certificate, result = case.certificate, case.certificate.result
    scores = score_outcomes(result.outcomes, certificate.paper, certificate.registration)
    for name, ours, theirs in (
        ("sealed half", scores.sealed, result.sealed),
        ("public half", scores.public, result.public),
        ("public-sealed gap", scores.gap, result.gap),
    ):
        _require(_same(ours.to_json(), theirs.to_json()), f"The numbers of the {name} do not follow from the outcomes.")
    _require(scores.gap_statement == result.gap_statement, "The gap's statement does not follow from its numbers.")
    tokens = (sum(o.num_prompt_tokens for o in result.outcomes), sum(o.num_tokens for o in result.outcomes))
    _require(tokens == (result.num_prompt_tokens, result.num_tokens), "The token counts do not add up.")
    accuracy = result.sealed.accuracy
    return f"sealed accuracy {accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}), recomputed"


# Step 12
def _result_in_ledger(case: Case) -> str:
    result = case.certificate.result
    body = _only(case.entries, "result").body
    _require(body.get("result") == result.content_digest, "The ledger holds the digest of another result.")
    _require(body.get("registration") == result.registration, "The ledger's result is for another registration.")
    claimed = (body.get("sealed_accuracy"), body.get("public_accuracy"))
    _require(claimed == (result.sealed.accuracy.value, result.public.accuracy.value), "The ledger holds other scores.")
    if case.result_bytes is not None:
        _require(case.result_bytes == result.canonical(), "The result file is not the certificate's result.")
    return f"the ledger committed to result {result.content_digest}"


# Step 13
def _access(case: Case) -> str:
    certificate = case.certificate
    accesses = accesses_of_paper(case.entries, certificate.paper)
    _require(
        access_history(_only(case.entries, "paper"), accesses, certificate.paper) == certificate.access,
        "The access history is not the ledger's.",
    )
    openings = opening_entries(accesses, certificate.paper, certificate.registration.content_digest)
    result = certificate.result
    _require(
        (result.openings, result.started) == (len(openings), openings[0].time), "The openings are not the ledger's."
    )
    _require(
        all(entry.body.get("reader") == result.generator.to_json() for entry in openings),
        "The paper was opened for another Generator.",
    )
    places = {"public": set[object](), "sealed": set[object]()}
    for entry in openings:
        for half, seen in places.items():
            value = entry.body.get(half)
            seen.update(value if isinstance(value, list) else [])
    for outcome in result.outcomes:
        _require(
            outcome.index in places[outcome.half],
            f"Problem {outcome.index} was answered but no access to it is on record.",
        )
    exposed = [record.who for record in certificate.access if record.exposed]
    return f"{len(certificate.access)} accesses" + (f"; exposed to {', '.join(exposed)}" if exposed else "")


# Step 14
def _statements(case: Case) -> str:
    certificate = case.certificate
    separation = separation_of(certificate.registration.maker, certificate.paper.examiner, certificate.result.host)
    _require(certificate.separation == separation, "The separation class does not follow from the keys.")
    expected = statements_of(
        header=certificate.paper,
        registration=certificate.registration,
        result=certificate.result,
        access=certificate.access,
        registrations=certificate.registrations,
    )
    _require(certificate.statements == expected, "The statements do not follow from the evidence.")
    return certificate.separation


# Step 15
def _ledger_file(case: Case) -> str:
    if case.ledger is None:
        raise NotGivenError(
            "no ledger given; entries stand on the signed head, and what it may leave out is not checked"
        )
    certificate = case.certificate
    check = case.ledger.verify()
    _require(check.ok, check.problem)
    _require(
        case.ledger.root(certificate.head.size) == certificate.head.root,
        "The ledger's history is not the one under the certificate's head: it was rewritten.",
    )
    entries = case.ledger.entries()[: certificate.head.size]
    states = registration_states(entries, header=certificate.paper, maker_key=certificate.registration.maker.signing)
    _require(states == certificate.registrations, "The certificate leaves out registrations of this maker.")
    _require(
        accesses_of_paper(entries, certificate.paper) == accesses_of_paper(case.entries, certificate.paper),
        "The certificate leaves out accesses to this paper.",
    )
    return f"{check.num_entries} entries, an unbroken signed chain that holds the certificate's history"


# Step 16
def _trusted(case: Case) -> str:
    certificate = case.certificate
    keys = {
        "examiner": certificate.paper.examiner,
        "maker": certificate.registration.maker,
        "host": certificate.result.host,
    }
    if not case.trusted_keys:
        raise NotGivenError(
            "no trusted key given; compare by hand: " + ", ".join(f"{part} {key.label}" for part, key in keys.items())
        )
    examiner = keys["examiner"]
    _require(examiner.key_id in case.trusted_keys, f"The examiner's key {examiner.key_id} is not one you trust.")
    return f"you trust the examiner's key {examiner.key_id}"


STEPS: tuple[tuple[str, str, Callable[[Case], str]], ...] = (
    ("certificate file", "The file is exactly the canonical form of a certificate.", _certificate_file),
    ("certificate signatures", "Examiner and host signed this certificate.", _certificate_signatures),
    ("paper file", "The paper file is canonical and the certificate's paper.", _paper_file),
    ("paper bank", "Commitments hash to the bank's root, public problems to their commitments.", _paper_bank),
    ("paper split", "The public half is the random one that the bank's root picks.", _paper_split),
    ("sealed file", "The encrypted half is the one committed to (if given).", _sealed_file),
    ("registration", "Model, sampling and seed are those registered for this paper.", _registration),
    ("ledger proofs", "Every entry used is signed and lies under the signed ledger head.", _ledger_proofs),
    ("procedure", "Sealed, then registered, then opened, then resulted, each signed by the right key.", _procedure),
    ("every problem counted", "Each try at each committed problem has exactly one outcome.", _complete),
    ("numbers", "Scores, intervals and the public-sealed test follow from the outcomes.", _numbers),
    (
        "result in ledger",
        "The ledger committed to this result (and the result file is it, if given).",
        _result_in_ledger,
    ),
    ("access history", "Who saw what is what the ledger says, and covers every answer.", _access),
    ("statements", "Separation class and plain-word statements follow from the evidence.", _statements),
    ("ledger file", "The ledger is an unbroken signed chain, and nothing was left out (if given).", _ledger_file),
    ("trusted keys", "The examiner's key is one you trust (if you named any).", _trusted),
)
