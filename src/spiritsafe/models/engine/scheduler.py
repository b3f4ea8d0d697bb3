"""Many completions at a time over any runner: finished sequences leave their slot to the next in the queue.

In: prompts, how to sample, and what makes a :class:`~spiritsafe.models.engine.runner.Runner`. Out: attempts, each as it
finishes. Shapes: B busy slots.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch

from spiritsafe.core.errors import NumericalError, ProcedureError, SpiritsafeError
from spiritsafe.core.records import Attempt, Checkpoint, FinishReason, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.stop_strings import StopFinder
from spiritsafe.models.engine.runner import Admission, Runner

_STEPS_PER_LOOK = {"cpu": 1, "cuda": 8}

Sample = tuple[str, int]
"""Problem and sample index."""

RunnerMaker = Callable[[int, int, int], Runner]
"""Given the numbers of slots, of positions in each, and of tokens that are drawn at most."""


@final
@dataclass
class _Sequence:
    """One completion on its way."""

    prompt: Prompt
    sample_index: int
    prompt_ids: tuple[int, ...]
    limit: int
    last_of_prompt: bool
    started: float = 0.0
    token_ids: list[int] = field(default_factory=list)

    @property
    def sample(self) -> Sample:
        """Whose it is."""
        return self.prompt.problem_id, self.sample_index

    @property
    def num_positions(self) -> int:
        """Tokens whose keys and values are in the cache."""
        return len(self.prompt_ids) - 1 + len(self.token_ids)


@final
@dataclass(frozen=True)
class _End:
    reason: FinishReason
    num_tokens: int
    text: str


@final
class Scheduler:
    """Draws completions from one model.

    Args:
        chat: Its chat format.
        checkpoint: What its attempts and errors name.
        make_runner: Gives what draws; one that is large enough is used again by the next call.
        device: Where runners keep what was drawn.
        max_batch: Most slots.
        max_context: Longest prompt plus completion.
        most_slots: How many slots of so many positions there is memory for, where a runner touches all at once.
    """

    def __init__(
        self,
        chat: ChatFormat,
        checkpoint: Checkpoint,
        make_runner: RunnerMaker,
        *,
        device: torch.device,
        max_batch: int,
        max_context: int,
        most_slots: Callable[[int], int] | None = None,
    ) -> None:
        if max_batch < 1 or max_context < 2:
            raise ValueError("max_batch must be at least 1 and max_context at least 2")
        self._chat = chat
        self._checkpoint = checkpoint
        self._make_runner = make_runner
        self._device = device
        self._max_batch = max_batch
        self._max_context = max_context
        self._most_slots = most_slots or (lambda num_positions: max_batch)
        self._spare: tuple[tuple[int, int, int], Runner] | None = None
        self._closed = False

    def close(self) -> None:
        """Refuse further calls; the runner is given up."""
        self._closed = True
        self._spare = None

    def check_open(self) -> None:
        """Raise a ProcedureError after :meth:`close`."""
        if self._closed:
            raise ProcedureError("This generator was closed.", hint="Make a new one.")

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, under_way: set[Sample] | None = None
    ) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`.

        Args:
            under_way: Kept up to date with those that are in slots, for a caller that a runner may fail.
        """
        self.check_open()
        queue: deque[_Sequence] = deque()
        for prompt in prompts:
            known = self._prepare(prompt, sampling)
            if isinstance(known, str):
                for index in range(prompt.num_samples):
                    yield self.failure(prompt, prompt.first_sample + index, sampling, known)
            else:
                queue.extend(known)
        if not queue:
            return
        size, runner = self._take_runner(queue)
        try:
            with torch.inference_mode():
                runner.begin(list(dict.fromkeys(sequence.prompt_ids for sequence in queue)))
            yield from self._run(runner, queue, size[0], sampling, set() if under_way is None else under_way)
        finally:
            runner.end()
            if not self._closed:
                self._spare = (size, runner)

    def _prepare(self, prompt: Prompt, sampling: Sampling) -> list[_Sequence] | str:
        """The prompt's sequences, or why there can be none."""
        try:
            ids = tuple(self._chat.going_on_ids(prompt.messages, prompt.prefix))
        except SpiritsafeError as error:
            return error.diagnostics()
        if not ids:
            return "The prompt has no tokens. Give it a message."
        room = self._max_context - len(ids)
        if room < 1:
            return (
                f"The prompt's {len(ids)} tokens leave no room in the context of {self._max_context}. "
                "Shorten the prompt or use a model with a longer context."
            )
        limit = min(prompt.token_limit(sampling), room)
        last = prompt.num_samples - 1
        return [_Sequence(prompt, prompt.first_sample + i, ids, limit, i == last) for i in range(prompt.num_samples)]

    def _take_runner(self, queue: Sequence[_Sequence]) -> tuple[tuple[int, int, int], Runner]:
        """A runner large enough: the one of the last call when it is, else a new one.

        It is taken, not shared, so that two calls whose attempts are read in turns cannot disturb each other.
        """
        longest = max(len(sequence.prompt_ids) + sequence.limit for sequence in queue)
        slots = min(self._max_batch, len(queue), max(1, self._most_slots(longest)))
        needed = (slots, longest, max(sequence.limit for sequence in queue))
        spare, self._spare = self._spare, None
        if spare is not None and all(have >= need for have, need in zip(spare[0], needed, strict=True)):
            return spare
        del spare
        return needed, self._make_runner(*needed)

    def _run(
        self, runner: Runner, queue: deque[_Sequence], num_slots: int, sampling: Sampling, under_way: set[Sample]
    ) -> Iterator[Attempt]:
        """Steps and refills until queue and slots are empty; busy slots are always the first ones."""
        stops = self._chat.stop_finder(sampling.stop)
        steps_per_look = _STEPS_PER_LOOK.get(self._device.type, 1)
        # On a GPU a refill costs as much as several steps, so a few free slots are saved up for it.
        patience = 1 if self._device.type == "cpu" else max(1, num_slots // 16)
        busy: list[_Sequence] = []
        free = list(range(num_slots))
        while queue or busy:
            if queue and (len(free) >= patience or not busy):
                self._refill(runner, queue, busy, free, under_way)
            free = self._compact(runner, busy, free, num_slots)
            if not busy:
                return
            count = min(steps_per_look, *(sequence.limit - len(sequence.token_ids) for sequence in busy))
            with torch.inference_mode():
                longest = max(sequence.num_positions for sequence in busy) + count
                runner.advance(len(busy), longest, count, sampling)
                self._read(runner, busy, count)
            ends = {slot: end for slot, sequence in enumerate(busy) if (end := self._end(sequence, count, stops))}
            if ends:
                logprobs = runner.state.logprobs_BT[list(ends)].tolist()
                under_way -= {busy[slot].sample for slot in ends}
                for row, (slot, end) in zip(logprobs, ends.items(), strict=True):
                    yield self._attempt(busy[slot], end, row, sampling)
            free += list(ends)

    def _refill(
        self,
        runner: Runner,
        queue: deque[_Sequence],
        busy: list[_Sequence],
        free: list[int],
        under_way: set[Sample],
    ) -> None:
        """Admit from the queue into the lowest free slots."""
        free.sort()
        admissions = []
        now = time.perf_counter()
        while free and queue:
            slot, sequence = free.pop(0), queue.popleft()
            sequence.started = now
            under_way.add(sequence.sample)
            if slot == len(busy):
                busy.append(sequence)
            else:
                busy[slot] = sequence
            seed = derive_seed(sequence.prompt.seed, sequence.prompt.problem_id, sequence.sample_index)
            keep = not sequence.last_of_prompt and not free
            admissions.append(Admission(slot, sequence.prompt_ids, seed, keep))
        with torch.inference_mode():
            runner.admit(admissions)

    def _compact(self, runner: Runner, busy: list[_Sequence], free: list[int], num_slots: int) -> list[int]:
        """Move the last sequences into free slots below them, so that a step covers busy slots only."""
        with torch.inference_mode():
            for slot in sorted((slot for slot in free if slot < len(busy)), reverse=True):
                last = busy.pop()
                if slot < len(busy):
                    busy[slot] = last
                    runner.move(len(busy), slot, last.num_positions)
        return list(range(len(busy), num_slots))

    def _read(self, runner: Runner, busy: list[_Sequence], count: int) -> None:
        """Fetch what the last steps drew: the one synchronisation with the device."""
        state = runner.state
        starts = torch.tensor([len(sequence.token_ids) for sequence in busy], device=self._device)
        columns = starts[:, None] + torch.arange(count, device=self._device)
        broken = state.broken_B[: len(busy), None].to(torch.int64)
        rows = torch.cat((state.drawn_BT[: len(busy)].gather(1, columns), broken), dim=1).tolist()
        if any(row[-1] for row in rows):
            raise NumericalError(
                f"The model {self._checkpoint.name} gives logits that are not finite.",
                hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
            )
        for sequence, row in zip(busy, rows, strict=True):
            sequence.token_ids.extend(row[:-1])

    def _end(self, sequence: _Sequence, count: int, stops: StopFinder) -> _End | None:
        """Whether one of the newest ``count`` tokens ends the sequence, and how."""
        chat, ids = self._chat, sequence.token_ids
        read = partial(chat.completion_text, prefix=sequence.prompt.prefix)
        known = len(ids) - count
        at = next((i for i in range(known, len(ids)) if ids[i] in chat.eos_ids), None)
        visible = ids if at is None else ids[:at]
        if len(visible) > known:
            stopped = stops.find(visible, len(visible) - known, read)
            if stopped is not None:
                return _End("stop", *stopped)
        if at is not None:
            return _End("stop", at + 1, read(visible))
        if len(ids) >= sequence.limit:
            return _End("length", len(ids), read(ids))
        return None

    def _attempt(self, sequence: _Sequence, end: _End, logprobs: list[float], sampling: Sampling) -> Attempt:
        return Attempt(
            problem_id=sequence.prompt.problem_id,
            sample_index=sequence.sample_index,
            model=self._checkpoint.digest,
            sampling=sampling,
            seed=sequence.prompt.seed,
            text=end.text,
            finish_reason=end.reason,
            token_ids=tuple(sequence.token_ids[: end.num_tokens]),
            logprobs=tuple(logprobs[: end.num_tokens]),
            num_prompt_tokens=len(sequence.prompt_ids),
            num_tokens=end.num_tokens,
            seconds=time.perf_counter() - sequence.started,
        )

    def failure(self, prompt: Prompt, sample_index: int, sampling: Sampling, error: str) -> Attempt:
        """The attempt for a completion that cannot be had."""
        return Attempt(
            problem_id=prompt.problem_id,
            sample_index=sample_index,
            model=self._checkpoint.digest,
            sampling=sampling,
            seed=prompt.seed,
            text="",
            finish_reason="error",
            error=error,
        )
