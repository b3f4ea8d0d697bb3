"""A runner over llama.cpp: it computes logits in its process, our sampler draws from them here.

In: as every runner. Out: tokens drawn with the same counted seeds as from our own engine. What all prompts begin with,
and a prompt of several samples, is computed once and copied. Each prompt is computed by itself and two tokens at least
at a time, so that what is drawn for it does not depend on its neighbours: llama.cpp adds up the attention of a single
token in another order than that of several. Shapes: B busy slots, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Sampling
from spiritsafe.models.engine.runner import Admission, DecodeState, Runner, common_prefix
from spiritsafe.models.llama_cpp.pool import LlamaPool
from spiritsafe.models.llama_cpp.process import BATCH_TOKENS, LlamaProcess, chunks

EXTRA_SEQUENCES = 2
"""Beside the slots: what all prompts begin with, and a prompt that more samples will ask for."""


def feed(process: LlamaProcess, sequence: int, token_ids: Sequence[int], *, kept: int) -> None:
    """Make a sequence longer that holds its first ``kept`` tokens already, up to ``token_ids``; no logits are asked."""
    if len(token_ids) - kept == 1 and kept > 0:
        kept -= 1  # never a single token
        process.copy(sequence, [sequence], kept)
    for start, end in chunks(len(token_ids) - kept, BATCH_TOKENS):
        places = range(kept + start, kept + end)
        process.decode(token_ids[places.start : places.stop], places, [sequence] * len(places), ())


@final
class LlamaRunner(Runner):
    """Slots are sequences of a process that is borrowed from :meth:`begin` to :meth:`end`."""

    def __init__(self, pool: LlamaPool, *, num_slots: int, num_positions: int, max_tokens: int) -> None:
        self._pool = pool
        self._num_positions = num_positions
        self._num_slots = num_slots
        self._lent: LlamaProcess | None = None
        self._prefix_ids: tuple[int, ...] = ()
        self._stored_ids: tuple[int, ...] | None = None
        self.state = DecodeState(num_slots, num_positions, max_tokens, torch.device("cpu"))

    @property
    def _process(self) -> LlamaProcess:
        if self._lent is None:
            raise ProcedureError("This runner has not begun.", hint="Call begin first.")
        return self._lent

    def begin(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Borrow a process; compute what all prompts begin with once."""
        self._stored_ids = None
        self._lent = self._pool.take(context=self._num_positions, num_sequences=self._num_slots + EXTRA_SEQUENCES)
        shared = common_prefix(prompts)
        self._prefix_ids = prompts[0][:shared] if shared > 1 else ()
        feed(self._process, self._num_slots, self._prefix_ids, kept=0)

    def end(self) -> None:
        """Give the process back."""
        process, self._lent = self._lent, None
        if process is not None:
            self._pool.give_back(process)

    def admit(self, admissions: Sequence[Admission]) -> None:
        """Fill slots: each distinct prompt is computed once and copied to its other samples."""
        prefix, stored = self._num_slots, self._num_slots + 1
        slots: dict[tuple[int, ...], list[int]] = {}
        for admission in admissions:
            slots.setdefault(admission.prompt_ids, []).append(admission.slot)
        kept = next((admission.prompt_ids for admission in admissions if admission.keep_prompt), None)
        for ids, targets in slots.items():
            source = stored
            if ids != self._stored_ids:
                source = targets[0]
                self._process.copy(prefix, [source], len(self._prefix_ids))
                feed(self._process, source, ids[:-1], kept=len(self._prefix_ids))
            self._process.copy(source, targets, len(ids) - 1)
        if kept != self._stored_ids:
            self._stored_ids = kept
            if kept is not None:
                self._process.copy(slots[kept][0], [stored], len(kept) - 1)
        self.state.start(admissions)

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copy sequence and state."""
        self._process.copy(source, [target], num_positions)
        self.state.move(source, target)

    def advance(self, num_slots: int, num_positions: int, num_steps: int, sampling: Sampling) -> None:
        """One token in each slot a step, from the logits of one batch."""
        for _ in range(num_steps):
            tokens = self.state.tokens_B[:num_slots].tolist()
            positions = self.state.positions_B[:num_slots].tolist()
            logits_BV = self._process.decode(tokens, positions, range(num_slots), range(num_slots))
            self.state.record(torch.from_numpy(logits_BV), sampling)
