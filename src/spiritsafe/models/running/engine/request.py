"""What a session of the engine is asked for and what a step of it gives back: tokens, not texts.

In and out: see :class:`SequenceRequest` and :class:`Drawn`. Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

from torch import Tensor


class TokenMask(Protocol):
    """Which tokens may come next: a grammar in one of its states."""

    def allowed(self) -> Tensor:
        """Bool ``[V]`` on the CPU; at least one is True."""
        ...

    def accept(self, token_id: int) -> None:
        """Go on behind a drawn token."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class SequenceRequest:
    """One sequence to be drawn.

    Attributes:
        prompt_ids: At least one token.
        max_tokens: Most tokens to draw, at least 1; prompt and they fit the context.
        seed: Its draws are counted from it alone.
        end_ids: Tokens that end it; the one drawn is the last that is given back.
        bias: Added to logits before anything else.
        presence_penalty: Taken from the logits of tokens drawn before.
        frequency_penalty: The same for each time they were drawn.
        repetition_penalty: Divides positive and multiplies negative logits of tokens of prompt and draw.
        mask: Excludes tokens before top-k; log-probabilities are those without it.
        top_logprobs: How many likeliest tokens are told at each place.
        cache_key: The prompt's keys and values may be kept for later prompts of the same key; None: they are not.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    end_ids: frozenset[int] = frozenset()
    bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    mask: TokenMask | None = None
    top_logprobs: int = 0
    cache_key: str | None = None


@final
@dataclass(frozen=True)
class Drawn:
    """What a step drew for one sequence.

    Attributes:
        handle: Which :meth:`~spiritsafe.models.running.engine.session.EngineSession.submit` gave.
        token_ids: One or more.
        logprobs: Theirs.
        top: For each the likeliest tokens with their log-probabilities, likeliest first; empty when none were asked.
        end: Why it was the last; its slot is free. "error": ``token_ids`` is empty and ``message`` says why.
        num_cached: With the first tokens: how many of the prompt's were not computed anew.
    """

    handle: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    end: Literal["stop", "length", "error"] | None = None
    message: str = ""
    num_cached: int = 0


class Session(Protocol):
    """Sequences that come and go at any time, drawn together a step at a time."""

    def submit(self, request: SequenceRequest) -> int:
        """Queue a sequence; returns its handle."""
        ...

    def cancel(self, handle: int) -> None:
        """Forget a sequence; its slot is free at the next step. One that has ended is no error."""
        ...

    def step(self) -> list[Drawn]:
        """Admit what there is room for and draw at least one token for each sequence in a slot."""
        ...

    @property
    def num_busy(self) -> int:
        """Sequences in slots."""
        ...

    @property
    def num_waiting(self) -> int:
        """Sequences in the queue."""
        ...

    def score(self, token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        """Log-probabilities, at temperature 1, of a prompt's own tokens from the second on, part by part.

        One prompt at a time; other sequences may be drawn between its parts.
        """
        ...
