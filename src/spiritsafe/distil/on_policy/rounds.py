"""One round of a student's answers, and what its statistics say.

In: graded answers and where in the run they belong. Out: rounds as :mod:`spiritsafe.training.data.rounds` keeps them,
and the round's line of statistics for ``rounds.jsonl``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, final

from pydantic import Field

from spiritsafe.core.files.checked_lines import put_round
from spiritsafe.core.records import FinishReason, Record, Verdict
from spiritsafe.distil.on_policy.config import Cursor
from spiritsafe.training import ROUNDS_FILE, Round, RoundFormat, RoundHeader


@final
class OwnAnswer(Record):
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
class OwnHeader(RoundHeader):
    """Where a round belongs.

    Attributes:
        before: Documents served before this round.
        cap: Most tokens that an answer could have.
        seconds: Spent on answering and grading.
        num_answers: Lines that follow.
    """

    before: Cursor
    cap: int
    seconds: float
    num_answers: int


@final
class OwnRound(Round[OwnHeader, OwnAnswer]):
    """A round; its answers in order of prompt, then of sample."""

    @property
    def kept(self) -> list[OwnAnswer]:
        """The answers that become documents."""
        return [answer for answer in self.answers if answer.is_kept]


OWN_ROUNDS = RoundFormat(
    make=OwnRound,
    header=OwnHeader,
    answer=OwnAnswer,
    encode=Record.canonical,
    decided_by="configuration, problems, documents or starting model",
)


def record_round(directory: Path, round_: OwnRound, *, num_off: int, num_fallback: int) -> dict[str, Any] | None:
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


def _statistics(round_: OwnRound) -> dict[str, Any]:
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
