"""The very file that people download, as a Generator: llama.cpp computes, rendering, tokens and draws are ours.

In: a file model's directory: one GGUF file and its ``lineage.json``. Out: attempts and scores that name the file's
digest. Tokenizer, chat template and end tokens come from the file's header alone. llama.cpp is C++ in a process of its
own: one that crashes costs the answers that make it crash, and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import final

import torch

from spiritsafe.core.errors import BudgetError, CompatibilityError, EndpointError
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.process.free_memory import free_bytes
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.convert import write_gguf_config
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.models.llama_cpp.pool import LlamaPool
from spiritsafe.models.llama_cpp.process import LlamaProcess, chunks, require_llama_cpp
from spiritsafe.models.running.engine.llama_runner import (
    EXTRA_SEQUENCES,
    LlamaRunner,
    cache_bytes,
    feed,
    served_context,
)
from spiritsafe.models.running.engine.runner import PrefillWork, common_prefix
from spiritsafe.models.running.engine.session import EngineSession
from spiritsafe.models.running.generators.local_generator import Scorer, scores_by_document, token_scores
from spiritsafe.models.running.generators.scheduler import Sample, Scheduler
from spiritsafe.models.running.generators.this_platform import this_platform
from spiritsafe.models.transformers_backend.sizes import read_config

_MOST_DEAD = 3
"""Processes in a row that end without an answer before the file is called unusable."""
_PLATFORM_CHARACTERS = 200
_SERVED_SHARE = 0.25
"""Of the free memory, for keys and values: weights, other models and other programs want some as well."""


def _apart(prompt: Prompt, indices: Sequence[int]) -> list[Prompt]:
    """The prompt for these of its samples: one for each run of neighbours."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [prompt.model_copy(update={"first_sample": run[0], "num_samples": len(run)}) for run in runs]


def _samples(prompt: Prompt) -> list[Sample]:
    indices = range(prompt.first_sample, prompt.first_sample + prompt.num_samples)
    return [(prompt.problem_id, index) for index in indices]


@final
class FileGenerator(Scorer):
    """A :class:`~spiritsafe.core.generator.Generator` over a GGUF file, on this machine's processor.

    Args:
        directory: A file model.
        max_batch: Most sequences at once.
        max_context: Longest prompt plus completion; None is the model's own context.
        threads: llama.cpp's. They wait for each other by spinning, so more than idle cores make it slow.
        served: Sequences come at any time, so room for them is made at once and kept: a quarter of the free memory at
            most, to which the context is cut where none is given. Keys and values are float16, as llama.cpp keeps them
            by itself.

    Attributes:
        context: Longest prompt plus completion.
        longest_context: What the file was made for.

    Raises:
        CompatibilityError: llama.cpp is not installed, the directory is no file model, or the header holds something
            that is not understood.
        SourceError: The file is damaged.
        BudgetError: It is to be served, and not even one sequence fits the free memory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_batch: int = 64,
        max_context: int | None = None,
        threads: int = 1,
        served: bool = False,
    ) -> None:
        file = file_model(directory)
        if file is None:
            raise CompatibilityError(
                f"{directory} is not one GGUF file with its lineage.",
                hint="Make one of a file: spiritsafe models fetch FILE.gguf prints its directory.",
            )
        require_llama_cpp()
        self._checkpoint = read_checkpoint(directory)
        with tempfile.TemporaryDirectory(prefix="spiritsafe-") as small:
            write_gguf_config(file, Path(small))
            self._chat = ChatFormat(Path(small))
            config = DecoderConfig.from_hf(read_config(Path(small)))
        self.longest_context = longest = config.max_context
        self.context = longest if max_context is None else min(max_context, longest)
        # of keys and of values, float16 where it is served
        token_bytes = (4 if served else 8) * config.num_layers * config.num_kv_heads * config.head_dim
        room_bytes = int(free_bytes() * _SERVED_SHARE) if served else None
        if room_bytes is not None:
            if max_context is None:
                self.context = served_context(
                    longest, max_batch=max_batch, token_bytes=token_bytes, room_bytes=room_bytes
                )
            self._require_room(token_bytes, room_bytes)
        self._threads = threads
        self._pool = LlamaPool(file, threads=threads, rounded=served)
        first = self._pool.take(context=1, num_sequences=1)  # what is wrong with the file is said now
        self._facts = first.facts
        self._pool.give_back(first)
        if self._chat.vocab_size > self._facts.vocab_size or max_batch > self._facts.most_sequences - EXTRA_SEQUENCES:
            self._pool.close()
            raise self._unfit(max_batch)
        self._scheduler = Scheduler(
            self._chat,
            self._checkpoint,
            partial(
                LlamaRunner,
                self._pool,
                token_bytes=token_bytes,
                work=PrefillWork.of(config, threads),
                room_bytes=room_bytes,
            ),
            max_batch=max_batch,
            max_context=self.context,
        )

    def _require_room(self, token_bytes: int, room_bytes: int) -> None:
        """Refuse what the system would end llama.cpp's process for."""
        least = cache_bytes(1 + EXTRA_SEQUENCES, max(1, self.context), token_bytes)
        free = room_bytes / _SERVED_SHARE
        if self.context and least <= free:
            return
        most = served_context(self.longest_context, max_batch=1, token_bytes=token_bytes, room_bytes=room_bytes)
        raise BudgetError(
            f"One answer of {max(1, self.context)} tokens from {self._checkpoint.name} needs {least / 1e9:.1f} GB of "
            f"keys and values; {free / 1e9:.1f} GB are free.",
            hint=f"Ask for a shorter context: --max-context {most}." if most else "Free some memory.",
        )

    def _unfit(self, max_batch: int) -> CompatibilityError:
        most = self._facts.most_sequences - EXTRA_SEQUENCES
        if max_batch > most:
            return CompatibilityError(
                f"llama.cpp holds {most} sequences at once, not {max_batch}.", hint=f"Set max_batch to {most} or less."
            )
        return CompatibilityError(
            f"{self._checkpoint.name}: the tokenizer knows {self._chat.vocab_size} tokens, the weights only "
            f"{self._facts.vocab_size}.",
            hint="The file's header and its weights come from different models: make it anew.",
        )

    def describe(self) -> GeneratorInfo:
        """The file's name and digest."""
        name, digest = self._checkpoint.name, self._checkpoint.digest
        return GeneratorInfo(name=name, digest=digest, kind="local", has_token_ids=True, has_logprobs=True)

    def platform(self) -> Platform:
        """This machine, and the build of llama.cpp that computes on it; torch only draws."""
        facts = self._facts
        words = f"llama.cpp {facts.version} ({facts.commit}) {' '.join(facts.instructions)}"
        return this_platform("cpu").model_copy(
            update={"instructions": words[:_PLATFORM_CHARACTERS], "threads": self._threads}
        )

    def peak_bytes(self) -> int:
        """The most memory that llama.cpp's process had resident so far: weights, cache and work space."""
        return self._pool.peak_bytes()

    def close(self) -> None:
        """End llama.cpp's process."""
        self._scheduler.close()
        self._pool.close()

    @property
    def chat(self) -> ChatFormat:
        """How chats become its tokens."""
        return self._chat

    @property
    def vocab_size(self) -> int:
        """Of its logits."""
        return self._facts.vocab_size

    def open_session(self) -> EngineSession:
        """A session for whoever serves the file instead of calling :meth:`generate`; the one before it is given up."""
        return self._scheduler.open_session()

    # ---- generate

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw completions; see :meth:`spiritsafe.core.generator.Generator.generate`.

        What a crash of llama.cpp interrupts is asked again, each sample alone; draws are counted by seed, so the
        answers are the same. One that crashes it again becomes an attempt that says so.

        Raises:
            EndpointError: Three processes in a row ended without an answer.
        """
        asked, suspects, num_dead = list(prompts), list[Prompt](), 0
        while asked or suspects:
            batch = suspects[:1] or asked
            answered: set[Sample] = set()
            under_way: set[Sample] = set()
            try:
                for attempt in self._scheduler.generate(batch, sampling, under_way):
                    answered.add((attempt.problem_id, attempt.sample_index))
                    num_dead = 0
                    yield attempt
            except EndpointError as error:
                num_dead += 1
                if num_dead == _MOST_DEAD:
                    raise EndpointError(
                        f"{_MOST_DEAD} processes of llama.cpp in a row ended without an answer from "
                        f"{self._checkpoint.name}. The last: {error.message}",
                        hint=error.hint,
                    ) from error
                if suspects:
                    only = suspects.pop(0)
                    yield self._scheduler.failure(only, only.first_sample, sampling, error.diagnostics())
                    continue
                left = [(prompt, [s for s in _samples(prompt) if s not in answered]) for prompt in asked]
                asked = [
                    part
                    for prompt, samples in left
                    for part in _apart(
                        prompt, [index for _, index in samples if (prompt.problem_id, index) not in under_way]
                    )
                ]
                suspects = [
                    part
                    for prompt, samples in left
                    for s in samples
                    if s in under_way
                    for part in _apart(prompt, [s[1]])
                ]
            else:
                if suspects:
                    suspects.pop(0)
                else:
                    asked = []

    # ---- score

    def _score_all(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str], *, spread: bool
    ) -> list[list[list[float]]]:
        self._scheduler.check_open()
        pairs = zip(conversations, completions, strict=True)
        documents = [self._chat.document(messages, text) for messages, text in pairs]
        longest = max((len(document.token_ids) for document in documents), default=0)
        if longest > self.longest_context:
            raise CompatibilityError(
                f"A conversation of {longest} tokens does not fit the context of {self.longest_context}.",
                hint="Shorten it, or use a model with a longer context.",
            )
        if not documents:
            return []
        process = self._pool.take(context=longest, num_sequences=1)
        values: list[list[float]] = []
        try:
            known: tuple[int, ...] = ()
            for document in documents:
                values += _score(process, document, known, spread=spread)
                known = document.token_ids
        finally:
            self._pool.give_back(process)
        return scores_by_document(values, documents, self._checkpoint.name)


def _score(process: LlamaProcess, document: Document, known: tuple[int, ...], *, spread: bool) -> list[list[float]]:
    """The numbers of a document's targets; sequence 0 holds ``known`` before and the document afterwards."""
    ids, targets_N = document.token_ids, pack_documents([document]).targets_N
    chosen = (targets_N != IGNORED).nonzero().flatten().tolist()
    first = chosen[0] if chosen else len(ids)
    shared = min(common_prefix([known, ids]), first) if known else 0
    process.copy(0, [0], shared)
    feed(process, 0, ids[:first], kept=shared)
    values: list[list[float]] = []
    for start, end in chunks(len(ids) - first, process.num_rows):
        places = range(first + start, first + end)
        rows = process.decode(ids[places.start : places.stop], places, [0] * len(places), range(len(places)))
        wanted = torch.tensor([place in set(chosen) for place in places])
        targets = targets_N[places.start : places.stop]
        values += token_scores(torch.from_numpy(rows)[wanted], targets[wanted], spread=spread)
    return values
