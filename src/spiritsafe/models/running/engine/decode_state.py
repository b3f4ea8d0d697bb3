"""What a decode step reads and writes for each slot, as fixed tensors.

In: admissions, then logits of each step. Out: drawn tokens, which stay on the device until the session reads them.
Shapes: B slots, Q steps between two readings, V vocabulary, K likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.records import Sampling
from spiritsafe.models.running.engine.sampler import DrawnTokens, HowDrawn, RowMask, RowSampling, draw, rows_sampling

_ALL_TOKENS = 1 << 40
"""Stands for "top-k keeps all" in a column."""


@final
@dataclass(frozen=True)
class Admission:
    """A sequence that enters a slot.

    Attributes:
        how: How it is drawn.
        cache_key: What is kept of its prompt is for prompts of the same key; None: nothing is kept.
        is_staged: Its prompt was computed bit by bit before, by ``Runner.stage``.
    """

    slot: int
    prompt_ids: tuple[int, ...]
    seed: int
    how: HowDrawn = field(default_factory=Sampling)
    cache_key: str | None = ""
    is_staged: bool = False


Change = tuple[int, int, float]
"""A slot, a token, a number."""


@final
@dataclass(frozen=True)
class Extras:
    """What few sequences ask of a step, as the host knows it anew for each.

    Attributes:
        scale: Slots, tokens of theirs, and the repetition penalty that moves their logits towards less likely.
        bias: Slots, tokens of theirs, and what is added then; of one token as often as it is named.
        mask: Excludes tokens.
        num_top: How many likeliest tokens are told, of every slot.
    """

    scale: Sequence[Change] = ()
    bias: Sequence[Change] = ()
    mask: RowMask | None = None
    num_top: int = 0

    def change(self, logits_BV: Tensor) -> None:
        """Scale, then add to the logits, in place."""
        if self.scale:
            place, penalty = _columns(self.scale, logits_BV)
            old = logits_BV[place]
            logits_BV[place] = torch.where(old > 0, old / penalty, old * penalty)
        if self.bias:
            place, values = _columns(self.bias, logits_BV)
            logits_BV.index_put_(place, values, accumulate=True)


def _columns(changes: Sequence[Change], logits_BV: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Where changes go, and their numbers."""
    slots, tokens, values = zip(*changes, strict=True)
    device = logits_BV.device
    place = torch.tensor(slots, device=device), torch.tensor(tokens, device=device)
    return place, torch.tensor(values, device=device, dtype=logits_BV.dtype)


NO_EXTRAS = Extras()


@final
@dataclass(frozen=True, slots=True)
class SlotReading:
    """What one slot drew.

    Attributes:
        broken: Its logits were not finite.
        top: For each token the likeliest at its place; empty when none were asked for.
    """

    token_ids: list[int]
    logprobs: list[float]
    broken: bool
    top: list[tuple[tuple[int, float], ...]]


@final
class DecodeState:
    """Fixed tensors: a CUDA graph replays on their addresses.

    Args:
        num_steps: Most steps between two calls of :meth:`read`.

    Attributes:
        tokens_B: The token each slot feeds next.
        positions_B: The position it stands at.
        steps_B: Tokens drawn so far.
    """

    def __init__(self, num_slots: int, num_positions: int, device: torch.device, *, num_steps: int = 8) -> None:
        self._last_position = num_positions - 1
        self.num_slots = num_slots
        self.device = device
        self.tokens_B = torch.zeros(num_slots, dtype=torch.int64, device=device)
        self.positions_B = torch.zeros_like(self.tokens_B)
        self.steps_B = torch.zeros_like(self.tokens_B)
        self.seeds_B = torch.zeros_like(self.tokens_B)
        self._drawn_BQ = torch.zeros((num_slots, num_steps), dtype=torch.int64, device=device)
        self._logprobs_BQ = torch.zeros((num_slots, num_steps), dtype=torch.float32, device=device)
        self._broken_B = torch.zeros(num_slots, dtype=torch.bool, device=device)
        self._column = torch.zeros(1, dtype=torch.int64, device=device)
        self._how: list[HowDrawn] = [Sampling()] * num_slots
        self._columns = {
            "temperature": torch.ones((num_slots, 1), device=device),
            "greedy": torch.zeros(num_slots, dtype=torch.bool, device=device),
            "top_k": torch.full((num_slots, 1), _ALL_TOKENS, device=device),
            "top_p": torch.ones((num_slots, 1), device=device),
            "min_p": torch.zeros((num_slots, 1), device=device),
        }
        self._top: tuple[Tensor, Tensor] | None = None

    def grown(self, num_slots: int, num_positions: int) -> DecodeState:
        """A larger one that goes on where this one stands."""
        new = DecodeState(num_slots, num_positions, self.device, num_steps=self._drawn_BQ.shape[1])
        for mine, its in zip(self.tensors(), new.tensors(), strict=True):
            its[: len(mine)] = mine
        new._how[: self.num_slots] = self._how
        return new

    def start(self, admissions: Sequence[Admission]) -> None:
        """Reset the slots of new sequences: the last prompt token is what they feed first."""
        device = self.device
        slots = torch.tensor([a.slot for a in admissions], device=device)
        self.tokens_B[slots] = torch.tensor([a.prompt_ids[-1] for a in admissions], device=device)
        self.positions_B[slots] = torch.tensor([len(a.prompt_ids) - 1 for a in admissions], device=device)
        self.seeds_B[slots] = torch.tensor([a.seed for a in admissions], device=device)
        self.steps_B[slots] = 0
        self._broken_B[slots] = False
        hows = [a.how for a in admissions]
        for a in admissions:
            self._how[a.slot] = a.how
        for name, values in {
            "temperature": [how.temperature or 1.0 for how in hows],
            "greedy": [how.temperature == 0.0 for how in hows],
            "top_k": [how.top_k or _ALL_TOKENS for how in hows],
            "top_p": [how.top_p for how in hows],
            "min_p": [how.min_p for how in hows],
        }.items():
            column = self._columns[name]
            column[slots] = torch.tensor(values, dtype=column.dtype, device=device).view(-1, *column.shape[1:])

    def tensors(self) -> tuple[Tensor, ...]:
        """All that steps change or read, by slot."""
        return (
            self.tokens_B,
            self.positions_B,
            self.steps_B,
            self.seeds_B,
            self._drawn_BQ,
            self._logprobs_BQ,
            self._broken_B,
            *self._columns.values(),
        )

    def counters(self) -> tuple[Tensor, ...]:
        """The tensors that are not by slot."""
        return (self._column,)

    def move(self, source: int, target: int) -> None:
        """Copy one slot's state into another."""
        for tensor in self.tensors():
            tensor[target] = tensor[source]
        self._how[target] = self._how[source]

    def sampling(self, num_slots: int, width: int | None = None) -> RowSampling:
        """How slots 0..n-1 are drawn.

        Args:
            width: For so many rows; those behind the slots are drawn anyhow.
        """
        return rows_sampling(self._how[:num_slots], self._columns, width or num_slots)

    def record(self, logits_BV: Tensor, how: RowSampling, extras: Extras = NO_EXTRAS) -> None:
        """Draw for slots 0..B-1 of the logits, write it down, and make the drawn tokens the next to feed."""
        count = logits_BV.shape[0]
        steps_B = self.steps_B[:count]
        extras.change(logits_BV)
        drawn = draw(logits_BV, self.seeds_B[:count], steps_B, how, mask=extras.mask, num_top=extras.num_top)
        self._drawn_BQ[:count].index_copy_(1, self._column, drawn.token_ids_B[:, None])
        self._logprobs_BQ[:count].index_copy_(1, self._column, drawn.logprobs_B[:, None])
        self._column.add_(1)
        self.tokens_B[:count] = drawn.token_ids_B
        self._broken_B[:count] |= drawn.broken_B
        self.positions_B[:count].add_(1)
        steps_B.add_(1)
        if drawn.top_ids_BK is not None and drawn.top_logprobs_BK is not None:
            self._top = drawn.top_ids_BK, drawn.top_logprobs_BK

    def stay_inside(self, num_slots: int) -> None:
        """Idle slots of a CUDA graph's bucket step along; they must stay inside the cache."""
        self.positions_B[:num_slots].clamp_(max=self._last_position)

    def accept(self, drawn: DrawnTokens, drafts: Sequence[Sequence[int]]) -> list[SlotReading]:
        """Write down what was drawn behind drafts: of each slot the tokens up to the first that was not foretold.

        Args:
            drawn: For each slot in turn, a token behind what it fed and behind each token of its draft.
        """
        width = 1 + len(drafts[0])
        tokens, logprobs = drawn.token_ids_B.view(-1, width).tolist(), drawn.logprobs_B.view(-1, width).tolist()
        broken = drawn.broken_B.view(-1, width).tolist()
        readings = []
        for slot, draft in enumerate(drafts):
            count = 1
            while count < width and tokens[slot][count - 1] == draft[count - 1]:
                count += 1
            readings.append(SlotReading(tokens[slot][:count], logprobs[slot][:count], any(broken[slot][:count]), []))
        counts_B = torch.tensor([len(reading.token_ids) for reading in readings], device=self.device)
        self.tokens_B[: len(drafts)] = torch.tensor([reading.token_ids[-1] for reading in readings], device=self.device)
        self.positions_B[: len(drafts)] += counts_B
        self.steps_B[: len(drafts)] += counts_B
        return readings

    def read(self, num_slots: int, num_steps: int) -> list[SlotReading]:
        """What the steps since the last reading drew in slots 0..n-1: the one synchronisation with the device."""
        drawn, logprobs = self._drawn_BQ[:num_slots, :num_steps], self._logprobs_BQ[:num_slots, :num_steps]
        # float64 holds token ids exactly
        together = torch.cat((drawn.double(), logprobs.double(), self._broken_B[:num_slots, None].double()), dim=1)
        self._column.zero_()
        top, self._top = self._top, None
        tops: list[list[tuple[tuple[int, float], ...]]] = [[] for _ in range(num_slots)]
        if top is not None:
            listed = zip(top[0].tolist(), top[1].tolist(), strict=True)
            tops = [[tuple(zip(ids, values, strict=True))] for ids, values in listed]
        return [
            SlotReading([int(x) for x in row[:num_steps]], row[num_steps:-1], bool(row[-1]), tops[slot])
            for slot, row in enumerate(together.tolist())
        ]
