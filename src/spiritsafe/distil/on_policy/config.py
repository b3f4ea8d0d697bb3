"""How a student learns from its own answers: how many, how long, how they are weighted, what is mixed in.

In: an :class:`OnPolicyConfig`. Out: for each round its cap on tokens, for each answer its weight, and how many
documents of which kind a step holds. All of it is arithmetic on the configuration; nothing here samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from spiritsafe.core.records import FinishReason, Record, Sampling, Verdict
from spiritsafe.core.seeds import derive_seed


@final
class VerdictWeights(Record):
    """Weight of an answer's document by what the verifier said; 0 leaves it out.

    All 1, the default, is plain on-policy distillation, where the verifier only counts. ``correct=0`` distils on
    failures alone: arXiv 2605.10889 (abstract) finds that "distillation guidance exhibits substantially higher
    alignment with the ideal on incorrect rollouts than on correct ones".

    Attributes:
        correct: Of answers that the verifier accepts.
        wrong: Of answers that it does not.
        unparsed: Of answers in which it finds no claim.
        unscored: Of answers that it could not judge.
        truncated: Of answers that ran into the cap or ``max_tokens``, whatever their verdict: half an answer is
            neither right nor wrong, and learning from prefixes is what a cap is for.
    """

    correct: float = Field(default=1.0, ge=0.0)
    wrong: float = Field(default=1.0, ge=0.0)
    unparsed: float = Field(default=1.0, ge=0.0)
    unscored: float = Field(default=1.0, ge=0.0)
    truncated: float = Field(default=1.0, ge=0.0)

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if not any(self.to_json().values()):
            raise ValueError("all weights are 0, so no answer would ever be learnt from")
        return self

    @property
    def drops_some(self) -> bool:
        """Whether a round may lose answers."""
        return not all(self.to_json().values())

    def of(self, verdict: Verdict | None, finish_reason: FinishReason) -> float:
        """The weight of one answer; without a verdict it is 1."""
        if verdict is None:
            return 1.0
        if finish_reason == "length":
            return self.truncated
        return {
            "correct": self.correct,
            "wrong": self.wrong,
            "unparsed": self.unparsed,
            "unscored": self.unscored,
        }[verdict.status]


@final
class OnPolicyConfig(Record):
    """How often and how the student answers, and what its answers are mixed with.

    Attributes:
        prompts_per_round: Problems answered each round.
        samples_per_prompt: Answers to each.
        steps_per_round: Updates that one round's answers feed, spread evenly; each answer is used once.
        num_rounds: Rounds of the run.
        share: Of the documents of each step, those that the student has just written; the rest are off-policy. Over
            the run the share is exact to one document.
        sampling: How answers are drawn. Temperature 1 without truncation draws from the student itself.
        cap_start: Most tokens of an answer in the first round; the cap then grows linearly to
            ``sampling.max_tokens``. What lies beyond the cap is not drawn at all. None: no cap.
        cap_share: Share of the rounds after which the cap is full.
        weights: By verdict.
        seed: Root of all draws.
    """

    prompts_per_round: int = Field(ge=1)
    samples_per_prompt: int = Field(default=1, ge=1)
    steps_per_round: int = Field(ge=1)
    num_rounds: int = Field(ge=1)
    share: float = Field(default=0.75, gt=0.0, le=1.0)
    sampling: Sampling = Field(default_factory=Sampling)
    cap_start: int | None = Field(default=None, ge=1)
    cap_share: float = Field(default=1.0, gt=0.0, le=1.0)
    weights: VerdictWeights = Field(default_factory=VerdictWeights)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _options_can_take_effect(self) -> Self:
        if self.steps_per_round > self.num_drawn:
            raise ValueError(
                f"{self.num_drawn} answers cannot feed {self.steps_per_round} steps; "
                "lower steps_per_round, or raise prompts_per_round"
            )
        if self.sampling.temperature == 0.0 and self.samples_per_prompt > 1:
            raise ValueError("at temperature 0 all samples of a prompt are equal; set samples_per_prompt to 1")
        if self.cap_start is None:
            if self.cap_share != 1.0:
                raise ValueError("cap_share without cap_start has no effect; give both or neither")
        elif self.cap_start >= self.sampling.max_tokens or self.num_rounds < 2:
            raise ValueError(
                "cap_start must be below sampling.max_tokens, and num_rounds at least 2, for a cap to grow"
            )
        return self

    @property
    def num_drawn(self) -> int:
        """Answers of a round."""
        return self.prompts_per_round * self.samples_per_prompt

    @property
    def num_steps(self) -> int:
        """Updates of the run."""
        return self.num_rounds * self.steps_per_round

    def cap_of(self, round_index: int) -> int:
        """Most tokens of an answer in a round (from 0)."""
        full = self.sampling.max_tokens
        if self.cap_start is None:
            return full
        rounds_of_growth = max(1, round(self.cap_share * (self.num_rounds - 1)))
        return min(full, self.cap_start + (full - self.cap_start) * round_index // rounds_of_growth)

    def sampling_of(self, round_index: int) -> Sampling:
        """How a round draws."""
        return self.sampling.model_copy(update={"max_tokens": self.cap_of(round_index)})


@final
class Cursor(Record):
    """Documents served before a point of the run.

    Attributes:
        num_own: The student's own.
        num_off: Off-policy ones, fallbacks included.
    """

    num_own: int = Field(default=0, ge=0)
    num_off: int = Field(default=0, ge=0)


@final
@dataclass(frozen=True, kw_only=True)
class StepMix:
    """What one step is made of.

    Attributes:
        first_own: The first of the round's kept answers that this step uses.
        num_own: How many of them.
        first_off: The first off-policy document, counted over the run.
        num_off: How many of them.
        num_fallback: Those of them that stand in for a step without answers.
    """

    first_own: int
    num_own: int
    first_off: int
    num_off: int
    num_fallback: int = 0


def mix_of_round(config: OnPolicyConfig, num_kept: int, before: Cursor) -> tuple[tuple[StepMix, ...], Cursor]:
    """Divide a round's kept answers over its steps and add the off-policy documents that are due.

    After each step, the off-policy documents served so far are ``num_own · (1 - share) / share``, rounded; so the
    share is exact over the run, and a fallback is made up for by later steps. A step left without answers and without
    a due document falls back to as many off-policy documents as a step has answers when none is dropped.

    Args:
        config: Share and steps.
        num_kept: Answers of the round that are neither empty nor weightless.
        before: Where the round starts.

    Returns:
        One :class:`StepMix` a step, and where the next round starts.
    """
    ratio = (1 - Fraction(repr(config.share))) / Fraction(repr(config.share))
    cursor, steps = before, []
    for step in range(config.steps_per_round):
        first = num_kept * step // config.steps_per_round
        num_own = num_kept * (step + 1) // config.steps_per_round - first
        total_own = cursor.num_own + num_own
        num_off = max(0, int(total_own * ratio + Fraction(1, 2)) - cursor.num_off)
        fallback = 0
        if not num_own + num_off:
            num_off = fallback = max(1, round(config.num_drawn / config.steps_per_round))
        steps.append(
            StepMix(first_own=first, num_own=num_own, first_off=cursor.num_off, num_off=num_off, num_fallback=fallback)
        )
        cursor = Cursor(num_own=total_own, num_off=cursor.num_off + num_off)
    return tuple(steps), cursor


def endless_shuffle(size: int, *, first: int, count: int, seed: Sequence[int | str]) -> list[int]:
    """Places ``first`` to ``first + count`` of an endless list of shuffles of ``range(size)``, one after the other."""
    out: list[int] = []
    epoch, offset = divmod(first, size)
    while len(out) < count:
        out.extend(_shuffle(size, (*seed, epoch))[offset : offset + count - len(out)].tolist())
        epoch, offset = epoch + 1, 0
    return out


@lru_cache(maxsize=4)
def _shuffle(size: int, seed: tuple[int | str, ...]) -> NDArray[np.uint32]:
    """One of the shuffles; kept, for the next step takes the places behind."""
    order = list(range(size))
    Random(derive_seed(*seed)).shuffle(order)
    return np.array(order, dtype=np.uint32)
