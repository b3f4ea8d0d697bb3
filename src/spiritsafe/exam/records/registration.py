"""Registrations: what will be sat, what is claimed of it, what it may cost."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Digest, Message, Record, Sampling, omit_default
from spiritsafe.ledger import PublicKey
from spiritsafe.stats import BettingRule, ChosenProblems, IntervalRule, StopRule

RegistrationEnd = Literal["result", "withdrawn", "open", "lapsed"]


MOST_LEVEL = 0.05
"""The weakest level at which a claim is registered; published ones may have a weaker one."""

_MILLION = 1_000_000


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
