"""Papers: the header that is committed to, the public half, the sealed half."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from spiritsafe.core.records import Digest, Hex32, Message, Problem, Record, Sampling, omit_default
from spiritsafe.ledger import PublicKey, Signature

Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


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


class Stratum(Record):
    """Problems of one kind inside a bank. A bank holds its strata one after the other; each is cut by itself.

    Attributes:
        name: Label; of a ``mix:`` task the part, of a private file what its rows say.
        task: Name of the task that its problems belong to.
        num_problems: Places in the bank.
        num_public: How many of them are public.
    """

    name: str = Field(min_length=1, max_length=300)
    task: str
    num_problems: int = Field(ge=1)
    num_public: int = Field(ge=0)


class PaperProtocol(Record):
    """How everybody sits a paper: equal baselines. Who deviates says so in the registration, and the certificate too.

    Attributes:
        num_tries: Answers asked for each problem.
        preamble: Messages in front of each problem's own: a system text, worked examples.
    """

    sampling: Sampling
    num_tries: int = Field(default=1, ge=1)
    preamble: tuple[Message, ...] = ()


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


class PublicPaper(Record):
    """The file ``paper.json``: header, every commitment, and the public half."""

    header: PaperHeader
    commitments: tuple[Hex32, ...]
    problems: tuple[PaperProblem, ...]
