"""One round of a policy's answers.

In: graded and rewarded answers, and where in the run they belong. Out: rounds as
:mod:`spiritsafe.training.data.rounds` keeps them. Headers are chained: each names the one before, because what a round
asks depends on all rounds before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import final

from pydantic import Field

from spiritsafe.core.records import FinishReason, Record, Verdict
from spiritsafe.reinforce.pool import PromptOutcome
from spiritsafe.training import Round, RoundFormat, RoundHeader


@final
class RewardedAnswer(Record):
    """One answer of the policy.

    Attributes:
        text: What was graded.
        token_ids: As drawn, the end token included when it was drawn; of a source that hides them, as this model's
            tokenizer writes the text.
        logprobs: Natural log-probability of each token when it was drawn; empty when unknown.
        old: The same as the trainer computes it at the start of the round, which ratios are taken to; empty where
            none is needed.
        verdict: The verifier's, whatever is rewarded.
        reward: None when the answer is left out of its group.
    """

    problem_id: str
    sample_index: int = Field(ge=0)
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    old: tuple[float, ...] = ()
    finish_reason: FinishReason
    verdict: Verdict
    reward: float | None


@final
class PolicyHeader(RoundHeader):
    """Where a round belongs, and what its problems came to.

    Attributes:
        before: Digest of the header before, "" in the first.
        draws: Problems asked at first and in each refill.
        staleness: Updates that the answering weights were behind those in training, 0 for the engine here.
        draw_seconds: Spent on answers (and on grading, as far as it was done meanwhile).
        grade_seconds: Waited for verdicts after the last answer.
        outcomes: Of the round's problems, in the order in which they were asked.
        num_answers: Lines that follow.
    """

    before: str
    draws: tuple[int, ...]
    staleness: int = Field(ge=0)
    draw_seconds: float
    grade_seconds: float
    outcomes: tuple[PromptOutcome, ...]
    num_answers: int


def _groups(answers: Sequence[RewardedAnswer]) -> tuple[tuple[RewardedAnswer, ...], ...]:
    return tuple(tuple(group) for _, group in groupby(answers, key=lambda answer: answer.problem_id))


@final
class PolicyRound(Round[PolicyHeader, RewardedAnswer]):
    """A round; its answers in the order in which problems were asked, then of samples."""

    @cached_property
    def groups(self) -> tuple[tuple[RewardedAnswer, ...], ...]:
        """The answers to each problem."""
        return _groups(self.answers)


ROUNDS = RoundFormat(
    make=PolicyRound,
    header=PolicyHeader,
    answer=RewardedAnswer,
    # Not the canonical form: writing that takes seconds for a round of a hundred thousand tokens.
    encode=lambda record: record.model_dump_json().encode(),
    decided_by="configuration, problems, task or starting model",
)


def outcomes_of(answers: Sequence[RewardedAnswer]) -> tuple[PromptOutcome, ...]:
    """What each problem's answers earned; what a penalty took below 0, or part marks above 1, is not counted."""
    return tuple(
        PromptOutcome(
            problem_id=group[0].problem_id,
            num_scored=sum(answer.reward is not None for answer in group),
            total=sum(min(1.0, max(0.0, answer.reward)) for answer in group if answer.reward is not None),
        )
        for group in _groups(answers)
    )
