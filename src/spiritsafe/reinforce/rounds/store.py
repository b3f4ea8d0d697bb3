"""One round of a policy's answers as a file: whole or absent, and refused when it is damaged or another run's.

In: graded and rewarded answers, and where in the run they belong. Out: ``round-00000.jsonl``: a line with the digest of
all that follows, a header, then an answer a line. Headers are chained: each names the one before, because what a round
asks depends on all rounds before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal, final

from pydantic import Field, ValidationError

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import read_first_sealed_line, read_sealed_lines, write_sealed_lines
from spiritsafe.core.records import FinishReason, Record, Verdict
from spiritsafe.reinforce.pool import Outcome


@final
class Answer(Record):
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
class RoundHeader(Record):
    """Where a round belongs, and what its problems came to.

    Attributes:
        feed: Digest of the run that it was drawn for: configuration, problems, task, first weights.
        round_index: From 0.
        before: Digest of the header before, "" in the first.
        weights: Fingerprint of the policy in training when the round was drawn.
        draws: Problems asked at first and in each refill.
        staleness: Updates that the answering weights were behind those in training, 0 for the engine here.
        draw_seconds: Spent on answers (and on grading, as far as it was done meanwhile).
        grade_seconds: Waited for verdicts after the last answer.
        outcomes: Of the round's problems, in the order in which they were asked.
        num_answers: Lines that follow.
    """

    format: Literal[1] = 1
    feed: str
    round_index: int = Field(ge=0)
    before: str
    weights: str
    draws: tuple[int, ...]
    staleness: int = Field(ge=0)
    draw_seconds: float
    grade_seconds: float
    outcomes: tuple[Outcome, ...]
    num_answers: int


def _groups(answers: Sequence[Answer]) -> tuple[tuple[Answer, ...], ...]:
    return tuple(tuple(group) for _, group in groupby(answers, key=lambda answer: answer.problem_id))


@final
@dataclass(frozen=True)
class Round:
    """A round as the feed uses it.

    Attributes:
        header: Where it belongs.
        answers: In the order in which problems were asked, then of samples.
    """

    header: RoundHeader
    answers: tuple[Answer, ...]

    @cached_property
    def groups(self) -> tuple[tuple[Answer, ...], ...]:
        """The answers to each problem."""
        return _groups(self.answers)


def outcomes_of(answers: Sequence[Answer]) -> tuple[Outcome, ...]:
    """What each problem's answers earned; what a penalty took below 0, or part marks above 1, is not counted."""
    return tuple(
        Outcome(
            problem_id=group[0].problem_id,
            num_scored=sum(answer.reward is not None for answer in group),
            total=sum(min(1.0, max(0.0, answer.reward)) for answer in group if answer.reward is not None),
        )
        for group in _groups(answers)
    )


def round_path(directory: Path, round_index: int) -> Path:
    """Where a round is kept."""
    return directory / f"round-{round_index:05d}.jsonl"


def write_round(directory: Path, round_: Round) -> None:
    """Write a round, whole or not at all.

    Raises:
        StorageError: The directory cannot be written.
    """
    # Not the canonical form: writing that takes seconds for a round of a hundred thousand tokens.
    lines = (record.model_dump_json().encode() for record in (round_.header, *round_.answers))
    write_sealed_lines(round_path(directory, round_.header.round_index), lines)


def read_header(directory: Path, round_index: int, *, feed: str) -> RoundHeader:
    """Read a round's header back, and nothing else: its answers are not looked at.

    Args:
        directory: Of the rounds.
        round_index: Which.
        feed: Digest of the run that asks.

    Raises:
        IntegrityError: The file is missing, its header damaged, or it was drawn for another run.
    """
    path = round_path(directory, round_index)
    return _header(path, round_index, read_first_sealed_line(path), feed)


def read_round(directory: Path, round_index: int, *, feed: str) -> Round:
    """Read a round back.

    Args:
        directory: Of the rounds.
        round_index: Which.
        feed: Digest of the run that asks.

    Raises:
        IntegrityError: The file is missing, damaged, or was drawn for another run.
    """
    path = round_path(directory, round_index)
    lines = read_sealed_lines(path)
    header = _header(path, round_index, next(lines, b""), feed)
    return Round(header, tuple(Answer.model_validate_json(line) for line in lines))


def _header(path: Path, round_index: int, line: bytes, feed: str) -> RoundHeader:
    try:
        header = RoundHeader.model_validate_json(line)
    except ValidationError as error:
        raise IntegrityError(
            f"{path} was written by another version.", hint="Give this run a directory of its own."
        ) from error
    if header.feed != feed or header.round_index != round_index:
        raise IntegrityError(
            f"{path} belongs to another run: configuration, problems, task or starting model differ.",
            hint="Give this run a directory of its own, or delete the old one.",
        )
    return header
