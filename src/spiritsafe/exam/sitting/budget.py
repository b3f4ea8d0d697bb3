"""The budget of a sitting: how many more questions its registered budget allows.

In: a budget, the answers so far, what the next questions may use at most. Out: how many of them may be asked now. Each
question is booked at the most it can use before it leaves, so limits of tokens and money are never passed; what it did
not use comes back for the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import final

from spiritsafe.core.records import Attempt, Message
from spiritsafe.exam.records.registration import Budget
from spiritsafe.exam.records.result import Outcome

_TEMPLATE_TOKENS = 64
"""Markers and standing texts that chat templates put around messages."""

_TIMED_PROBLEMS = 64
"""Problems asked together when time is limited: the clock is looked at between them."""


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """More tokens than a prompt can have: no token of text is shorter than a byte."""
    return sum(len(message.content.encode("utf-8")) for message in messages) + _TEMPLATE_TOKENS


def most_unspent(budget: Budget, *, most_prompt: int, max_tokens: int, num_tries: int) -> tuple[float, float]:
    """The most tokens, and the most money, that an exhausted budget can have left: less than one problem needs."""
    tokens = num_tries * (most_prompt + max_tokens)
    return tokens, budget.cost(num_tries * most_prompt, num_tries * max_tokens) or 0.0


@final
class SessionBudget:
    """What is left of a budget.

    Args:
        budget: None: no limits.
        started: When the sitting first opened the paper; None, or a time to come by a clock that was wrong: now.
    """

    def __init__(self, budget: Budget | None, *, max_tokens: int, started: datetime | None) -> None:
        self._budget = budget
        self._max_tokens = max_tokens
        now = datetime.now(UTC)
        self._started = min(started or now, now)
        self._prompt_tokens = 0
        self._tokens = 0

    def pay(self, attempt: Attempt | Outcome) -> None:
        """Count what an answer used."""
        self._prompt_tokens += attempt.num_prompt_tokens
        self._tokens += attempt.num_tokens

    def room(self, problems: Iterable[tuple[int, int]]) -> int:
        """How many of the next problems may be asked now; 0: the budget is exhausted.

        Args:
            problems: Of each, in order: the most prompt tokens of all its tries, and its tries.
        """
        budget = self._budget
        if budget is None:
            return sum(1 for _ in problems)
        used = (datetime.now(UTC) - self._started).total_seconds()
        if budget.max_seconds is not None and used >= budget.max_seconds:
            return 0
        count, prompt, tokens = 0, self._prompt_tokens, self._tokens
        for most_prompt, num_tries in problems:
            prompt += most_prompt
            tokens += num_tries * self._max_tokens
            cost = budget.cost(prompt, tokens)
            if budget.max_tokens is not None and prompt + tokens > budget.max_tokens:
                break
            if budget.max_cost is not None and cost is not None and cost > budget.max_cost:
                break
            count += 1
            if budget.max_seconds is not None and count == _TIMED_PROBLEMS:
                break
        return count
