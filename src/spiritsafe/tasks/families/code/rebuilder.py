"""A model that writes a program from an explanation, for verdicts on the explanation.

In: a question. Out: the model's answer, drawn greedily, each question asked once in a process. A model that does not
answer is an error: nothing is known then of the explanation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from typing import final

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import Generator, generator_at
from spiritsafe.core.records import Message, Prompt, Sampling

_KEPT = 4096
"""Answers in memory: without an explanation, all answers to a problem ask the same."""


@final
class Rebuilder:
    """A model at an address; safe from any thread. It is opened for each question.

    Args:
        address: See :func:`spiritsafe.core.generator.generator_at`.
        model: Its name there.
        max_tokens: Of an answer.
        api_key_env: Name of the variable that holds a key.
        opened: Makes the Generator; left out, the address does.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        max_tokens: int,
        api_key_env: str | None = None,
        opened: Callable[[], Generator] | None = None,
    ) -> None:
        self._open = opened or (lambda: generator_at(address, model, api_key_env))
        self._sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
        self.answer = lru_cache(maxsize=_KEPT)(self._answer)

    def _answer(self, question: str) -> str:
        """Its answer; "" where it refuses, or its answer has no end.

        Raises:
            EndpointError: It does not answer.
            RecipeError: There is no such model.
        """
        prompt = Prompt(problem_id=digest(question), messages=(Message(role="user", content=question),))
        with closing(self._open()) as generator:  # nobody could say later when it is asked no more
            (attempt,) = generator.generate([prompt], self._sampling)
            name = generator.describe().name
        if attempt.finish_reason == "error":
            raise EndpointError(f"{name} does not answer.", hint="Look at its server, and run this again.")
        return attempt.text if attempt.finish_reason == "stop" else ""
