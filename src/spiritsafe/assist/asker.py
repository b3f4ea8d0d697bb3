"""A model that is asked one question after the other.

In: questions. Out: answers without thoughts, and what they took, in tokens and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Message, Prompt, Record, Sampling
from spiritsafe.core.text.thoughts import split


@final
class AskingCost(Record):
    """What questions took.

    Attributes:
        questions: How many.
        tokens_in: Of the questions, as far as the model's server tells.
        tokens_out: Of the answers, thoughts included.
        seconds: From questions to answers.
        unanswered: Questions that failed: asked another time, they may not.
    """

    questions: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    unanswered: int = 0

    def __add__(self, other: AskingCost) -> AskingCost:
        return AskingCost(
            questions=self.questions + other.questions,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            seconds=round(self.seconds + other.seconds, 3),
            unanswered=self.unanswered + other.unanswered,
        )


@final
@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """An answer.

    Attributes:
        text: Behind the thoughts; what is no Unicode is replaced. Whoever wrote it may have written anything.
        error: Why there is none; "": there is one.
        is_cut: It has no end.
        cost: What it took.
    """

    text: str
    error: str
    is_cut: bool
    cost: AskingCost


@final
class Asker:
    """Asks one model.

    Args:
        generator: The model; whoever opened it closes it.
        sampling: How its answers are drawn.
        seed: Of the draws; each question has its own.
    """

    def __init__(self, generator: Generator, sampling: Sampling, *, seed: int = 0) -> None:
        self._generator, self._sampling, self._seed = generator, sampling, seed

    def ask(self, name: str, question: str) -> ModelAnswer:
        """One question.

        Args:
            name: Of the question; the same one with another name is drawn anew.
            question: What is asked.

        Raises:
            EndpointError: The model cannot be asked at all.
        """
        prompt = Prompt(problem_id=name, messages=(Message(role="user", content=question),), seed=self._seed)
        (attempt,) = self._generator.generate([prompt], self._sampling)
        cost = AskingCost(
            questions=1,
            tokens_in=attempt.num_prompt_tokens,
            tokens_out=attempt.num_tokens,
            seconds=round(attempt.seconds, 3),
            unanswered=int(attempt.finish_reason == "error"),
        )
        text = split(attempt.text).answer.encode("utf-8", "replace").decode("utf-8")
        error = attempt.error or "" if attempt.finish_reason == "error" else ""
        if attempt.finish_reason in ("error", "refused"):
            error, text = error or "it gave no answer", ""
        return ModelAnswer(text=text, error=error, is_cut=attempt.finish_reason == "length", cost=cost)
