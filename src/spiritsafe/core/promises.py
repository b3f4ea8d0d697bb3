"""What is promised before a sitting, and what the sitting made of it.

A paper carries :class:`Stratum` and :class:`PaperProtocol`; a registration :class:`Claim`, :class:`Budget` and
:class:`BettingRule` (or a :class:`~spiritsafe.core.stoprules.StopRule`); a result :class:`ReferenceScores`,
:class:`Decision` and :class:`IdentityCheck`; a certificate :class:`Correction`. They stand inside the records of
:mod:`spiritsafe.core.certificates` and only hold data.
Exercised by ``pytest tests/unit/core/test_promises.py``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from spiritsafe.core.intervals import Estimate
from spiritsafe.core.records import Message, Record, Sampling, omit_default

__all__ = [
    "MOST_LEVEL",
    "BettingRule",
    "Budget",
    "Claim",
    "Correction",
    "Decision",
    "Digest",
    "Finding",
    "IdentityCheck",
    "PaperProtocol",
    "ProbeRound",
    "ReferenceScores",
    "Stratum",
]

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Finding = Literal["supported", "not supported", "undecided"]

MOST_LEVEL = 0.05
"""The weakest level at which a claim is registered; published ones may have a weaker one."""

_MILLION = 1_000_000


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


class Claim(Record):
    """What a maker expects of the sealed half, in a form that is decided by arithmetic.

    Attributes:
        kind: "score at least": the accuracy is ``score`` or more. "better than": it exceeds the reference's by
            ``margin`` or more. "no worse than": it is not below the reference's by more than ``margin``.
        score: Of "score at least".
        reference: Digest of the certificate, or of the registration, of the model compared with; of the same paper.
        margin: A difference of accuracies.
        level: One-sided level of the test that the claim must pass; none above :data:`MOST_LEVEL` is registered any
            more.
    """

    kind: Literal["score at least", "better than", "no worse than"]
    score: float | None = Field(default=None, gt=0.0, lt=1.0)
    reference: Digest | None = None
    margin: float = Field(default=0.0, ge=0.0, lt=1.0)
    level: float = Field(default=0.025, gt=0.0, lt=0.5)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        alone = self.kind == "score at least"
        if alone != (self.score is not None) or alone == (self.reference is not None):
            raise ValueError(f'"{self.kind}" takes {"a score" if alone else "a reference"} and nothing else')
        if (self.margin > 0) < (self.kind == "no worse than") or (alone and self.margin):
            raise ValueError(f'"{self.kind}" takes {"no margin" if alone else "a margin above 0"}')
        return self

    @property
    def words(self) -> str:
        """For print."""
        points = f"{100 * self.margin:.4g} points"
        if self.score is not None:
            return f"the sealed score is at least {100 * self.score:.4g} %"
        if self.kind == "better than":
            return "better than the reference" + (f" by at least {points}" if self.margin else "")
        return f"not worse than the reference by more than {points}"


class Budget(Record):
    """The most that a sitting may use; at a limit it ends, and what was not asked is accounted for.

    Attributes:
        max_tokens: Tokens of prompts and completions.
        max_cost: Money, at the prices below.
        prompt_price: For a million tokens of prompts.
        completion_price: For a million tokens of completions.
        currency: Of the three, for print.
        max_seconds: From the first opening on, interruptions included. No question is asked later; one that was asked
            before is waited for.
    """

    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0.0)
    prompt_price: float | None = Field(default=None, ge=0.0)
    completion_price: float | None = Field(default=None, ge=0.0)
    currency: str = Field(default="", max_length=8)
    max_seconds: float | None = Field(default=None, gt=0.0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.max_tokens is None and self.max_cost is None and self.max_seconds is None:
            raise ValueError("a budget without a limit")
        if len({self.max_cost is None, self.prompt_price is None, self.completion_price is None}) > 1:
            raise ValueError("a limit of money needs both prices, and prices need a limit of money")
        return self

    def cost(self, num_prompt_tokens: int, num_tokens: int) -> float | None:
        """Money for so many tokens; None without prices."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return (num_prompt_tokens * self.prompt_price + num_tokens * self.completion_price) / _MILLION


class BettingRule(Record):
    """Stop when the bets against the claim's contrary have won enough; see :mod:`spiritsafe.core.betting`.

    The wealth is valid at every moment; it is looked at between equal parts of the paper, because answers come back in
    any order within one.

    Attributes:
        rule: Tells this rule from others.
        num_problems: Sealed problems of the paper: the sitting ends there at the latest.
        num_looks: Equal parts.
        alpha: One-sided level, over all moments together.
    """

    rule: Literal["betting"] = "betting"
    num_problems: int = Field(ge=1)
    num_looks: int = Field(default=20, ge=1, le=100)
    alpha: float = Field(default=0.025, gt=0.0, lt=0.5)

    @model_validator(mode="after")
    def _one_problem_a_look(self) -> Self:
        if self.num_looks > self.num_problems:
            raise ValueError(f"{self.num_looks} looks at {self.num_problems} problems")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """Problems answered at each look."""
        return tuple(round(self.num_problems * look / self.num_looks) for look in range(1, self.num_looks + 1))


class ReferenceScores(Record):
    """What a claim's reference answered, so that the decision can be computed again from the result alone.

    Attributes:
        certificate: Digest of the reference's certificate.
        registration: Digest of its registration.
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
        statement: For people.
    """

    finding: Finding
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
        statement: For people.
    """

    probes: str
    rounds: tuple[ProbeRound, ...]
    agreement: float | None = Field(ge=0.0, le=1.0)
    same: bool | None
    statement: str


class Correction(Record):
    """A claim after all that its maker registered for the same paper (Holm 1979).

    Attributes:
        num_registrations: This maker's registrations for this paper, whatever became of them.
        num_claims: Those that made a claim; each counts, the withdrawn and open ones as if they had failed.
        known_before: A result of this very model on this paper was in the ledger before the claim was; it decides
            nothing, for the same answers come out again.
        adjusted_p: Holm's adjusted p-value of this claim.
        level: The claim's.
        finding: What counts.
        statement: For people.
        num_before: Sittings of this maker on this paper, of any other model but the claim's reference, that had begun
            before the claim was registered. They take nothing from the decision, and are told with it.
    """

    num_registrations: int = Field(ge=1)
    num_claims: int = Field(ge=1)
    known_before: bool
    adjusted_p: float = Field(ge=0.0, le=1.0)
    level: float
    finding: Finding
    statement: str
    num_before: int = omit_default(0, ge=0)
