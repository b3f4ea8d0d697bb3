"""Sequences that come and go at any time, drawn together a step at a time: who is in which slot, and for how long.

In: requests, whenever they come. Out: after each step what it drew. Busy slots are always the first ones; whoever
leaves is replaced by the last. A long prompt is computed bit by bit between steps, so that nobody waits for it. See
:mod:`spiritsafe.models.running.engine.runner` for what happens to tensors.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, final

import torch

from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, Change, Extras, SlotReading
from spiritsafe.models.running.engine.prompt_lookup import PromptLookup
from spiritsafe.models.running.engine.request import Drawn, SequenceRequest
from spiritsafe.models.running.engine.runner import PREFILL_TOKENS, Runner
from spiritsafe.models.running.engine.sampler import RowMask

_DRAFT_STREAMS = 4
"""With more sequences at once a step of several tokens each costs more than guesses save."""
_DRAFT_TOKENS = 5


@final
@dataclass
class _Running:
    """One sequence."""

    handle: int
    request: SequenceRequest
    num_known: int = 0
    num_drawn: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    lookup: PromptLookup | None = None
    is_overtaken: bool = False

    @property
    def length(self) -> int:
        """Tokens whose keys and values are in the cache."""
        return len(self.request.prompt_ids) - 1 + self.num_drawn

    @property
    def most_tokens(self) -> int:
        """That it may come to hold."""
        return len(self.request.prompt_ids) + self.request.max_tokens

    @property
    def left(self) -> int:
        """Tokens it may still draw."""
        return self.request.max_tokens - self.num_drawn

    @property
    def has_extras(self) -> bool:
        """Whether it asks of a step what few do."""
        request = self.request
        penalties = (request.presence_penalty, request.frequency_penalty, request.repetition_penalty)
        return (
            bool(request.bias) or penalties != (0.0, 0.0, 1.0) or request.mask is not None or request.top_logprobs > 0
        )


@final
@dataclass
class _Staged:
    """A long prompt that is computed bit by bit."""

    sequence: _Running
    done: int = 0


@final
class EngineSession:
    """A :class:`~spiritsafe.models.running.engine.request.Session`.

    Args:
        runner: What draws; it has begun with ``num_slots`` slots.
        num_slots: Most sequences at once.
        max_context: Longest prompt plus completion.
        prefill_tokens: Most tokens of a long prompt, and most of all short ones, that are computed between two steps
            while others are drawn.
        drafts: Guess tokens where few sequences are drawn and the runner can confirm several at once.
        steady: Whoever waits for a token, or asks for the first time, waits for little: long prompts are computed in
            parts that the runner needs a fraction of a second for, also where nothing is drawn meanwhile.
        patience: Free slots that are saved up before they are filled, where a refill costs as much as several steps.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        num_slots: int,
        max_context: int,
        prefill_tokens: int = PREFILL_TOKENS,
        drafts: bool = False,
        steady: bool = False,
        patience: int = 1,
    ) -> None:
        self._runner = runner
        self._num_slots = num_slots
        self._max_context = max_context
        self._prefill_tokens = prefill_tokens
        self._drafts = drafts and runner.can_draft
        self._steady = steady
        self._patience = patience
        self._queue: deque[_Running] = deque()
        self._busy: list[_Running] = []
        self._staged: _Staged | None = None
        self._cancelled: set[int] = set()
        self._next = 0

    @property
    def num_busy(self) -> int:
        """Sequences in slots."""
        return len(self._busy)

    @property
    def num_waiting(self) -> int:
        """Sequences that have none yet."""
        return len(self._queue) + (self._staged is not None)

    def busy_handles(self) -> list[int]:
        """Of the sequences in slots."""
        return [sequence.handle for sequence in self._busy]

    def submit(self, request: SequenceRequest) -> int:
        """Queue a sequence.

        Raises:
            ValueError: It has no prompt, no room to draw in, or does not fit the context.
        """
        if not request.prompt_ids or request.max_tokens < 1:
            raise ValueError("a sequence needs a prompt and room for a token")
        if len(request.prompt_ids) + request.max_tokens > self._max_context:
            raise ValueError(f"the sequence does not fit the context of {self._max_context}")
        self._next += 1
        self._queue.append(_Running(self._next, request))
        return self._next

    def cancel(self, handle: int) -> None:
        """Forget a sequence; its slot is free at the next step. One that has ended is no error."""
        self._cancelled.add(handle)

    @torch.inference_mode()
    def step(self) -> list[Drawn]:
        """Admit what there is room for and draw at least one token for each sequence in a slot."""
        self._drop_cancelled()
        self._admit()
        if not self._busy:
            return []
        readings, guessed = self._draw()
        out = [self._take(slot, reading) for slot, reading in enumerate(readings)]
        for slot, (sequence, drawn) in enumerate(zip(self._busy, out, strict=True)):
            if sequence.lookup is not None:
                sequence.lookup.extend(drawn.token_ids)
                if guessed and guessed[slot]:
                    sequence.lookup.learn(len(drawn.token_ids) - 1)
        self._leave({slot: drawn.end == "error" for slot, drawn in enumerate(out) if drawn.end is not None})
        return out

    @torch.inference_mode()
    def score(self, token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        """Log-probabilities, at temperature 1, of a prompt's own tokens from the second on, part by part."""
        place = 1
        for logits in self._runner.logits(token_ids):
            targets = token_ids[place : place + len(logits)]
            place += len(targets)
            rows = logits[: len(targets)].log_softmax(-1)
            logprobs = rows.gather(1, torch.tensor(targets, dtype=torch.int64, device=rows.device)[:, None]).squeeze(1)
            top: list[tuple[tuple[int, float], ...]] = []
            if top_logprobs:
                likeliest = rows.topk(top_logprobs, dim=-1)
                pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
                top = [tuple(zip(ids, values, strict=True)) for ids, values in pairs]
            yield Drawn(-1, targets, tuple(logprobs.tolist()), tuple(top))

    # ---- who is in

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        self._leave({slot: False for slot, one in enumerate(self._busy) if one.handle in self._cancelled})
        self._queue = deque(one for one in self._queue if one.handle not in self._cancelled)
        if self._staged is not None and self._staged.sequence.handle in self._cancelled:
            self._staged = None
        self._cancelled.clear()

    def _leave(self, slots: dict[int, bool]) -> None:
        """Free slots (True: of one that held no numbers); the last sequences move into them."""
        for slot in sorted(slots, reverse=True):
            leaving, last = self._busy[slot], self._busy.pop()
            if slot < len(self._busy):
                self._busy[slot] = last
                if slots[slot]:
                    self._runner.free(slot, leaving.length, wipe=True)
                self._runner.move(len(self._busy), slot, last.length)
                self._runner.free(len(self._busy), last.length)
            else:
                self._runner.free(slot, leaving.length, wipe=slots[slot])

    def _fits(self, sequence: _Running, others: int) -> bool:
        """Whether memory holds it too: nobody who is in is ever put out again."""
        held = self._runner.held_tokens()
        return held is None or not others or others + sequence.most_tokens <= held

    def _bearable(self, past: int) -> int:
        """Tokens of a prompt, behind so many, that may be computed between two steps."""
        return min(self._prefill_tokens, self._runner.prefill_tokens(past)) if self._steady else self._prefill_tokens

    def _stage_more(self, staged: _Staged) -> bool:
        """Compute the next part of a long prompt; whether that was the last."""
        ids, key = staged.sequence.request.prompt_ids, staged.sequence.request.cache_key
        past = staged.done
        if past == 0:
            past = staged.sequence.num_known = self._runner.known(ids, key)
        end = past + self._bearable(past)
        self._runner.reserve(min(len(ids), end), self._lengths())
        staged.done = self._runner.stage(ids, key, staged.done, end)
        return staged.done >= len(ids) - 1

    def _admit(self) -> None:
        """Fill free slots from the queue, but compute no more of prompts than those who wait for tokens can bear.

        A long prompt that waits for its turn holds up nobody behind it: the others need little and overtake it.
        """
        free = self._num_slots - len(self._busy) - (self._staged is not None)
        entering: list[tuple[_Running, bool]] = []
        if self._staged is not None and self._stage_more(self._staged):
            entering.append((self._staged.sequence, True))
            self._staged = None
        if free < self._patience and self._busy and not entering:
            return
        # where more wait for their first token than for their next, these bear twice as much
        budget = self._bearable(0) * (2 if len(self._queue) > len(self._busy) else 1)
        seen: set[tuple[int, ...]] = set()
        overtaken: list[_Running] = []
        held = sum(one.most_tokens for one in [*self._busy, *(one for one, _ in entering)])
        held += 0 if self._staged is None else self._staged.sequence.most_tokens
        while free > 0 and self._queue and self._fits(self._queue[0], held):
            sequence = self._queue[0]
            cost, is_long = self._cost(sequence, seen)
            if is_long and (self._steady or self._busy or entering or self._staged is not None):
                if self._staged is not None:
                    sequence.is_overtaken = True
                    overtaken.append(self._queue.popleft())
                    continue
                self._staged = _Staged(sequence)
            elif cost > budget and (self._busy or entering):
                break
            else:
                entering.append((sequence, False))
                seen.add(sequence.request.prompt_ids)
                budget -= cost
            self._queue.popleft()
            held += sequence.most_tokens
            free -= 1
        self._queue.extendleft(reversed(overtaken))
        if entering:
            self._enter(entering)

    def _cost(self, sequence: _Running, seen: set[tuple[int, ...]]) -> tuple[int, bool]:
        """How many tokens of its prompt are to be computed beside these, and whether that takes long."""
        ids = sequence.request.prompt_ids
        if ids in seen:
            return 0, False
        if sequence.is_overtaken and self._staged is not None:
            return len(ids), True
        known = self._runner.known(ids, sequence.request.cache_key)
        cost = len(ids) - 1 - known
        return cost, cost > self._bearable(known)

    def _lengths(self) -> list[int]:
        """Positions that slots hold."""
        return [sequence.length for sequence in self._busy]

    def _enter(self, entering: list[tuple[_Running, bool]]) -> None:
        longest = max(len(sequence.request.prompt_ids) for sequence, _ in entering)
        self._runner.reserve(longest, self._lengths())
        first = len(self._busy)
        admissions = [
            Admission(
                slot=first + index,
                prompt_ids=sequence.request.prompt_ids,
                seed=sequence.request.seed,
                how=sequence.request,
                cache_key=sequence.request.cache_key,
                is_staged=is_staged,
            )
            for index, (sequence, is_staged) in enumerate(entering)
        ]
        self._busy += [sequence for sequence, _ in entering]  # before, so that it is known whom a runner fails
        for (sequence, is_staged), known in zip(entering, self._runner.admit(admissions), strict=True):
            if not is_staged:
                sequence.num_known = known
            if self._drafts and not sequence.has_extras:
                sequence.lookup = PromptLookup(sequence.request.prompt_ids)

    # ---- a step

    def _draw(self) -> tuple[list[SlotReading], list[list[int]]]:
        """What a step drew, and what had been guessed for it."""
        lengths = self._lengths()
        guesses = self._guess()
        if any(guesses):
            width = max(len(guess) for guess in guesses)
            self._runner.reserve(max(lengths) + 1 + width, lengths)
            padded = [guess + [0] * (width - len(guess)) for guess in guesses]
            return self._runner.advance_drafts(lengths, padded), guesses
        extras = self._extras()
        count = 1
        if extras is NO_EXTRAS:
            count = min(self._runner.steps_per_look, *(sequence.left for sequence in self._busy))
        self._runner.reserve(max(lengths) + count, lengths)
        self._runner.advance(lengths, count, extras)
        return self._runner.state.read(len(lengths), count), []

    def _guess(self) -> list[list[int]]:
        if not self._drafts or len(self._busy) > _DRAFT_STREAMS or any(one.lookup is None for one in self._busy):
            return []
        room = min(min(one.left - 1, self._max_context - 2 - one.length) for one in self._busy)
        most = min(_DRAFT_TOKENS, room)
        if most < 1:
            return []
        return [[] if one.lookup is None else one.lookup.guess(most) for one in self._busy]

    def _extras(self) -> Extras:
        """What the sequences in slots ask beyond the common numbers."""
        if not any(sequence.has_extras for sequence in self._busy):
            return NO_EXTRAS
        bias: list[Change] = []
        scale: list[Change] = []
        masks: list[tuple[int, torch.Tensor]] = []
        for slot, sequence in enumerate(self._busy):
            request = sequence.request
            bias += [(slot, token, value) for token, value in request.bias.items()]
            bias += [
                (slot, token, -request.presence_penalty - count * request.frequency_penalty)
                for token, count in sequence.counts.items()
                if request.presence_penalty or request.frequency_penalty
            ]
            if request.repetition_penalty != 1.0:
                seen = {*request.prompt_ids, *sequence.counts}
                scale += [(slot, token, request.repetition_penalty) for token in sorted(seen)]
            if request.mask is not None:
                masks.append((slot, request.mask.allowed()))
        device = self._runner.state.device
        mask = None
        if masks:
            rows = torch.tensor([slot for slot, _ in masks], device=device)
            mask = RowMask(rows, torch.stack([allowed for _, allowed in masks]).to(device))
        num_top = max(sequence.request.top_logprobs for sequence in self._busy)
        return Extras(scale=scale, bias=bias, mask=mask, num_top=num_top)

    def _take(self, slot: int, reading: SlotReading) -> Drawn:
        """Note what a slot drew, up to its end."""
        sequence = self._busy[slot]
        request = sequence.request
        known = sequence.num_known if sequence.num_drawn == 0 else 0
        ids = reading.token_ids[: sequence.left]
        sequence.num_drawn += len(reading.token_ids)
        if reading.broken:
            return Drawn(sequence.handle, (), (), end="error", message="The model gives logits that are not finite.")
        at = next((index for index, token in enumerate(ids) if token in request.end_ids), None)
        if at is not None:
            ids = ids[: at + 1]
        end: Literal["stop", "length"] | None = "stop" if at is not None else "length" if sequence.left <= 0 else None
        if sequence.has_extras:
            sequence.counts.update(ids)
        if request.mask is not None and end is None:
            for token in ids:
                request.mask.accept(token)
        top = tuple(row[: request.top_logprobs] for row in reading.top) if request.top_logprobs else ()
        return Drawn(sequence.handle, tuple(ids), tuple(reading.logprobs[: len(ids)]), top, end, num_cached=known)
