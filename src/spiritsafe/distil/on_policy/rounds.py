"""One round of a student's answers as a file: whole or absent, and refused when it is damaged or another run's.

In: graded answers and where in the run they belong. Out: ``round-00000.jsonl``: a line with the digest of all that
follows, a header, then an answer a line; and the round's line of statistics for ``rounds.jsonl``.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import put_round, read_sealed_lines, write_sealed_lines
from spiritsafe.core.records import FinishReason, Record, Verdict
from spiritsafe.distil.on_policy.config import Cursor

ROUNDS_FILE = "rounds.jsonl"


@final
class Answer(Record):
    """One answer of the student.

    Attributes:
        token_ids: As drawn, the end token included when it was drawn.
        verdict: None when nobody graded it.
        weight: Of its document; 0 leaves it out.
        surprisal: Mean of -log q over its tokens, in nats, at the sampling temperature: over answers an estimate of
            the student's entropy.
    """

    problem_id: str
    sample_index: int = Field(ge=0)
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    verdict: Verdict | None
    weight: float = Field(ge=0.0)
    surprisal: float | None

    @property
    def is_kept(self) -> bool:
        """Whether there is something to learn from it."""
        return bool(self.token_ids) and self.weight > 0.0


@final
class RoundHeader(Record):
    """Where a round belongs.

    Attributes:
        feed: Digest of the run that it was drawn for: configuration, problems, off-policy documents, first weights.
        round_index: From 0.
        weights: Fingerprint of the student that answered.
        before: Documents served before this round.
        cap: Most tokens that an answer could have.
        seconds: Spent on answering and grading.
        num_answers: Lines that follow.
    """

    format: Literal[1] = 1
    feed: str
    round_index: int = Field(ge=0)
    weights: str
    before: Cursor
    cap: int
    seconds: float
    num_answers: int


@final
@dataclass(frozen=True, kw_only=True)
class Round:
    """A round as the feed uses it.

    Attributes:
        header: Where it belongs.
        answers: In order of prompt, then of sample.
    """

    header: RoundHeader
    answers: tuple[Answer, ...]

    @property
    def kept(self) -> list[Answer]:
        """The answers that become documents."""
        return [answer for answer in self.answers if answer.is_kept]


def round_path(directory: Path, round_index: int) -> Path:
    """Where a round is kept."""
    return directory / f"round-{round_index:05d}.jsonl"


def write_round(
    directory: Path,
    answers: tuple[Answer, ...],
    *,
    feed: str,
    round_index: int,
    weights: str,
    before: Cursor,
    cap: int,
    seconds: float,
) -> Round:
    """Write a round, whole or not at all.

    Raises:
        StorageError: The directory cannot be written.
    """
    header = RoundHeader(
        feed=feed,
        round_index=round_index,
        weights=weights,
        before=before,
        cap=cap,
        seconds=round(seconds, 3),
        num_answers=len(answers),
    )
    lines = (record.canonical() for record in (header, *answers))
    write_sealed_lines(round_path(directory, round_index), lines)
    return Round(header=header, answers=answers)


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
    header = RoundHeader.from_json(json.loads(next(lines, b"null")))
    if header.feed != feed or header.round_index != round_index:
        raise IntegrityError(
            f"{path} belongs to another run: configuration, problems, documents or starting model differ.",
            hint="Give this run a directory of its own, or delete the old one.",
        )
    return Round(header=header, answers=tuple(Answer.from_json(json.loads(line)) for line in lines))


def record_round(directory: Path, round_: Round, *, num_off: int, num_fallback: int) -> dict[str, Any] | None:
    """Put the round's statistics into ``rounds.jsonl``.

    Rounds after it are dropped from the file (a resumed run will come to them again).

    Returns:
        The line, or None when the file already has it.

    Raises:
        StorageError: The file cannot be written.
        SourceError: It is damaged.
    """
    row = _statistics(round_) | {"num_off_policy": num_off, "num_fallback": num_fallback}
    return row if put_round(directory / ROUNDS_FILE, row) else None


def _statistics(round_: Round) -> dict[str, Any]:
    answers, header = round_.answers, round_.header
    status = Counter(answer.verdict.status for answer in answers if answer.verdict)
    num_scored = status.total() - status["unscored"]
    lengths = [len(answer.token_ids) for answer in answers]
    surprisals = [(answer.surprisal, len(answer.token_ids)) for answer in answers if answer.surprisal is not None]
    num_surprising = sum(length for _, length in surprisals)
    return {
        "round": header.round_index,
        "num_answers": len(answers),
        "num_kept": len(round_.kept),
        "num_failed": sum(not length for length in lengths),
        "num_truncated": sum(answer.finish_reason == "length" for answer in answers),
        "cap": header.cap,
        "mean_tokens": sum(lengths) / len(lengths),
        "share_correct": status["correct"] / num_scored if num_scored else None,
        "num_unparsed": status["unparsed"],
        "num_unscored": status["unscored"],
        "mean_surprisal": sum(s * n for s, n in surprisals) / num_surprising if num_surprising else None,
        "seconds": header.seconds,
    }
