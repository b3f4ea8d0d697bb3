"""What turns slots of tokens into one more token each.

In: prompts for slots, then steps over slots 0..n-1. Out: drawn tokens and log-probabilities, on the device until the
session reads them. See :mod:`spiritsafe.models.running.engine.cached_runner` for the Decoder,
:mod:`spiritsafe.models.running.engine.plain_runner` for any other model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from spiritsafe.core.errors import ProcedureError
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, DecodeState, Extras, SlotReading

PREFILL_TOKENS = 8192
"""Of prompts that are computed between two steps, where nobody waits for single tokens."""
_PART_FLOPS = 4e10
"""Of a prompt's part, for each thread: half a second for a slow core."""
_ATTENTION_COST = 2.0
"""Of its operations, against those of the weights' products."""
_PART_STEP = 16


@final
@dataclass(frozen=True)
class PrefillWork:
    """What a prompt's tokens cost on a CPU.

    Attributes:
        token_flops: Of a token's products with weights.
        past_flops: Of a token's attention, for each token before it, in what products of that number cost.
        threads: That share the work.
    """

    token_flops: float
    past_flops: float
    threads: int

    @classmethod
    def of(cls, config: DecoderConfig, threads: int) -> PrefillWork:
        """That of a model."""
        attention = 4 * config.num_layers * config.num_heads * config.head_dim
        return cls(2.0 * config.num_parameters, _ATTENTION_COST * attention, threads)

    def part_tokens(self, past: int) -> int:
        """How many tokens behind so many others take about half a second: the same on each machine of so many threads.

        What it depends on is known beforehand, so that a prompt is cut alike, and comes out alike, each time.
        """
        tokens = self.threads * _PART_FLOPS / (self.token_flops + past * self.past_flops)
        return min(PREFILL_TOKENS, max(1, int(tokens) // _PART_STEP) * _PART_STEP)


class Runner(ABC):
    """Slots 0..B-1, of which the session keeps the first n busy."""

    state: DecodeState
    steps_per_look = 1
    """How many steps are worth taking before what they drew is read."""
    can_draft = False
    """Whether :meth:`advance_drafts` is there."""

    @abstractmethod
    def begin(self, num_slots: int, num_positions: int, *, same_weights: bool = False) -> None:
        """Make ready: the weights stay as they are now until :meth:`end`; so many slots of so many positions.

        Args:
            same_weights: They are those of the last time, so what was kept of them holds.
        """

    def end(self) -> None:  # noqa: B027  # nothing to do for most
        """The weights may change again; nothing that was computed is kept."""

    def reserve(self, num_positions: int, lengths: Sequence[int]) -> None:  # noqa: B027  # nothing to do for most
        """Make slots longer while sequences are in them.

        Args:
            lengths: Positions that slots 0..n-1 hold; the others hold nothing.
        """

    def most_slots(self, num_positions: int) -> int | None:
        """How many slots of that length there is memory for; None: it takes memory only as it is needed."""
        return None

    def held_tokens(self) -> int | None:
        """Most tokens that all sequences together may have in memory; None: any number."""
        return None

    def known(self, prompt_ids: tuple[int, ...], cache_key: str | None) -> int:
        """How many of a prompt's tokens need not be computed."""
        return 0

    def prefill_tokens(self, past: int) -> int:
        """How many tokens of a prompt, behind so many, take a fraction of a second."""
        return PREFILL_TOKENS

    @abstractmethod
    def admit(self, admissions: Sequence[Admission]) -> list[int]:
        """Put sequences into slots; returns how many tokens of each were known before."""

    def stage(self, prompt_ids: tuple[int, ...], cache_key: str | None, start: int, end: int) -> int:
        """Compute a part of a long prompt beside the slots, one prompt at a time.

        Args:
            start: 0 begins another prompt.

        Returns:
            Up to where it is computed now.
        """
        return end

    @abstractmethod
    def move(self, source: int, target: int, num_positions: int) -> None:
        """Move the sequence in one slot, now ``num_positions`` tokens long, to another."""

    def free(self, slot: int, num_positions: int, *, wipe: bool = False) -> None:  # noqa: B027  # nothing to do for most
        """A slot that held so many positions holds nothing any more.

        Args:
            wipe: What it held were no numbers.
        """

    @abstractmethod
    def advance(self, lengths: Sequence[int], num_steps: int, extras: Extras = NO_EXTRAS) -> None:
        """Draw ``num_steps`` tokens in each of slots 0..n-1; before them they hold ``lengths`` positions.

        With extras ``num_steps`` is 1.
        """

    @abstractmethod
    def logits(self, prompt_ids: tuple[int, ...]) -> Iterator[Tensor]:
        """float32 logits ``[rows, V]`` behind each of a prompt's tokens, some rows at a time; no slot changes.

        One prompt at a time; slots may be filled and drawn in between.
        """

    def advance_drafts(self, lengths: Sequence[int], drafts: Sequence[Sequence[int]]) -> list[SlotReading]:
        """Where ``can_draft``: draw the next token of slots 0..n-1, and those behind it that drafts foretell.

        Args:
            lengths: Positions that the slots hold.
            drafts: For each slot what may come next, all of one length.
        """
        raise ProcedureError("This runner confirms no guesses.", hint="Ask `can_draft` first.")


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all prompts share, leaving at least one of each."""
    if not prompts:
        return 0
    first, last = min(prompts), max(prompts)
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < limit and first[shared] == last[shared]:
        shared += 1
    return shared
