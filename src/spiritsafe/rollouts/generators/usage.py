"""Accounting of a remote endpoint: what it says it used, bounded by what it can have used.

In: a reply's ``usage`` object and the texts that were exchanged. Out: token counts that are believed, and a
:class:`UsageReport` of everything sent so far. Nobody outside can count an endpoint's tokens exactly, but no token is
shorter than a byte, so a claim can be refuted; a refuted or missing claim is replaced by our estimate and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from pydantic import Field

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
