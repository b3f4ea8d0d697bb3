"""A Generator without a model: what it answers is a function, a table, or a chosen share of right answers.

In: an answer for each ``(problem_id, sample_index)``. Out: Attempts, the same ones every time. Exams, collection and
reports are tested with it, and a recipe can be tried end to end before any weights are fetched. Its language model is
the uniform one over the 256 bytes and an end token, so lengths and logprobs are consistent without being clever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, final

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, FinishReason, Message, Prompt, Sampling
from spiritsafe.core.seeds import SEED_BITS, derive_seed

_END_TOKEN = 256
_TOKEN_LOGPROB = -math.log(257.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReply:
    """An answer that does not end by itself: refused, cut off, or failed."""

    text: str = ""
    finish_reason: FinishReason = "stop"
    error: str | None = None


@final
class FakeGenerator:
    """Answers from a function; deterministic.

    Args:
        answer: ``(problem_id, sample_index)`` to a text, or to a :class:`FakeReply` when the end matters.
        name: What it calls itself; part of its digest.
        kind: "local" or "remote", for those who test what depends on it.
    """

    def __init__(
        self, answer: Callable[[str, int], str | FakeReply], *, name: str = "fake", kind: str = "local"
    ) -> None:
        self._answer = answer
        self._info = GeneratorInfo(
            name=name, digest=digest({"fake": name}), kind=kind, has_token_ids=True, has_logprobs=True
        )

    @classmethod
    def from_table(
        cls, table: Mapping[str, str | Sequence[str]], *, default: str = "", name: str = "fake", kind: str = "local"
    ) -> Self:
        """Answers from a table: one text for all samples of a problem, or one text a sample (used in turn).

        Args:
            table: Problem id to text or texts.
            default: The answer to problems that the table does not hold.
            name: What it calls itself.
            kind: "local" or "remote".
        """

        def answer(problem_id: str, sample_index: int) -> str:
            entry = table.get(problem_id, default)
            return entry if isinstance(entry, str) else entry[sample_index % len(entry)]

        return cls(answer, name=name, kind=kind)

    @classmethod
    def share_correct(
        cls,
        golds: Mapping[str, str],
        share: float,
        *,
        seed: int = 0,
        wrong: str = "I do not know.",
        name: str = "fake",
        kind: str = "local",
    ) -> Self:
        """Right with probability ``share``, independently for each sample, decided by the seed.

        Args:
            golds: Problem id to a text that the verifier accepts.
            share: Probability of the right text, in [0, 1].
            seed: Another seed is another student of the same strength.
            wrong: The text given otherwise, and to problems without a gold text.
            name: What it calls itself.
            kind: "local" or "remote".

        Raises:
            RecipeError: ``share`` is not a probability.
        """
        if not 0.0 <= share <= 1.0:
            raise RecipeError(f"share is {share}, which is no probability.", hint="Give a number from 0 to 1.")

        def answer(problem_id: str, sample_index: int) -> str:
            draw = derive_seed(seed, "fake", problem_id, sample_index) / 2**SEED_BITS
            return golds.get(problem_id, wrong) if draw < share else wrong

        return cls(answer, name=name, kind=kind)

    def describe(self) -> GeneratorInfo:
        """Name, digest of the name, kind."""
        return self._info

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Answer each sample of each prompt, in order; ``max_tokens`` and ``stop`` are honoured.

        Raises:
            CompatibilityError: A prompt has a ``prefix``: a function of the problem cannot go on after a given text.
        """
        for prompt in prompts:
            if prompt.prefix:
                raise CompatibilityError(
                    "A fake cannot continue an answer that is begun.", hint="Use local weights, or no prefix."
                )
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                given = self._answer(prompt.problem_id, index)
                reply = FakeReply(text=given) if isinstance(given, str) else given
                yield self._attempt(prompt, index, sampling, reply)

    def _attempt(self, prompt: Prompt, index: int, sampling: Sampling, reply: FakeReply) -> Attempt:
        text, finish = reply.text, reply.finish_reason
        if stops := [at for stop in sampling.stop if stop and (at := text.find(stop)) >= 0]:
            text = text[: min(stops)]
        tokens = [*text.encode("utf-8"), *([_END_TOKEN] if finish == "stop" else [])]
        if len(tokens) > (limit := prompt.token_limit(sampling)):
            tokens, finish = tokens[:limit], "length"
            text = bytes(tokens).decode("utf-8", errors="ignore")
        return Attempt(
            problem_id=prompt.problem_id,
            sample_index=index,
            model=self._info.digest,
            sampling=sampling,
            seed=prompt.seed,
            text=text,
            finish_reason=finish,
            token_ids=tuple(tokens),
            logprobs=(_TOKEN_LOGPROB,) * len(tokens),
            num_prompt_tokens=sum(len(message.content.encode("utf-8")) for message in prompt.messages),
            num_tokens=len(tokens),
            error=reply.error or ("the fake was told to fail" if finish == "error" else None),
        )

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Uniform log-probabilities, one for each byte of each completion."""
        return [(_TOKEN_LOGPROB,) * len(completion.encode("utf-8")) for completion in completions]

    def close(self) -> None:
        """Nothing is held."""
