"""Completions from models that the Decoder does not cover, through transformers' ``generate`` and its caches.

In: prompts and how to sample. Out: attempts, drawn by the same sampler and seeds as the engine's, a batch at a time.
Where rotary frequencies change at a length (longrope), a sequence that may grow beyond it is drawn alone, as
transformers' ``generate`` draws it; the others are drawn beside those on their side.
Shapes: B sequences, T tokens of the longest prompt, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from spiritsafe.core.errors import CompatibilityError, NumericalError, ProcedureError, SpiritsafeError
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.generator import Generator, GeneratorInfo, TokenSpread
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, FinishReason, Message, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.decoder.head_product import head_product, logits_dtype
from spiritsafe.models.decoder.quantised import WeightFormat
from spiritsafe.models.interface.dtype import preferred_dtype
from spiritsafe.models.running.engine.sampler import draw
from spiritsafe.models.running.generators.file_generator import FileGenerator
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.models.transformers_backend.model import TransformersModel


@final
@dataclass(frozen=True)
class _Wanted:
    """One completion to draw."""

    prompt: Prompt
    sample_index: int
    prompt_ids: tuple[int, ...]
    limit: int


@final
class _Drawing:
    """Draws each step's tokens inside ``generate`` and says which sequences are finished.

    As a logits processor it leaves only the drawn token possible, so that greedy ``generate`` takes it.
    """

    def __init__(self, seeds_B: Tensor, sampling: Sampling) -> None:
        self._seeds_B = seeds_B
        self._sampling = sampling
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def process(self, input_ids: Tensor, scores_BV: Tensor) -> Tensor:
        """Draw one token for each sequence."""
        steps_B = torch.full_like(self._seeds_B, len(self.tokens))
        drawn = draw(scores_BV.float(), self._seeds_B, steps_B, self._sampling)
        self.tokens.append(drawn.token_ids_B)
        self.logprobs.append(drawn.logprobs_B)
        only_BV = torch.full_like(scores_BV, -torch.inf)
        return only_BV.scatter_(1, drawn.token_ids_B[:, None], 0.0)


@final
class _Ends:
    """Where each sequence of a batch ends: at an end token, a stop string or its limit."""

    def __init__(self, wanted: Sequence[_Wanted], chat: ChatFormat, stop: Sequence[str]) -> None:
        self._wanted = wanted
        self._eos_ids = chat.eos_ids
        self._stops = chat.stop_finder(stop)
        self._read = [partial(chat.completion_text, prefix=one.prompt.prefix) for one in wanted]
        self.token_ids: list[list[int]] = [[] for _ in wanted]
        self.found: dict[int, tuple[FinishReason, str]] = {}
        self.ended_at: dict[int, float] = {}

    def look(self, newest: Sequence[int]) -> list[bool]:
        """Take one more token of each sequence; whether each is finished."""
        for row, token in enumerate(newest):
            if row in self.found:
                continue
            ids = self.token_ids[row]
            ids.append(token)
            if token in self._eos_ids:
                self._finish(row, "stop", self._read[row](ids[:-1]))
            elif (stopped := self._stops.find(ids, 1, self._read[row])) is not None:
                self._finish(row, "stop", stopped[1])
            elif len(ids) >= self._wanted[row].limit:
                self._finish(row, "length", self._read[row](ids))
        return [row in self.found for row in range(len(newest))]

    def _finish(self, row: int, reason: FinishReason, text: str) -> None:
        self.found[row] = (reason, text)
        self.ended_at[row] = time.perf_counter()


@contextmanager
def _unrounded(head: nn.Module) -> Iterator[None]:
    """Let a head in half precision give its logits in float32, as they are drawn from."""
    weight: Any = head.weight
    if weight.dtype == logits_dtype(weight):
        yield
        return

    def forward(hidden: Tensor) -> Tensor:
        return head_product(hidden.flatten(0, -2), weight).view(*hidden.shape[:-1], -1)

    head.forward = forward
    try:
        yield
    finally:
        del head.forward


@final
class FallbackGenerator:
    """A :class:`~spiritsafe.core.generator.Generator` over a transformers model.

    A token's draw depends on its sequence's seed and place only, as in the engine; its probabilities may differ in
    the last bits with the batch and its padding.

    Args:
        loaded: A model opened through transformers.
        max_context: Longest prompt plus completion; None is the model's own context.
    """

    def __init__(self, loaded: LoadedModel, *, max_batch: int = 64, max_context: int | None = None) -> None:
        if not isinstance(loaded.model, TransformersModel):
            raise TypeError("FallbackGenerator needs a TransformersModel; LocalGenerator runs the others")
        # Scoring, descriptions and the checks of sizes are the engine's.
        self._engine = LocalGenerator(loaded, max_batch=max_batch, max_context=max_context)
        self._model: Any = loaded.model.model
        self._loaded = loaded
        self._max_batch = max_batch
        self._max_context = min(max_context or loaded.model.max_context, loaded.model.max_context)
        self._boundary = loaded.model.rope_boundary
        self._closed = False

    def describe(self) -> GeneratorInfo:
        """The checkpoint's name and digest."""
        return self._engine.describe()

    def platform(self) -> Platform:
        """This machine, and the number format of the weights."""
        return self._engine.platform()

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """As :meth:`LocalGenerator.score`."""
        return self._engine.score(conversations, completions)

    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[TokenSpread, ...]]:
        """As :meth:`LocalGenerator.score_spread`."""
        return self._engine.score_spread(conversations, completions)

    def close(self) -> None:
        """Refuse further calls; the model belongs to the caller."""
        self._closed = True
        self._engine.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`."""
        if self._closed:
            raise ProcedureError("This generator was closed.", hint="Make a new one.")
        wanted: list[_Wanted] = []
        for prompt in prompts:
            indices = range(prompt.first_sample, prompt.first_sample + prompt.num_samples)
            ids = self._prompt_ids(prompt)
            if isinstance(ids, str):
                for index in indices:
                    yield self._attempt(prompt, index, sampling, "error", error=ids)
            else:
                limit = min(prompt.token_limit(sampling), self._max_context - len(ids))
                wanted += [_Wanted(prompt, index, ids, limit) for index in indices]
        for batch in self._batches(wanted):
            yield from self._run(batch, sampling)

    def _batches(self, wanted: list[_Wanted]) -> list[list[_Wanted]]:
        """Prompts of similar length together, on one side of where rotary frequencies change.

        No sequence of a batch outgrows the context, or that boundary, while others finish.
        """
        bound = self._boundary
        if bound is None:
            return self._together(wanted, self._max_context)
        within = [one for one in wanted if len(one.prompt_ids) + one.limit <= bound]
        beyond = [one for one in wanted if len(one.prompt_ids) > bound]
        crossing = [[one] for one in wanted if len(one.prompt_ids) <= bound < len(one.prompt_ids) + one.limit]
        return [
            *self._together(within, min(bound, self._max_context)),
            *self._together(beyond, self._max_context),
            *crossing,
        ]

    def _together(self, wanted: list[_Wanted], most_tokens: int) -> list[list[_Wanted]]:
        batches: list[list[_Wanted]] = []
        for one in sorted(wanted, key=lambda one: len(one.prompt_ids)):
            most = max((other.limit for other in batches[-1]), default=0) if batches else 0
            if (
                not batches
                or len(batches[-1]) == self._max_batch
                or len(one.prompt_ids) + max(most, one.limit) > most_tokens
            ):
                batches.append([])
            batches[-1].append(one)
        return batches

    def _prompt_ids(self, prompt: Prompt) -> tuple[int, ...] | str:
        """The prompt's tokens, or why it cannot be answered."""
        try:
            ids = tuple(self._loaded.chat.going_on_ids(prompt.messages, prompt.prefix))
        except SpiritsafeError as error:
            return error.diagnostics()
        if not 0 < len(ids) < self._max_context:
            return (
                f"The prompt's {len(ids)} tokens do not fit the context of {self._max_context} with a completion. "
                "Shorten the prompt or use a model with a longer context."
            )
        return ids

    @torch.no_grad()  # not inference_mode: rotary buffers made in it could not be trained with afterwards
    def _draw_batch(self, wanted: Sequence[_Wanted], sampling: Sampling) -> tuple[_Drawing, _Ends]:
        chat, device = self._loaded.chat, self._loaded.model.head().weight_VH.device
        longest = max(len(one.prompt_ids) for one in wanted)
        ids_BT = torch.full((len(wanted), longest), chat.pad_id, dtype=torch.int64)
        mask_BT = torch.zeros_like(ids_BT)
        for row, one in enumerate(wanted):
            ids_BT[row, longest - len(one.prompt_ids) :] = torch.tensor(one.prompt_ids)
            mask_BT[row, longest - len(one.prompt_ids) :] = 1
        seeds = [derive_seed(one.prompt.seed, one.prompt.problem_id, one.sample_index) for one in wanted]
        drawing = _Drawing(torch.tensor(seeds, device=device), sampling)
        ends = _Ends(wanted, chat, sampling.stop)

        def finished(input_ids: Tensor, scores: Tensor) -> Tensor:
            return torch.tensor(ends.look(drawing.tokens[-1].tolist()), device=device)

        settings = GenerationConfig(
            do_sample=False, max_new_tokens=max(one.limit for one in wanted), pad_token_id=chat.pad_id, use_cache=True
        )
        own = self._model.generation_config
        self._model.generation_config = GenerationConfig()  # the model's own penalties and ends must not join in
        try:
            with _unrounded(self._model.get_output_embeddings()):
                self._model.generate(
                    input_ids=ids_BT.to(device),
                    attention_mask=mask_BT.to(device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([drawing.process]),
                    stopping_criteria=StoppingCriteriaList([finished]),
                )
        finally:
            self._model.generation_config = own
        return drawing, ends

    def _run(self, wanted: Sequence[_Wanted], sampling: Sampling) -> Iterator[Attempt]:
        started = time.perf_counter()
        training = self._model.training
        self._model.eval()
        try:
            drawing, ends = self._draw_batch(wanted, sampling)
        finally:
            self._model.train(training)
        logprobs = torch.stack(drawing.logprobs, dim=1).tolist()
        for row, one in enumerate(wanted):
            ids = ends.token_ids[row]
            if any(value != value for value in logprobs[row][: len(ids)]):  # NaN: what draw gives for broken logits
                raise NumericalError(
                    f"The model {self._loaded.checkpoint.name} gives logits that are not finite.",
                    hint="The weights are damaged or training diverged: go back to an earlier checkpoint.",
                )
            reason, text = ends.found[row]
            yield self._attempt(
                one.prompt,
                one.sample_index,
                sampling,
                reason,
                text=text,
                token_ids=tuple(ids),
                logprobs=tuple(logprobs[row][: len(ids)]),
                num_prompt_tokens=len(one.prompt_ids),
                num_tokens=len(ids),
                seconds=ends.ended_at[row] - started,
            )

    def _attempt(
        self, prompt: Prompt, sample_index: int, sampling: Sampling, reason: FinishReason, **what: Any
    ) -> Attempt:
        return Attempt(
            problem_id=prompt.problem_id,
            sample_index=sample_index,
            model=self._loaded.checkpoint.digest,
            sampling=sampling,
            seed=prompt.seed,
            finish_reason=reason,
            **{"text": "", **what},
        )


def make_generator(
    loaded: LoadedModel, *, max_batch: int = 64, max_context: int | None = None, same_weights: bool = False
) -> FallbackGenerator | LocalGenerator:
    """A Generator over a loaded model, with the weights that it has whenever it is asked.

    The engine where the model is the Decoder, transformers' ``generate`` where transformers runs it.

    Args:
        loaded: The model; in training it may change between two calls.
        max_context: Longest prompt plus completion; None is the model's own context.
        same_weights: It never changes, so what was computed in one call is kept for the next.
    """
    if isinstance(loaded.model, TransformersModel):
        return FallbackGenerator(loaded, max_batch=max_batch, max_context=max_context)
    return LocalGenerator(loaded, max_batch=max_batch, max_context=max_context, same_weights=same_weights)


def open_generator(
    directory: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    max_batch: int = 64,
    max_context: int | None = None,
    weights: WeightFormat | None = None,
) -> Generator:
    """A local Generator for a model directory: the engine where the Decoder fits, else transformers.

    A file model is answered by llama.cpp on the CPU, from its numbers as they are.

    Args:
        dtype: None: what the device does best.
        device: None: the CPU.
        weights: As of :func:`~spiritsafe.models.load_model`.

    Raises:
        CompatibilityError: The model cannot be run locally, or is a file, and an option speaks of something else.
    """
    if file_model(directory) is not None:
        given = {"dtype": dtype, "device": None if str(device) == "cpu" else device, "weights": weights}
        if said := [f"{name} = {value}" for name, value in given.items() if value is not None]:
            raise CompatibilityError(
                f"{directory} is a GGUF file, which llama.cpp runs on the CPU from its numbers as they are: "
                f"{said[0]} would change nothing.",
                hint="Leave it out. To choose number format and device, write gguf: before the file: it is converted.",
            )
        return FileGenerator(directory, max_batch=max_batch, max_context=max_context)
    place = "cpu" if device is None else device
    number = preferred_dtype(place) if dtype is None else dtype
    loaded = load_model(directory, dtype=number, device=place, weights=weights)
    return make_generator(loaded, max_batch=max_batch, max_context=max_context, same_weights=True)
