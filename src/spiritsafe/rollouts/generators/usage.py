"""Accounting of a remote endpoint: what it says it used, bounded by what it can have used.

In: a reply's ``usage`` object and the texts that were exchanged. Out: token counts that are believed, and a
:class:`UsageReport` of everything sent so far. Nobody outside can count an endpoint's tokens exactly, but no token is
shorter than a byte, so a claim can be refuted; a refuted or missing claim is replaced by our estimate and counted.
Also what an endpoint may use at most, and whether there is room for one more request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.records import Record
from spiritsafe.core.text.lengths import MOST_BYTES_A_TOKEN, estimate_tokens

_SLACK_TOKENS = 8  # end tokens and markers that the text does not show
_TEMPLATE_TOKENS = 4096  # chat templates and operators put system text of their own before the prompt


@final
class UsageReport(Record):
    """What an endpoint was asked and what it used.

    Attributes:
        num_requests: HTTP requests sent, tries after a failure included.
        num_retries: Those of them that repeated an earlier one.
        num_failures: Samples that ended as an "error" attempt.
        num_prompt_tokens: Believed tokens of prompts.
        num_completion_tokens: Believed tokens of completions.
        num_estimated_prompt_tokens: Our estimate of the same, from the bytes sent.
        num_estimated_completion_tokens: Our estimate of the same, from the bytes received.
        usage_suspect: Replies whose usage was absent or cannot be true (negative, not a number, more than
            ``max_tokens``, more tokens than bytes).
        usage_missing: Those of them that gave no usage at all.
        num_overlong: Replies, reasoning included, longer than ``max_tokens`` usually give: counted by their length.
        num_unstopped: Replies that went on behind a stop string, and were cut there.
    """

    num_requests: int = Field(default=0, ge=0)
    num_retries: int = Field(default=0, ge=0)
    num_failures: int = Field(default=0, ge=0)
    num_prompt_tokens: int = Field(default=0, ge=0)
    num_completion_tokens: int = Field(default=0, ge=0)
    num_estimated_prompt_tokens: int = Field(default=0, ge=0)
    num_estimated_completion_tokens: int = Field(default=0, ge=0)
    usage_suspect: int = Field(default=0, ge=0)
    usage_missing: int = Field(default=0, ge=0)
    num_overlong: int = Field(default=0, ge=0)
    num_unstopped: int = Field(default=0, ge=0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of one reply: believed, estimated, and whether the endpoint's own claim could be kept."""

    num_prompt_tokens: int
    num_tokens: int
    num_estimated_prompt_tokens: int
    num_estimated_tokens: int
    suspect: bool
    missing: bool
    overlong: bool = False


def _count(value: Any, least: int, most: int) -> int | None:
    """The claim, if it is a whole number in the range of what can be true."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    return None


def believe_usage(
    claimed: Any,
    *,
    prompt_bytes: int,
    completion_bytes: int,
    max_tokens: int,
    num_listed: int | None = None,
    is_too_long: bool = False,
) -> TokenUsage:
    """Keep the endpoint's claim where it can be true, else put our estimate in its place.

    Args:
        claimed: The reply's ``usage`` value, whatever it is.
        prompt_bytes: UTF-8 bytes of the messages sent.
        completion_bytes: UTF-8 bytes of the completion, reasoning that is shown beside it included.
        max_tokens: What was asked for; no believed count is above it, but where the texts show that more came.
        num_listed: How many tokens the reply lists one by one (with logprobs), if it does.
        is_too_long: The texts are longer than ``max_tokens`` usually give: then our estimate counts, uncut.
    """
    estimated_prompt = estimate_tokens(prompt_bytes)
    estimated = num_listed if num_listed is not None else estimate_tokens(completion_bytes)
    overlong = is_too_long or (num_listed or 0) > max_tokens
    estimated = estimated if overlong else min(estimated, max_tokens)
    usage = claimed if isinstance(claimed, dict) else {}
    details = usage.get("completion_tokens_details")
    # Reasoning that the operator hides is the one reason to have more tokens than bytes.
    reasoning = _count(details.get("reasoning_tokens"), 0, max_tokens) if isinstance(details, dict) else None
    prompt = _count(usage.get("prompt_tokens"), -(-prompt_bytes // MOST_BYTES_A_TOKEN), prompt_bytes + _TEMPLATE_TOKENS)
    completion = _count(
        usage.get("completion_tokens"),
        num_listed if num_listed is not None else -(-completion_bytes // MOST_BYTES_A_TOKEN),
        min(
            max_tokens, (num_listed if num_listed is not None else completion_bytes) + (reasoning or 0) + _SLACK_TOKENS
        ),
    )
    if overlong:
        completion = None
    return TokenUsage(
        num_prompt_tokens=estimated_prompt if prompt is None else prompt,
        num_tokens=max(estimated, max_tokens + 1) if overlong else estimated if completion is None else completion,
        num_estimated_prompt_tokens=estimated_prompt,
        num_estimated_tokens=estimated,
        suspect=prompt is None or completion is None,
        missing=claimed is None,
        overlong=overlong,
    )


@final
class UsageAccount:
    """Counts as requests come and go; :meth:`report` is a copy of the counts so far."""

    def __init__(self) -> None:
        self.num_requests = 0
        self.num_retries = 0
        self.num_failures = 0
        self.num_unstopped = 0
        self._overlong = 0
        self._tokens = [0, 0, 0, 0]
        self._suspect = 0
        self._missing = 0

    def add(self, usage: TokenUsage) -> None:
        """Count one reply."""
        for index, number in enumerate(
            (usage.num_prompt_tokens, usage.num_tokens, usage.num_estimated_prompt_tokens, usage.num_estimated_tokens)
        ):
            self._tokens[index] += number
        self._suspect += usage.suspect
        self._missing += usage.missing
        self._overlong += usage.overlong

    def report(self) -> UsageReport:
        """Everything so far."""
        prompt, completion, estimated_prompt, estimated_completion = self._tokens
        return UsageReport(
            num_requests=self.num_requests,
            num_retries=self.num_retries,
            num_failures=self.num_failures,
            num_prompt_tokens=prompt,
            num_completion_tokens=completion,
            num_estimated_prompt_tokens=estimated_prompt,
            num_estimated_completion_tokens=estimated_completion,
            usage_suspect=self._suspect,
            usage_missing=self._missing,
            num_overlong=self._overlong,
            num_unstopped=self.num_unstopped,
        )


_MILLION = 1_000_000


@final
class EndpointBudget(Record):
    """The most that an endpoint may use: ``{ tokens = 2_000_000 }``, or money with the operator's prices.

    Attributes:
        tokens: Of prompts and completions together.
        money: In the currency of the prices.
        input_price: For a million tokens of prompts.
        output_price: For a million tokens of completions, thoughts included.
    """

    tokens: int | None = Field(default=None, ge=1)
    money: float | None = Field(default=None, gt=0.0)
    input_price: float | None = Field(default=None, ge=0.0)
    output_price: float | None = Field(default=None, ge=0.0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tokens is None and self.money is None:
            raise ValueError("a budget needs tokens, or money with input_price and output_price")
        if len({self.money is None, self.input_price is None, self.output_price is None}) > 1:
            raise ValueError("money needs input_price and output_price (for a million tokens), and prices need money")
        return self

    def cost(self, num_prompt_tokens: int, num_tokens: int) -> float:
        """Money for so many tokens; 0 without prices."""
        return (num_prompt_tokens * (self.input_price or 0.0) + num_tokens * (self.output_price or 0.0)) / _MILLION

    def allows(self, num_prompt_tokens: int, num_tokens: int) -> bool:
        """Whether so many tokens stay within it."""
        return (self.tokens is None or num_prompt_tokens + num_tokens <= self.tokens) and (
            self.money is None or self.cost(num_prompt_tokens, num_tokens) <= self.money
        )

    def words(self, num_prompt_tokens: int, num_tokens: int) -> str:
        """How much of it so many tokens are, for print."""
        parts = [f"{num_prompt_tokens + num_tokens} of {self.tokens} tokens"] if self.tokens is not None else []
        if self.money is not None:
            parts.append(f"{self.cost(num_prompt_tokens, num_tokens):.4g} of {self.money:.4g} in money")
        return " and ".join(parts)


@final
class EndpointSpending:
    """What of a budget is used, and what requests under way may still use.

    Room is kept for the whole of each request under way, so that a budget is not passed: by the longest answer that was
    asked for, and by the prompt's estimate with the most that an operator was seen to put before one.
    """

    def __init__(self, budget: EndpointBudget | None) -> None:
        self._budget = budget
        self._earlier: dict[str, tuple[int, int]] = {}
        self._used = [0, 0]
        self._open = [0, 0]
        self._num_open = 0
        self._most_beyond = 0

    def count_earlier(self, what: str, num_prompt_tokens: int, num_tokens: int) -> None:
        """As :class:`spiritsafe.core.generator.Budgeted` says."""
        if what not in self._earlier:
            self._earlier[what] = (num_prompt_tokens, num_tokens)
            self._add(self._used, num_prompt_tokens, num_tokens)

    def reserve(self, num_prompt_tokens: int, most_tokens: int) -> bool:
        """Keep room for a request; False where others must end first.

        Raises:
            BudgetError: There is no room, and nothing under way could make some.
        """
        budget = self._budget
        if budget is None:
            return True
        prompt, completion = (used + held for used, held in zip(self._used, self._open, strict=True))
        beyond = self._most_beyond * (self._num_open + 1)
        if budget.allows(prompt + num_prompt_tokens + beyond, completion + most_tokens):
            self._add(self._open, num_prompt_tokens, most_tokens)
            self._num_open += 1
            return True
        if self._num_open:
            return False
        raise BudgetError(
            f"The endpoint's budget is used up: {budget.words(*self._used)} are used, and the next answer may take "
            f"{num_prompt_tokens + beyond + most_tokens} tokens.",
            hint="All answers so far are kept. Raise the budget (or lower max_tokens) and run the same command again: "
            "it goes on from there.",
        )

    def settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        """A request has ended: what was kept for it, and what it used."""
        if self._budget is not None:
            self._num_open -= 1
            self._most_beyond = max(self._most_beyond, used[0] - reserved[0])
            self._add(self._open, -reserved[0], -reserved[1])
            self._add(self._used, *used)

    @staticmethod
    def _add(total: list[int], num_prompt_tokens: int, num_tokens: int) -> None:
        total[0] += num_prompt_tokens
        total[1] += num_tokens
