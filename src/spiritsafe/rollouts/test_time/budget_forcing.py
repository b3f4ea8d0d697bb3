r"""Budget forcing: a Generator that thinks as long as it is told (s1, arXiv 2501.19393, §3.1).

In: any Generator that goes on after a given beginning (:class:`~spiritsafe.core.records.Prompt` ``prefix``), and a
:class:`BudgetForcing`. Out: Attempts whose text holds what was drawn and what was put in. Thinking that reaches its cap
is ended for the model, and "Final answer:" put in; the model answers. A model that would end its thinking early gets
"Wait" put in instead, a given number of times. Models that mark their thinking end it with ``</think>``; with
``think_end=""`` the whole turn is the thinking, and ending the turn ends it.

Each stretch is drawn from seeds of its own, the first from the prompt's, so that forced and unforced attempts begin
alike and attempts under several caps can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import EndpointError, RecipeError
from spiritsafe.core.generator import Generator, GeneratorInfo, Located
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, FinishReason, Message, Prompt, Record, Sampling
from spiritsafe.core.seeds import derive_seed


@final
class BudgetForcing(Record):
    """How thinking is bounded from above and from below.

    Attributes:
        cap: Most tokens of thinking, over all its stretches; the rest of the sampling's ``max_tokens`` is for the
            answer.
        num_waits: How often an early end is replaced by ``wait``.
        think_end: What ends thinking in this model's turns; "" for models that do not mark it.
        wait: Put in where thinking would have ended.
        final: Put in behind ``think_end`` at the cap.
    """

    cap: int = Field(ge=1)
    num_waits: int = Field(default=0, ge=0)
    think_end: str = "</think>"
    wait: str = "\nWait"
    final: str = "\nFinal answer:"


@final
@dataclass(kw_only=True)
class _Turn:
    """One attempt on its way."""

    prompt: Prompt
    sample_index: int
    phase: Literal["think", "answer", "done"] = "think"
    text: str = ""
    num_stretches: int = 0
    num_waits: int = 0
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    seconds: float = 0.0
    logprobs: tuple[float, ...] | None = ()
    finish_reason: FinishReason = "stop"
    error: str | None = None

    def ask(self, max_tokens: int) -> Prompt:
        """The prompt of the next stretch."""
        seed = self.prompt.seed
        if self.num_stretches:
            seed = derive_seed(seed, "budget forcing", self.num_stretches)
        return Prompt(
            problem_id=self.prompt.problem_id,
            messages=self.prompt.messages,
            first_sample=self.sample_index,
            seed=seed,
            prefix=self.prompt.prefix + self.text,
            max_tokens=max_tokens,
        )

    def add(self, attempt: Attempt) -> None:
        """Take a stretch."""
        if not self.num_stretches:
            self.num_prompt_tokens = attempt.num_prompt_tokens
        self.num_stretches += 1
        self.text += attempt.text
        self.num_tokens += attempt.num_tokens
        self.seconds += attempt.seconds
        self.finish_reason, self.error = attempt.finish_reason, attempt.error
        if self.logprobs is not None and len(attempt.logprobs) == attempt.num_tokens:
            self.logprobs += attempt.logprobs
        else:
            self.logprobs = None


def _mended(text: str, think_end: str) -> str:
    """A text that was cut at a token, without what is left of a character or of the mark that was being written."""
    text = text.rstrip("\ufffd")
    begun = next((size for size in range(len(think_end) - 1, 0, -1) if text.endswith(think_end[:size])), 0)
    return text[: len(text) - begun]


def _attempt(turn: _Turn, model: str, sampling: Sampling) -> Attempt:
    return Attempt(
        problem_id=turn.prompt.problem_id,
        sample_index=turn.sample_index,
        model=model,
        sampling=sampling,
        seed=turn.prompt.seed,
        text=turn.text,
        finish_reason=turn.finish_reason,
        logprobs=turn.logprobs or (),
        num_prompt_tokens=turn.num_prompt_tokens,
        num_tokens=turn.num_tokens,
        seconds=turn.seconds,
        error=turn.error,
    )


@final
class BudgetForcedGenerator:
    """Another Generator under a budget.

    Its attempts hold no token ids, because the ids of what was drawn without those of what was put in are no
    completion; ``num_tokens`` and ``logprobs`` are those of drawn tokens.

    Args:
        inner: Goes on after a given beginning.
        forcing: The budget; part of the digest, so that no collection mixes two.
    """

    def __init__(self, inner: Generator, forcing: BudgetForcing) -> None:
        self._inner = inner
        self._forcing = forcing

    def describe(self) -> GeneratorInfo:
        """The inner Generator's name and kind with the budget's."""
        info, forcing = self._inner.describe(), self._forcing
        return GeneratorInfo(
            name=f"{info.name}, thinking ≤ {forcing.cap}, {forcing.num_waits} × Wait",
            digest=digest({"generator": info.digest, "budget forcing": forcing.to_json()}),
            kind=info.kind,
            has_logprobs=info.has_logprobs,
        )

    def platform(self) -> Platform | None:
        """As the inner Generator says."""
        return self._inner.platform() if isinstance(self._inner, Located) else None

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw every sample, stretch by stretch; all open ones of a phase are asked in one call.

        Raises:
            RecipeError: The cap leaves no token for the answer.
            CompatibilityError: The inner Generator cannot go on after a given beginning.
            EndpointError: The inner Generator is unusable.
        """
        for prompt in prompts:
            if self._forcing.cap >= (limit := prompt.token_limit(sampling)):
                raise RecipeError(
                    f"Thinking may have {self._forcing.cap} tokens and the whole attempt {limit}.",
                    hint="Give max_tokens above the cap, so that an answer fits behind the thinking.",
                )
        model = self.describe().digest
        turns = [
            _Turn(prompt=prompt, sample_index=index)
            for prompt in prompts
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples)
        ]
        while turns:
            for phase in ("think", "answer"):
                self._stretch([turn for turn in turns if turn.phase == phase], sampling)
            for turn in turns:
                if turn.phase == "done":
                    yield _attempt(turn, model, sampling)
            turns = [turn for turn in turns if turn.phase != "done"]

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """As the inner Generator.

        Raises:
            CompatibilityError: The inner Generator cannot score.
        """
        return self._inner.score(conversations, completions)

    def close(self) -> None:
        """Close the inner Generator."""
        self._inner.close()

    def _stretch(self, turns: Sequence[_Turn], sampling: Sampling) -> None:
        """Draw one stretch of some turns, all of one phase, and decide what follows each."""
        if not turns:
            return
        thinking = turns[0].phase == "think"
        stop = (self._forcing.think_end,) if thinking and self._forcing.think_end else sampling.stop
        waiting = {(turn.prompt.problem_id, turn.sample_index): turn for turn in turns}
        asked = [turn.ask(self._room(turn, sampling)) for turn in turns]
        for attempt in self._inner.generate(asked, sampling.model_copy(update={"stop": stop})):
            turn = waiting.pop((attempt.problem_id, attempt.sample_index), None)
            if turn is None:
                raise EndpointError(
                    f"The generator gave an attempt at {attempt.problem_id}, sample {attempt.sample_index}, that was "
                    "not asked for.",
                    hint="Report this to the generator's author.",
                )
            room = self._room(turn, sampling)
            turn.add(attempt)
            self._go_on(turn, ran_out=attempt.finish_reason == "length", fell_short=attempt.num_tokens < room)
            if self._room(turn, sampling) < 1:  # a source that does not keep to its limit leaves nothing to ask for
                turn.phase = "done"
        if waiting:
            raise EndpointError(
                f"The generator ended with {len(waiting)} attempts missing.",
                hint="Report this to the generator's author.",
            )

    def _room(self, turn: _Turn, sampling: Sampling) -> int:
        whole = self._forcing.cap if turn.phase == "think" else turn.prompt.token_limit(sampling)
        return whole - turn.num_tokens

    def _go_on(self, turn: _Turn, *, ran_out: bool, fell_short: bool) -> None:
        """What follows a stretch.

        Args:
            turn: With the stretch in it.
            ran_out: It ended by running out of tokens.
            fell_short: It has fewer tokens than it was allowed.
        """
        forcing = self._forcing
        context_is_full = ran_out and fell_short
        if turn.phase == "answer" or turn.finish_reason in ("refused", "error") or context_is_full:
            turn.phase = "done"
        elif ran_out:
            turn.text = _mended(turn.text, forcing.think_end) + forcing.think_end + forcing.final
            turn.phase = "answer"
        elif turn.num_waits < forcing.num_waits and turn.num_tokens < forcing.cap:
            turn.num_waits += 1
            turn.text += forcing.wait
        else:
            turn.phase = self._ended(turn)

    def _ended(self, turn: _Turn) -> Literal["answer", "done"]:
        """The model ended its thinking: it answers in its own way, or has done so already."""
        if not self._forcing.think_end:
            return "done"
        turn.text += self._forcing.think_end
        return "answer"
