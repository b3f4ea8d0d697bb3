"""A runner over llama.cpp: it computes logits in its process, our sampler draws from them here.

In: as every runner. Out: tokens drawn with the same counted seeds as from our own engine. What a prompt begins with is
copied from any sequence that holds it, so it is computed once. Each prompt is computed by itself and two tokens at
least at a time, so that what is drawn for it does not depend on its neighbours: llama.cpp adds up the attention of a
single token in another order than that of several. Shapes: B busy slots, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.process.free_memory import free_bytes
from spiritsafe.models.llama_cpp.pool import LlamaPool
from spiritsafe.models.llama_cpp.process import BATCH_TOKENS, CACHE_STEP, LlamaProcess, chunks
from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, DecodeState, Extras
from spiritsafe.models.running.engine.runner import PREFILL_TOKENS, PrefillWork, Runner, common_prefix

EXTRA_SEQUENCES = 4
"""Beside the slots: a prompt that is staged, one that is scored, what prompts begin with, and the newest prompt."""
_STAGED, _SCORED, _COMMON, _NEWEST = range(EXTRA_SEQUENCES)
_CACHE_SHARE = 0.5
"""Of the free memory, which others may want as well."""
_SERVED_PLACES = 4
"""As many answers at once as llama.cpp's own server has places for; more where they are to be had."""
_USEFUL_CONTEXT = 4096
"""Rather fewer places than a shorter context."""

_Held = tuple[str, tuple[int, ...]]
"""A key, and the tokens whose keys and values a sequence holds."""
_NOTHING: _Held = ("", ())


def feed(process: LlamaProcess, sequence: int, token_ids: Sequence[int], *, kept: int) -> None:
    """Make a sequence longer that holds its first ``kept`` tokens already, up to ``token_ids``; no logits are asked."""
    if len(token_ids) - kept == 1 and kept > 0:
        kept -= 1  # never a single token
        process.copy(sequence, [sequence], kept)
    for start, end in chunks(len(token_ids) - kept, BATCH_TOKENS):
        places = range(kept + start, kept + end)
        process.decode(token_ids[places.start : places.stop], places, [sequence] * len(places), ())


def _agree(held: Sequence[int], ids: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    return next((at for at, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), min(len(held), len(ids)))


def cache_bytes(num_sequences: int, context: int, token_bytes: int) -> int:
    """What llama.cpp takes for so many sequences of so many tokens, used or not: it fills it with zeros."""
    return num_sequences * -(-context // CACHE_STEP) * CACHE_STEP * token_bytes


def served_context(own: int, *, max_batch: int, token_bytes: int, room_bytes: int) -> int:
    """The context that a file is served with where nobody wishes for one: its own, as far as there is room.

    Args:
        own: What the model was made for.
        max_batch: Most answers at once.
        token_bytes: What a token's keys and values take.
        room_bytes: For those of all sequences.

    Returns:
        0 where there is no room for any.
    """

    def longest(num_slots: int) -> int:
        return room_bytes // cache_bytes(num_slots + EXTRA_SEQUENCES, CACHE_STEP, token_bytes) * CACHE_STEP

    return min(own, max(longest(min(_SERVED_PLACES, max_batch)), min(_USEFUL_CONTEXT, longest(1))))


@final
class LlamaRunner(Runner):
    """Slots are sequences of a process that is borrowed from :meth:`begin` to :meth:`end`.

    Args:
        pool: Lends processes.
        token_bytes: What a token's keys and values take.
        work: What a prompt's tokens cost; None: it is not known.
        room_bytes: Most memory for keys and values; None: half of what is free when room is asked for.
    """

    def __init__(
        self,
        pool: LlamaPool,
        *,
        token_bytes: int,
        work: PrefillWork | None = None,
        room_bytes: int | None = None,
    ) -> None:
        self._pool = pool
        self._room_bytes = room_bytes
        self._work = work
        self._token_bytes = token_bytes
        self._lent: LlamaProcess | None = None

    @property
    def _process(self) -> LlamaProcess:
        if self._lent is None:
            raise ProcedureError("This runner has not begun.", hint="Call begin first.")
        return self._lent

    def begin(self, num_slots: int, num_positions: int, *, same_weights: bool = False) -> None:
        """Borrow a process."""
        self.end()
        self._num_slots = num_slots
        self._held = [_NOTHING] * (num_slots + EXTRA_SEQUENCES)
        self.state = DecodeState(num_slots, num_positions, torch.device("cpu"))
        self._lent = self._pool.take(context=num_positions, num_sequences=num_slots + EXTRA_SEQUENCES)

    def end(self) -> None:
        """Give the process back."""
        process, self._lent = self._lent, None
        if process is not None:
            self._pool.give_back(process)

    def most_slots(self, num_positions: int) -> int | None:
        """Sequences whose caches fit the room there is."""
        room_bytes = int(free_bytes() * _CACHE_SHARE) if self._room_bytes is None else self._room_bytes
        return room_bytes // cache_bytes(1, num_positions, self._token_bytes) - EXTRA_SEQUENCES

    # ---- prompts

    def _best(self, ids: Sequence[int], cache_key: str | None) -> tuple[int, int]:
        """How much of a prompt is held, and by which sequence."""
        if cache_key is None:
            return 0, 0
        counts = [_agree(held, ids) if key == cache_key else 0 for key, held in self._held]
        return max(zip(counts, range(len(counts)), strict=True), key=lambda one: one[0])

    def known(self, prompt_ids: tuple[int, ...], cache_key: str | None) -> int:
        """Of all but its last token."""
        return self._best(prompt_ids[:-1], cache_key)[0]

    def prefill_tokens(self, past: int) -> int:
        """By the work that they are."""
        return PREFILL_TOKENS if self._work is None else self._work.part_tokens(past)

    def _copy(self, source: int, targets: Sequence[int], length: int) -> None:
        self._process.copy(source, targets, length)
        key, ids = self._held[source]
        for target in targets:
            self._held[target] = key, ids[:length]

    def _make(self, sequence: int, ids: tuple[int, ...], cache_key: str | None) -> int:
        """Let a sequence hold these tokens; returns how many had not to be computed."""
        known, source = self._best(ids, cache_key)
        self._copy(source, [sequence], known)  # of nothing: what it held is forgotten
        feed(self._process, sequence, ids, kept=known)
        # nobody may find what has no key
        self._held[sequence] = _NOTHING if cache_key is None else (cache_key, ids)
        return known

    def _compute_common(self, prompts: Sequence[tuple[str | None, tuple[int, ...]]]) -> None:
        """Compute what prompts of one key begin with, where more than one does and nobody holds it."""
        for cache_key in {key for key, _ in prompts if key is not None}:
            own = [ids for key, ids in prompts if key == cache_key]
            shared = common_prefix(own) if len(own) > 1 else 0
            if shared > max(1, self._best(own[0][:shared], cache_key)[0]):
                self._make(self._num_slots + _COMMON, own[0][:shared], cache_key)

    def admit(self, admissions: Sequence[Admission]) -> list[int]:
        """Fill slots: each distinct prompt is computed once and copied to its other samples."""
        slots: dict[tuple[str | None, tuple[int, ...]], list[Admission]] = {}
        for admission in admissions:
            slots.setdefault((admission.cache_key, admission.prompt_ids), []).append(admission)
        self._compute_common([prompt for prompt, own in slots.items() if not own[0].is_staged])
        known: dict[int, int] = {}
        for (key, ids), (first, *others) in slots.items():
            body = ids[:-1]
            if first.is_staged:
                self._process.copy(self._num_slots + _STAGED, [first.slot], len(body))
                self._held[first.slot] = _NOTHING if key is None else (key, body)
                known[first.slot] = len(body)
            else:
                known[first.slot] = self._make(first.slot, body, key)
            targets = [other.slot for other in others]
            self._process.copy(first.slot, targets, len(body))
            for target in targets:
                self._held[target], known[target] = self._held[first.slot], len(body)
        newest = admissions[-1]
        if newest.cache_key is not None:  # more of it may be asked for when its slots hold others
            self._copy(newest.slot, [self._num_slots + _NEWEST], len(newest.prompt_ids) - 1)
        self.state.start(admissions)
        return [known[admission.slot] for admission in admissions]

    def stage(self, prompt_ids: tuple[int, ...], cache_key: str | None, start: int, end: int) -> int:
        """Compute a part of a prompt in a sequence of its own."""
        sequence = self._num_slots + _STAGED
        self._held[sequence] = _NOTHING
        if start == 0:
            start, source = self._best(prompt_ids[:-1], cache_key)
            self._process.copy(source, [sequence], start)
        end = min(max(end, start), len(prompt_ids) - 1)
        feed(self._process, sequence, prompt_ids[:end], kept=start)
        return end

    # ---- steps

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copy sequence and state."""
        self._process.copy(source, [target], num_positions)
        self._held[target] = self._held[source]
        self.state.move(source, target)

    def advance(self, lengths: Sequence[int], num_steps: int, extras: Extras = NO_EXTRAS) -> None:
        """One token in each slot a step, from the logits of one batch."""
        count = len(lengths)
        how = self.state.sampling(count)
        for _ in range(num_steps):
            tokens = self.state.tokens_B[:count].tolist()
            positions = self.state.positions_B[:count].tolist()
            logits_BV = self._process.decode(tokens, positions, range(count), range(count))
            self.state.record(torch.from_numpy(logits_BV), how, extras)

    def logits(self, prompt_ids: tuple[int, ...]) -> Iterator[Tensor]:
        """In the parts of a long prompt, in a sequence of its own."""
        sequence = self._num_slots + _SCORED
        self._process.copy(sequence, [sequence], 0)
        done = 0
        while left := prompt_ids[done:]:
            _, size = chunks(len(left), min(self.prefill_tokens(done), self._process.num_rows))[0]
            places = range(done, done + size)
            yield torch.from_numpy(self._process.decode(left[:size], places, [sequence] * size, range(size)))
            done += size
