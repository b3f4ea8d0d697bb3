"""The local engine: completions from weights on this machine, many at a time.

In: prompts and how to sample. Out: attempts, each as it finishes. Finished sequences leave their slot to the next in
the queue; the weights are the very parameters that training changes. See :mod:`spiritsafe.models.engine.runner` for
what happens to tensors. Shapes: B busy slots, N packed tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import NumericalError, ProcedureError, SpiritsafeError
from spiritsafe.core.generator import GeneratorInfo, TokenSpread
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, FinishReason, Message, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.chat.stop_strings import StopFinder
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.engine.runner import Admission, CachedRunner, PlainRunner, Runner
from spiritsafe.models.engine.this_platform import this_platform
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.models.transformers_backend.loading import LoadedModel

_SCORE_TOKENS = 8192
_SCORE_ROWS = 1024
_SPREAD_ROWS = 256  # three times the memory a row
_LARGEST_SQUARE = 1e30  # beyond it the chance is 0 in float32
_STEPS_PER_LOOK = {"cpu": 1, "cuda": 8}


def _expected(logprobs_NV: Tensor) -> list[Tensor]:
    """Mean and standard deviation of the log-probability of a token drawn from each row."""
    chances = logprobs_NV.exp()
    known = logprobs_NV.clamp(min=torch.finfo(logprobs_NV.dtype).min)  # 0 × -inf is 0 here
    mean = (chances * known).sum(-1)
    return [mean, (chances * (known - mean[:, None]).square().clamp(max=_LARGEST_SQUARE)).sum(-1).sqrt()]


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
class LocalGenerator:
    """A :class:`~spiritsafe.core.generator.Generator` over a loaded model.

    The same call gives the same tokens. A token's draw depends on its sequence's seed and its place only; its
    probabilities may differ in the last bits with the batch they are computed in, as matrix products do.

    Args:
        loaded: Weights, chat format and lineage; any LanguageModel works, the Decoder works fast.
        max_context: Longest prompt plus completion; None is the model's own context.
    """

    def __init__(self, loaded: LoadedModel, *, max_batch: int = 64, max_context: int | None = None) -> None:
        if max_batch < 1 or (max_context is not None and max_context < 2):
            raise ValueError("max_batch must be at least 1 and max_context at least 2")
        self._loaded = loaded
        self._model = loaded.model
        self._device = loaded.model.head().weight_VH.device
        self._max_batch = max_batch
        self._max_context = min(max_context or loaded.model.max_context, loaded.model.max_context)
        self._spare: tuple[tuple[int, int, int], Runner] | None = None
        self._closed = False

    def describe(self) -> GeneratorInfo:
        """The checkpoint's name and digest."""
        checkpoint = self._loaded.checkpoint
        return GeneratorInfo(
            name=checkpoint.name, digest=checkpoint.digest, kind="local", has_token_ids=True, has_logprobs=True
        )

    def platform(self) -> Platform:
        """This machine, and the number format of the weights."""
        return this_platform(self._device, self._model.head().weight_VH.dtype)

    def close(self) -> None:
        """Free the cache; the model itself belongs to the caller."""
        self._closed = True
        self._spare = None

    def _check_open(self) -> None:
        if self._closed:
            raise ProcedureError("This generator was closed.", hint="Make a new LocalGenerator.")

    # ---- generate

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`."""
        self._check_open()
        queue: deque[_Sequence] = deque()
        for prompt in prompts:
            known = self._prepare(prompt, sampling)
            if isinstance(known, str):
                for index in range(prompt.num_samples):
                    yield self._failure(prompt, prompt.first_sample + index, sampling, known)
            else:
                queue.extend(known)
        if not queue:
            return
        size, runner = self._take_runner(queue)
        try:
            with torch.inference_mode():
                runner.begin(list(dict.fromkeys(sequence.prompt_ids for sequence in queue)))
            yield from self._run(runner, queue, size[0], sampling)
        finally:
            runner.end()
            if not self._closed:
                self._spare = (size, runner)

    def _prepare(self, prompt: Prompt, sampling: Sampling) -> list[_Sequence] | str:
        """The prompt's sequences, or why there can be none."""
        try:
            ids = tuple(self._loaded.chat.going_on_ids(prompt.messages, prompt.prefix))
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
        needed = (
            min(self._max_batch, len(queue)),
            max(len(sequence.prompt_ids) + sequence.limit for sequence in queue),
            max(sequence.limit for sequence in queue),
        )
        spare, self._spare = self._spare, None
        if spare is not None and all(have >= need for have, need in zip(spare[0], needed, strict=True)):
            return spare
        del spare
        slots, positions, tokens = needed
        if isinstance(self._model, Decoder):
            cached = CachedRunner(self._model, num_slots=slots, num_positions=positions, max_tokens=tokens)
            return needed, cached
        return needed, PlainRunner(self._model, num_slots=slots, max_tokens=tokens)

    def _run(self, runner: Runner, queue: deque[_Sequence], num_slots: int, sampling: Sampling) -> Iterator[Attempt]:
        """Steps and refills until queue and slots are empty; busy slots are always the first ones."""
        stops = self._loaded.chat.stop_finder(sampling.stop)
        steps_per_look = _STEPS_PER_LOOK.get(self._device.type, 1)
        # On a GPU a refill costs as much as several steps, so a few free slots are saved up for it.
        patience = 1 if self._device.type == "cpu" else max(1, num_slots // 16)
        busy: list[_Sequence] = []
        free = list(range(num_slots))
        while queue or busy:
            if queue and (len(free) >= patience or not busy):
                self._refill(runner, queue, busy, free)
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
                for row, (slot, end) in zip(logprobs, ends.items(), strict=True):
                    yield self._attempt(busy[slot], end, row, sampling)
            free += list(ends)

    def _refill(self, runner: Runner, queue: deque[_Sequence], busy: list[_Sequence], free: list[int]) -> None:
        """Admit from the queue into the lowest free slots."""
        free.sort()
        admissions = []
        now = time.perf_counter()
        while free and queue:
            slot, sequence = free.pop(0), queue.popleft()
            sequence.started = now
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
                f"The model {self._loaded.checkpoint.name} gives logits that are not finite.",
                hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
            )
        for sequence, row in zip(busy, rows, strict=True):
            sequence.token_ids.extend(row[:-1])

    def _end(self, sequence: _Sequence, count: int, stops: StopFinder) -> _End | None:
        """Whether one of the newest ``count`` tokens ends the sequence, and how."""
        chat, ids = self._loaded.chat, sequence.token_ids
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
            model=self._loaded.checkpoint.digest,
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

    def _failure(self, prompt: Prompt, sample_index: int, sampling: Sampling, error: str) -> Attempt:
        return Attempt(
            problem_id=prompt.problem_id,
            sample_index=sample_index,
            model=self._loaded.checkpoint.digest,
            sampling=sampling,
            seed=prompt.seed,
            text="",
            finish_reason="error",
            error=error,
        )

    # ---- score

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Natural-log probability, at temperature 1, of each token of each completion (its end token not included).

        Raises:
            CompatibilityError: A conversation with its completion does not fit the model's context or template.
        """
        rows = self._score_all(conversations, completions, spread=False)
        return [tuple(own for (own,) in row) for row in rows]

    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[TokenSpread, ...]]:
        """As :meth:`score`, with what was expected; see :class:`spiritsafe.core.generator.SpreadScoring`."""
        rows = self._score_all(conversations, completions, spread=True)
        return [tuple((own, mean, deviation) for own, mean, deviation in row) for row in rows]

    def _score_all(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str], *, spread: bool
    ) -> list[list[list[float]]]:
        """For each completion, for each token, its numbers."""
        self._check_open()
        pairs = zip(conversations, completions, strict=True)
        documents = [self._loaded.chat.document(messages, text) for messages, text in pairs]
        out: list[list[list[float]]] = []
        waiting: list[Document] = []
        for document in documents:
            if waiting and sum(len(d.token_ids) for d in waiting) + len(document.token_ids) > _SCORE_TOKENS:
                out.extend(self._score(waiting, spread=spread))
                waiting = []
            waiting.append(document)
        return out + (self._score(waiting, spread=spread) if waiting else [])

    def _score(self, documents: Sequence[Document], *, spread: bool) -> list[list[list[float]]]:
        with torch.inference_mode():
            batch = pack_documents(documents).to(self._device)
            hidden_NH = self._model(batch)
            chosen = (batch.targets_N != IGNORED).nonzero().squeeze(1)
            values: list[list[float]] = []
            for rows in torch.split(chosen, _SPREAD_ROWS if spread else _SCORE_ROWS):
                logprobs = head_logits(self._model.head(), hidden_NH[rows]).log_softmax(-1)
                columns = [logprobs.gather(1, batch.targets_N[rows, None]).squeeze(1)]
                if spread:
                    columns += _expected(logprobs)
                values.extend(torch.stack(columns, dim=1).tolist())
        if any(row[0] != row[0] for row in values):
            raise NumericalError(
                f"The model {self._loaded.checkpoint.name} gives logits that are not finite.",
                hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
            )
        out: list[list[list[float]]] = []
        start = 0
        for document in documents:
            count = sum(document.supervised[1:])
            out.append(values[start : start + count - 1])
            start += count
        return out
