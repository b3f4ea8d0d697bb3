"""Results of sittings: how each try ended, what the halves scored, what was decided."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Digest, Hex32, LedgerTime, Record, Sampling, Timestamp, omit_default
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.ledger import PublicKey
from spiritsafe.stats import Estimate, GapTest, PredictedScore

Half = Literal["public", "sealed", "twin"]
Ending = Literal["complete", "stopped by rule", "budget exhausted", "chosen problems asked"]


class Outcome(Record):
    """How one try at one problem ended.

    Attributes:
        index: The problem's place in the bank.
        status: The verdict; or refused, truncated (cut off at the token limit before a right answer), error (no
            answer could be had). Only "correct" counts for accuracy.
        score: The verifier's score, partial credit included.
        commitment: Salted hash of attempt and verdict; the sealed half's holder can open it.
        lost: It was asked, and the answer was lost when the sitting was interrupted. Status "error": a remote model is
            never asked twice.
    """

    index: int = Field(ge=0)
    half: Half
    sample_index: int = Field(ge=0)
    status: OutcomeStatus
    score: float = Field(ge=0.0, le=1.0)
    num_prompt_tokens: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    commitment: Hex32
    lost: bool = omit_default(False)


class HalfResult(Record):
    """One half's numbers.

    Attributes:
        accuracy: Share of right answers among all committed ones; errors and unscored answers count as wrong. Where
            problems were not asked: among the asked ones, with an interval that holds whenever the sitting ended.
        answered_accuracy: The same without errors and unscored answers, for information; None if nothing is left.
        mean_score: Mean score with partial credit, for information.
        counts: Tries by status; with the problems not asked they sum to problems times tries.
        num_not_asked: Problems that were not asked, because the stop rule or the budget ended the sitting, or because
            only chosen ones were registered.
    """

    accuracy: Estimate
    answered_accuracy: Estimate | None
    mean_score: float
    counts: dict[OutcomeStatus, int]
    num_not_asked: int = omit_default(0, ge=0)


class JournalMark(Record):
    """How far a sitting's journal is: each opening of the paper commits to it, and so does the result.

    Attributes:
        lines: In the file, whatever they hold.
        answers: Among them, one for each try that has come to an end.
        digest: Hex SHA-256 over these lines, as they stand in the file.
    """

    lines: int = Field(ge=0)
    answers: int = Field(ge=0)
    digest: Hex32


ClaimFinding = Literal["supported", "not supported", "undecided"]


class ReferenceScores(Record):
    """What a claim's reference answered, so that the decision can be computed again from the result alone.

    Attributes:
        right: Right answers for each sealed problem, in bank order.
        num_failed: Tries of its whole sitting that brought no answer; None where older versions did not say.
        num_outcomes: Tries of its whole sitting.
    """

    certificate: Digest
    registration: Digest
    model_name: str
    right: tuple[int, ...]
    num_failed: int | None = omit_default(None, ge=0)
    num_outcomes: int | None = omit_default(None, ge=1)


class Decision(Record):
    """What a sitting says of its claim, by itself; see :class:`Correction` for what its maker's others leave of it.

    Attributes:
        finding: "undecided": the sitting ended before the rule could decide.
        p_value: One-sided, valid at the look at which the sitting ended.
        estimate: Of what the claim is about, adjusted for the looks.
        look: The look at which it was decided, from 1.
        num_looks: Registered looks; 1 without a stop rule.
        method: How the looks are counted in, for people.
    """

    finding: ClaimFinding
    p_value: float = Field(ge=0.0, le=1.0)
    estimate: Estimate
    look: int = Field(ge=1)
    num_looks: int = Field(ge=1)
    method: str
    statement: str


class ProbeRound(Record):
    """The harmless public probes, asked once with greedy decoding.

    Attributes:
        num_answers: Answers of the sitting on record when the round was asked.
        replies: One text a probe; None where none could be had.
        logprobs: Mean log-probability of each reply's tokens; empty when the endpoint gives none.
    """

    num_answers: int = Field(ge=0)
    replies: tuple[str | None, ...]
    logprobs: tuple[float | None, ...] = ()


class IdentityCheck(Record):
    """Was it one model all the time?

    Attributes:
        probes: Name of the set of probes.
        rounds: In order of time; the first one is what the others are held against.
        agreement: Share of equal replies in the round that agrees least; None when fewer than two rounds can be told.
        same: None when it cannot be told.
    """

    probes: str
    rounds: tuple[ProbeRound, ...]
    agreement: float | None = Field(ge=0.0, le=1.0)
    same: bool | None
    statement: str


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
