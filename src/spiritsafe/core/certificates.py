"""The records of the safe: keys, ledger entries, papers, registrations, results, certificates.

``PaperHeader → Registration → ExamResult → Certificate``, each named by the digest of its canonical JSON. They only
hold data: :mod:`spiritsafe.ledger` signs and chains them, :mod:`spiritsafe.exam` makes and checks them. On disk each
is a file of exactly its canonical bytes, so that a flipped byte anywhere shows. No record here holds the text of a
sealed problem or of an answer to one, but for the decrypted half and what was :class:`Revealed` on purpose.

Fields made by ``omit_default`` came later; records without them keep their digests.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator

from spiritsafe.core.amendments import Amendment
from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.curve_points import is_signing_key
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.intervals import IntervalRule
from spiritsafe.core.names import shown_name
from spiritsafe.core.outcomes import (
    Ending,
    Half,
    HalfResult,
    Hex32,
    JournalMark,
    LedgerTime,
    Outcome,
    OutcomeStatus,
    Timestamp,
)
from spiritsafe.core.promises import (
    BettingRule,
    Budget,
    Claim,
    Correction,
    Decision,
    Digest,
    IdentityCheck,
    PaperProtocol,
    ReferenceScores,
    Stratum,
)
from spiritsafe.core.records import Message, Problem, Record, Sampling, omit_default
from spiritsafe.core.shortened import ChosenProblems, PredictedScore
from spiritsafe.core.stats import Estimate, GapTest, PairedDifference
from spiritsafe.core.stoprules import StopRule

__all__ = [
    "AccessRecord",
    "Certificate",
    "Comparison",
    "CounterSignedRerun",
    "Ending",
    "Evidence",
    "ExamResult",
    "ExposureRecord",
    "Half",
    "HalfResult",
    "LedgerEntry",
    "Outcome",
    "OutcomeStatus",
    "PaperHeader",
    "PaperProblem",
    "PublicKey",
    "PublicPaper",
    "Registration",
    "RegistrationEnd",
    "RegistrationState",
    "RerunItem",
    "RerunReport",
    "Revealed",
    "SealedHalf",
    "Separation",
    "Signature",
    "SignedHead",
    "key_id_of",
]

Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
RegistrationEnd = Literal["result", "withdrawn", "open", "lapsed"]
Separation = Literal["self-examined", "separate key", "third party"]


def key_id_of(signing: str) -> str:
    """The id of a signing key (hex): 32 hex digits, 128 bits, of SHA-256 over it."""
    return hashlib.sha256(bytes.fromhex(signing)).hexdigest()[:32]


class PublicKey(Record):
    """What others know of a key holder.

    Attributes:
        holder: Who says to hold it; their word, nothing proves it.
        signing: Ed25519 public key.
        recipient: age recipient (X25519) that sealed halves are encrypted to.
    """

    holder: str = Field(min_length=1, max_length=200)
    signing: Hex32
    recipient: str = Field(pattern=r"^age1[0-9a-z]+$")

    @field_validator("signing")
    @classmethod
    def _a_key(cls, signing: str) -> str:
        if not is_signing_key(bytes.fromhex(signing)):
            raise ValueError("no Ed25519 key: a point of small order, or not its canonical form")
        return signing

    @cached_property
    def key_id(self) -> str:
        """What people compare by eye: :func:`key_id_of` the signing key."""
        return key_id_of(self.signing)

    @property
    def label(self) -> str:
        """Holder and key id, for print."""
        return f"{shown_name(self.holder)} (key {self.key_id})"

    @property
    def recorded_label(self) -> str:
        """The same as records have always held it, with half of the id; :attr:`label` is what is printed."""
        return f"{self.holder} (key {self.key_id[:16]})"


class Signature(Record):
    """An Ed25519 signature and the key that made it."""

    key: Hex32
    value: Hex64


class LedgerEntry(Record):
    """One line of a ledger.

    Attributes:
        previous: Digest of the entry before; ``sha256:`` and 64 zeros for the first.
        time: When its signer's clock says it was appended (UTC); the order is that of ``index``.
        kind: What the body is: paper, registration, withdrawal, lapse, access, result, rerun, reveal, open, answers,
            dispute, grade edit, dispute answer, reissue, overlap, memory and others.
    """

    index: int = Field(ge=0)
    previous: Digest
    time: LedgerTime
    kind: str
    body: dict[str, JsonValue]
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over: the entry without it."""
        return canonical_json({key: value for key, value in self.to_json().items() if key != "signature"})


class SignedHead(Record):
    """A ledger's state, vouched for: how many entries, and the RFC 6962 root over them."""

    size: int = Field(ge=1)
    root: Hex32
    time: Timestamp
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return canonical_json({"size": self.size, "root": self.root, "time": self.time})


class Evidence(Record):
    """A ledger entry with its RFC 6962 inclusion path under a signed head."""

    entry: LedgerEntry
    path: tuple[Hex32, ...]


class PaperHeader(Record):
    """What everybody may know of a paper before it is sat; its digest is the paper's id.

    Attributes:
        verifier: Name and version of the only grader.
        num_problems: Problems in the bank, without their twins.
        bank_root: RFC 6962 root over the salted commitments, in bank order, twins behind; the split follows from it.
        sealed_digest: Digest of the encrypted sealed half.
        rules: How answers are counted, in plain words.
        num_twins: 0, or one sealed twin for each problem: the same with new numbers and names.
        strata: The bank's strata in order; each is cut by itself. Empty: the bank is one.
        protocol: How everybody sits this paper; None: as registered.
        recipients: Who else can open the sealed half, each alone.
        reviewers: Keys whose signatures count as sign-offs of problems.
        num_signoffs: How many of them each problem carries at least.
    """

    format: Literal["spiritsafe.paper/1"] = "spiritsafe.paper/1"
    task: str
    task_version: str
    verifier: str
    num_problems: int = Field(ge=2)
    num_public: int = Field(ge=1)
    num_sealed: int = Field(ge=1)
    bank_root: Hex32
    sealed_digest: Digest
    examiner: PublicKey
    rules: tuple[str, ...]
    num_twins: int = omit_default(0, ge=0)
    strata: tuple[Stratum, ...] = omit_default(())
    protocol: PaperProtocol | None = omit_default(None)
    recipients: tuple[PublicKey, ...] = omit_default(())
    reviewers: tuple[PublicKey, ...] = omit_default(())
    num_signoffs: int = omit_default(0, ge=0)

    @property
    def paper_id(self) -> str:
        """Digest of this header."""
        return self.content_digest


class PaperProblem(Record):
    """One problem of a bank with the salt that hides it behind its commitment.

    Attributes:
        index: Its place; a twin's is its original's plus the number of problems.
        stratum: Name of its stratum; empty in a bank without strata.
        signoffs: Reviewers' signatures over the problem's canonical bytes.
    """

    index: int = Field(ge=0)
    salt: Salt
    problem: Problem
    stratum: str = omit_default("")
    signoffs: tuple[Signature, ...] = omit_default(())

    @property
    def commitment(self) -> str:
        """Hex SHA-256 over index, salt and problem."""
        return self.content_digest.removeprefix("sha256:")


class PublicPaper(Record):
    """The file ``paper.json``: header, every commitment, and the public half."""

    header: PaperHeader
    commitments: tuple[Hex32, ...]
    problems: tuple[PaperProblem, ...]


class SealedHalf(Record):
    """What ``sealed.age`` decrypts to. Lives in memory only.

    Attributes:
        secret: 32 bytes that the problems, all salts and all answer commitments derive from.
    """

    bank_root: Hex32
    secret: Hex32
    problems: tuple[PaperProblem, ...]

    def __repr__(self) -> str:
        return f"SealedHalf({len(self.problems)} problems)"

    __str__ = __repr__


class Registration(Record):
    """What a maker signs before a sitting.

    Attributes:
        num_tries: Answers asked for each problem; the score is their mean.
        seed: Seed of every answer, fixed by paper and model, so that registering again draws nothing new.
        hypothesis: What the maker expects, in words.
        claim: The same in a form that arithmetic decides; None: nothing is decided, the score is reported.
        budget: The most that the sitting may use.
        stop: When it may end before the paper does; None: the whole paper is asked.
        num_probes: Rounds of identity probes, the first and the last included (so two at least); 0: none.
        preamble: Messages in front of each problem, where they are not the protocol's.
        deviations: In what it deviates from the paper's protocol; admitted, never silent.
        chosen: The only problems that are asked, chosen by past sittings; None: the whole paper.
        intervals: What several tries at a problem are worth; 1 in registrations of older versions.
    """

    paper_id: Digest
    model_name: str
    model_digest: str
    sampling: Sampling
    num_tries: int = Field(ge=1)
    seed: int = Field(ge=0)
    primary_metric: Literal["accuracy"] = "accuracy"
    hypothesis: str
    maker: PublicKey
    claim: Claim | None = omit_default(None)
    budget: Budget | None = omit_default(None)
    stop: StopRule | BettingRule | None = omit_default(None)
    num_probes: int = omit_default(0, ge=0, le=100)
    preamble: tuple[Message, ...] | None = omit_default(None)
    deviations: tuple[str, ...] = omit_default(())
    chosen: ChosenProblems | None = omit_default(None)
    intervals: IntervalRule = omit_default(1)


class ExamResult(Record):
    """What a sitting gave. Every committed problem is in ``outcomes`` or, when the rule ended it, in ``not_asked``.

    Attributes:
        registration: Digest of the registration it answers.
        gap_statement: The public-sealed comparison in plain words.
        openings: Times the paper was opened for this sitting (more than one: it was interrupted).
        started: Time of the first opening in the ledger.
        software: Versions on the host.
        ending: Why it ended.
        not_asked: Places of the problems that were not asked, in ascending order.
        twins: The twins' numbers.
        memory: Original minus twin, public minus sealed: what having seen the very text added.
        memory_statement: The same in plain words.
        reference: What the claim's reference answered.
        decision: What the sitting says of the claim.
        identity: Whether one model answered all the time; None without probes.
        cost: Money, at the registered prices.
        studied: Share of the otherwise unsolved public problems that were studied; None where the sealed half was
            solved whole, and in results of older versions.
        studied_statement: The same in plain words.
        predicted: Of a sitting of chosen problems: the score that their answers predict for the whole sealed half.
        asked: Of an adaptive sitting: the places in the order in which it asked them.
        journal: The finished journal; None in results of older versions.
    """

    format: Literal["spiritsafe.result/1"] = "spiritsafe.result/1"
    paper_id: Digest
    registration: Digest
    model_name: str
    model_digest: str
    sampling: Sampling
    generator: GeneratorInfo
    host: PublicKey
    outcomes: tuple[Outcome, ...]
    sealed: HalfResult
    public: HalfResult
    gap: GapTest
    gap_statement: str
    num_prompt_tokens: int
    num_tokens: int
    openings: int
    started: LedgerTime
    finished: Timestamp
    software: dict[str, str]
    ending: Ending = omit_default("complete")
    not_asked: tuple[int, ...] = omit_default(())
    twins: HalfResult | None = omit_default(None)
    memory: GapTest | None = omit_default(None)
    memory_statement: str = omit_default("")
    reference: ReferenceScores | None = omit_default(None)
    decision: Decision | None = omit_default(None)
    identity: IdentityCheck | None = omit_default(None)
    cost: float | None = omit_default(None, ge=0.0)
    studied: Estimate | None = omit_default(None)
    studied_statement: str = omit_default("")
    predicted: PredictedScore | None = omit_default(None)
    asked: tuple[int, ...] = omit_default(())
    journal: JournalMark | None = omit_default(None)


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


class Revealed(Record):
    """One try at one problem, opened for a dispute: it hashes to the two commitments and opens no other.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        problem: The problem with its salt.
        attempt: The answer, without the seconds that it took.
        verdict: What the verifier said; None when there was nothing to grade.
        salt: The salt of the answer's commitment.
    """

    format: Literal["spiritsafe.revealed/1"] = "spiritsafe.revealed/1"
    paper_id: Digest
    registration: Digest
    sample_index: int = Field(ge=0)
    problem: PaperProblem
    attempt: dict[str, JsonValue]
    verdict: dict[str, JsonValue] | None
    salt: Salt


class Comparison(Record):
    """Two models on the same paper, problem by problem; first minus second.

    Attributes:
        sealed: The difference that is the models'.
        public: The difference on the published half.
        studying: Public difference minus sealed difference: what studying the public half added.
        statement: The last one in plain words.
    """

    paper_id: Digest
    first: str
    second: str
    sealed: PairedDifference
    public: PairedDifference
    studying: GapTest
    statement: str


class RerunItem(Record):
    """One try asked again."""

    index: int
    sample_index: int
    status: OutcomeStatus
    original: OutcomeStatus


class RerunReport(Record):
    """A second party's repetition of a sitting.

    Attributes:
        certificate: Digest of the certificate.
        same_digest: The generator names the registered digest; an endpoint cannot, nobody sees its weights.
        halves: What was asked again.
        agreement: Share of tries that are right in both or wrong in both.
        difference: Rerun minus original.
        agrees: The interval of the difference includes 0.
        statement: The finding in plain words.
    """

    format: Literal["spiritsafe.rerun/1"] = "spiritsafe.rerun/1"
    certificate: Digest
    paper_id: Digest
    generator: GeneratorInfo
    same_digest: bool
    halves: tuple[Half, ...]
    items: tuple[RerunItem, ...]
    agreement: Estimate
    difference: PairedDifference
    agrees: bool
    statement: str
    finished: Timestamp
    runner: PublicKey
    software: dict[str, str]


class CounterSignedRerun(Record):
    """A rerun report with its runner's signature; the file ``rerun.json``."""

    report: RerunReport
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return self.report.canonical()
