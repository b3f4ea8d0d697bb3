"""Attempts from any runner: prompts become sequences of a session, what it draws becomes texts and ends.

In: prompts, how to sample, and what makes a :class:`~spiritsafe.models.running.engine.runner.Runner`. Out: attempts,
each as it finishes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

from spiritsafe.core.errors import NumericalError, ProcedureError, SpiritsafeError
from spiritsafe.core.records import Attempt, Checkpoint, FinishReason, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.stop_strings import StopFinder
from spiritsafe.models.running.engine.request import Drawn, SequenceRequest
from spiritsafe.models.running.engine.runner import Runner
from spiritsafe.models.running.engine.session import EngineSession

Sample = tuple[str, int]
"""Problem and sample index."""


_FIRST_POSITIONS = 512
"""Of a session's slots, where they grow as they are needed."""


def _patience(runner: Runner, num_slots: int) -> int:
    """On a GPU a refill costs as much as several steps, so a few free slots are saved up for it."""
    return 1 if runner.steps_per_look == 1 else max(1, num_slots // 16)


@final
@dataclass
class _Sequence:
    """One completion on its way."""

    prompt: Prompt
    sample_index: int
    prompt_ids: tuple[int, ...]
    limit: int
    started: float = 0.0
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def sample(self) -> Sample:
        """Whose it is."""
        return self.prompt.problem_id, self.sample_index


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
        make_runner: Gives what draws; one that a call has done with is used again by the next.
        max_batch: Most slots.
        max_context: Longest prompt plus completion.
        same_weights: They never change, so what was computed in one call is kept for the next.
    """

    def __init__(
        self,
        chat: ChatFormat,
        checkpoint: Checkpoint,
        make_runner: Callable[[], Runner],
        *,
        max_batch: int,
        max_context: int,
        same_weights: bool = False,
    ) -> None:
        if max_batch < 1 or max_context < 2:
            raise ValueError("max_batch must be at least 1 and max_context at least 2")
        self._chat = chat
        self._checkpoint = checkpoint
        self._make_runner = make_runner
        self._max_batch = max_batch
        self._max_context = max_context
        self._same_weights = same_weights
        self._spare: Runner | None = None
        self._closed = False

    def close(self) -> None:
        """Refuse further calls; the runner is given up."""
        self._closed = True
        if self._spare is not None:
            self._spare.end()
        self._spare = None

    def check_open(self) -> None:
        """Raise a ProcedureError after :meth:`close`."""
        if self._closed:
            raise ProcedureError("This generator was closed.", hint="Make a new one.")

    def open_session(self) -> EngineSession:
        """A session for sequences of any length that come at any time; the one before it is given up."""
        self.check_open()
        runner = self._spare = self._spare or self._make_runner()
        runner.end()
        most = runner.most_slots(self._max_context)
        slots = self._max_batch if most is None else max(1, min(self._max_batch, most))
        runner.begin(slots, min(_FIRST_POSITIONS, self._max_context) if most is None else self._max_context)
        return EngineSession(
            runner,
            num_slots=slots,
            max_context=self._max_context,
            drafts=True,
            steady=True,
            patience=_patience(runner, slots),
        )

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, under_way: set[Sample] | None = None
    ) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`.

        Args:
            under_way: Kept up to date with those that are in slots, for a caller that a runner may fail.
        """
        self.check_open()
        queue: list[_Sequence] = []
        for prompt in prompts:
            known = self._prepare(prompt, sampling)
            if isinstance(known, str):
                for index in range(prompt.num_samples):
                    yield self.failure(prompt, prompt.first_sample + index, sampling, known)
            else:
                queue.extend(known)
        if not queue:
            return
        # Taken, not shared, so that two calls whose attempts are read in turns cannot disturb each other.
        runner, self._spare = self._spare or self._make_runner(), None
        try:
            yield from self._run(runner, queue, sampling, set() if under_way is None else under_way)
        finally:
            if self._closed or not self._same_weights:
                runner.end()
            if not self._closed:
                self._spare = runner

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
        return [_Sequence(prompt, prompt.first_sample + i, ids, limit) for i in range(prompt.num_samples)]

    def _session(self, runner: Runner, queue: Sequence[_Sequence]) -> EngineSession:
        longest = max(len(sequence.prompt_ids) + sequence.limit for sequence in queue)
        most = runner.most_slots(longest)
        slots = min(self._max_batch, len(queue), self._max_batch if most is None else max(1, most))
        runner.begin(slots, longest, same_weights=self._same_weights)
        patience = _patience(runner, slots)
        return EngineSession(runner, num_slots=slots, max_context=self._max_context, patience=patience)

    def _run(
        self, runner: Runner, queue: Sequence[_Sequence], sampling: Sampling, under_way: set[Sample]
    ) -> Iterator[Attempt]:
        """Steps until all have ended."""
        stops = self._chat.stop_finder(sampling.stop)
        session = self._session(runner, queue)
        on_the_way = {session.submit(self._request(sequence, sampling)): sequence for sequence in queue}
        while on_the_way:
            started = time.perf_counter()
            try:
                events = session.step()
            finally:
                under_way.clear()
                under_way |= {on_the_way[handle].sample for handle in session.busy_handles()}
            ended: list[tuple[_Sequence, _End]] = []
            for drawn in events:
                sequence = on_the_way[drawn.handle]
                sequence.started = sequence.started or started
                end = self._end(sequence, drawn, stops)
                if end is not None:
                    del on_the_way[drawn.handle]
                    session.cancel(drawn.handle)
                    under_way.discard(sequence.sample)
                    ended.append((sequence, end))
            for sequence, end in ended:
                yield self._attempt(sequence, end, sampling)

    def _request(self, sequence: _Sequence, sampling: Sampling) -> SequenceRequest:
        return SequenceRequest(
            prompt_ids=sequence.prompt_ids,
            max_tokens=sequence.limit,
            seed=derive_seed(sequence.prompt.seed, *sequence.sample),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            end_ids=frozenset(self._chat.eos_ids),
            cache_key="",
        )

    def _end(self, sequence: _Sequence, drawn: Drawn, stops: StopFinder) -> _End | None:
        """Take what was drawn; whether it ends the sequence, and how.

        Raises:
            NumericalError: It is no number.
        """
        if drawn.end == "error":
            raise NumericalError(
                f"The model {self._checkpoint.name} gives logits that are not finite.",
                hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
            )
        ids = sequence.token_ids
        known = len(ids)
        ids.extend(drawn.token_ids)
        sequence.logprobs.extend(drawn.logprobs)
        read = partial(self._chat.completion_text, prefix=sequence.prompt.prefix)
        visible = ids[:-1] if drawn.end == "stop" else ids
        if len(visible) > known:
            stopped = stops.find(visible, len(visible) - known, read)
            if stopped is not None:
                return _End("stop", *stopped)
        return None if drawn.end is None else _End(drawn.end, len(ids), read(visible))

    def _attempt(self, sequence: _Sequence, end: _End, sampling: Sampling) -> Attempt:
        return Attempt(
            problem_id=sequence.prompt.problem_id,
            sample_index=sequence.sample_index,
            model=self._checkpoint.digest,
            sampling=sampling,
            seed=sequence.prompt.seed,
            text=end.text,
            finish_reason=end.reason,
            token_ids=tuple(sequence.token_ids[: end.num_tokens]),
            logprobs=tuple(sequence.logprobs[: end.num_tokens]),
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
