"""The records of the safe: keys, ledger entries, papers, registrations, results, certificates.

``PaperHeader → Registration → ExamResult → Certificate``, each named by the digest of its canonical JSON. They only
hold data: :mod:`spiritsafe.ledger` signs and chains them, :mod:`spiritsafe.exam` makes and checks them. On disk each
is a file of exactly its canonical bytes, so that a flipped byte anywhere shows. No record here holds the text of a
sealed problem or of an answer to one, but for the decrypted half and what was :class:`Revealed` on purpose.

Fields made by ``omit_default`` came later; records without them keep their digests.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.records import Digest, LedgerTime, Record, omit_default
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration, RegistrationEnd
from spiritsafe.exam.records.result import ClaimFinding, ExamResult, Half
from spiritsafe.exam.records.review import Amendment
from spiritsafe.ledger import Evidence, Signature, SignedHead

Separation = Literal["self-examined", "separate key", "third party"]


class AccessRecord(Record):
    """Who could see which problems from when on, read from the ledger.

    Attributes:
        exposed: True when the problems left the host: their operator has them from now on.
    """

    time: LedgerTime
    who: str
    what: str
    num_public: int
    num_sealed: int
    exposed: bool
    num_twins: int = omit_default(0, ge=0)


class ExposureRecord(Record):
    """That one party saw one problem.

    Attributes:
        party: Who, as the ledger names them.
        first: When it was first on record, by the clock of who signed that entry.
        entry: That entry's place in the ledger, which is the order.
        times: Entries of the ledger that say so.
        has: The party has the problem's text from then on, as far as anybody outside can tell: examiners, reviewers,
            operators of endpoints, and everybody for what is public. False: weights on the host that answered it.
    """

    index: int = Field(ge=0)
    half: Half
    party: str
    first: LedgerTime
    times: int = Field(ge=1)
    has: bool
    entry: int = omit_default(0, ge=0)


class RegistrationState(Record):
    """One registration of the maker for this paper, and how it ended when the head was signed.

    Attributes:
        p_value: Of its claim, by itself; None without a claim or a result.
        has_claim: Whether it made one.
        predicted_score: Of a sitting of chosen problems, which has no sealed accuracy of the paper.
    """

    registration: Digest
    model_name: str
    state: RegistrationEnd
    sealed_accuracy: float | None = None
    p_value: float | None = omit_default(None, ge=0.0, le=1.0)
    has_claim: bool = omit_default(False)
    predicted_score: float | None = omit_default(None, ge=0.0, le=1.0)


class Correction(Record):
    """A claim after all that its maker registered for the same paper (Holm 1979).

    Attributes:
        num_registrations: This maker's registrations for this paper, whatever became of them.
        num_claims: Those that made a claim; each counts, the withdrawn and open ones as if they had failed.
        known_before: A result of this very model on this paper was in the ledger before the claim was; it decides
            nothing, for the same answers come out again.
        adjusted_p: Holm's adjusted p-value of this claim.
        finding: What counts.
        num_before: Sittings of this maker on this paper, of any other model but the claim's reference, that had begun
            before the claim was registered. They take nothing from the decision, and are told with it.
    """

    num_registrations: int = Field(ge=1)
    num_claims: int = Field(ge=1)
    known_before: bool
    adjusted_p: float = Field(ge=0.0, le=1.0)
    level: float
    finding: ClaimFinding
    statement: str
    num_before: int = omit_default(0, ge=0)


class Certificate(Record):
    """Everything a stranger needs beside the public paper; the file ``certificate.json``.

    Attributes:
        evidence: Ledger entries of paper, registration, each access and result, with inclusion paths.
        registrations: All registrations of this maker for this paper, in order.
        statements: What this certificate promises and what not, in plain words.
        signatures: Examiner's and host's, over everything else.
        correction: What is left of the claim after all that this maker registered; the decision that counts.
        amendment: In a re-issue: which certificate it supersedes, and each grade that was edited; the result is the
            sitting's with these edits, and no other change.
    """

    format: Literal["spiritsafe.certificate/1"] = "spiritsafe.certificate/1"
    paper: PaperHeader
    registration: Registration
    result: ExamResult
    head: SignedHead
    evidence: tuple[Evidence, ...]
    access: tuple[AccessRecord, ...]
    registrations: tuple[RegistrationState, ...]
    separation: Separation
    statements: tuple[str, ...]
    signatures: tuple[Signature, ...]
    correction: Correction | None = omit_default(None)
    amendment: Amendment | None = omit_default(None)

    def signed_bytes(self) -> bytes:
        """What the signatures are over: the certificate without them."""
        return canonical_json({key: value for key, value in self.to_json().items() if key != "signatures"})
