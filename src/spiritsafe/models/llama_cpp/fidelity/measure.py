"""The fidelity gate: a Hugging Face directory and a GGUF file that was made of it, compared.

In: both, and documents of the task where there are any. Out: a :class:`~spiritsafe.models.llama_cpp.fidelity.records.
Fidelity`; :func:`~spiritsafe.models.llama_cpp.fidelity.records.require_faithful` refuses what is not the same model.

1. Texts are the same tokens by the parent's tokenizer, by the file's header and by llama.cpp.
2. Next-token distributions of the file are near the parent's, which is computed in float32.
3. Greedy answers of an f32, f16 or bf16 file are the parent's, up to ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import storage_errors
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.records import Message
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.gguf.convert import write_gguf_config
from spiritsafe.models.gguf.facts import file_facts
from spiritsafe.models.llama_cpp.fidelity.logits import compare_greedy, compare_logits
from spiritsafe.models.llama_cpp.fidelity.records import (
    KL_BOUNDS,
    TIE_TOLERANCES,
    Fidelity,
    GreedyFidelity,
    LogitFidelity,
    TokenFidelity,
)
from spiritsafe.models.llama_cpp.fidelity.texts import general_texts
from spiritsafe.models.llama_cpp.fidelity.tokens import compare_tokens
from spiritsafe.models.llama_cpp.process import LlamaProcess
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model

GENERAL_TOKENS = 48
"""Tokens of a general document, from its beginning: enough to be in the middle of something."""

_NUM_PROMPTS = 8
_ANSWER_TOKENS = 32


def general_documents(directory: Path) -> list[list[int]]:
    """The general texts as a model reads them, with the token that begins a text where its tokenizer puts one."""
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return [list(tokenizer(one.text).input_ids[:GENERAL_TOKENS]) for one in general_texts()]


def measure_fidelity(
    directory: Path,
    file: Path,
    *,
    in_task: Sequence[Sequence[int]] = (),
    general: Sequence[Sequence[int]] | None = None,
    prompts: Sequence[Sequence[Message]] | None = None,
    num_texts: int = 400,
    seed: int = 0,
    threads: int = 1,
    events: EventSink | None = None,
) -> Fidelity:
    """Hold a GGUF file against the model directory that it was made of.

    Args:
        directory: The parent, in Hugging Face's layout.
        in_task: Token ids of documents of the task.
        general: The same of other text; None: that of :func:`general_documents`.
        prompts: Conversations that are answered greedily; None: some of the general texts.
        num_texts: Random texts of the fuzz corpus.
        seed: Of the corpus and of the bootstrap.
        threads: Of llama.cpp.

    Raises:
        SourceError: Directory or file are missing or damaged.
        CompatibilityError: llama.cpp is not installed; the file is of another model, or of one that is not read here;
            there are too few documents, or one is longer than the model's context.
        EndpointError: llama.cpp's process broke down.
    """
    facts = file_facts(file)
    loaded = load_model(directory, dtype=torch.float32)
    general = general_documents(directory) if general is None else general
    asked = [loaded.chat.prompt_ids(messages) for messages in (_default_prompts() if prompts is None else prompts)]
    has_greedy = facts.file_type in TIE_TOLERANCES
    longest = max(0, *map(len, (*general, *in_task)), *(len(prompt) + _ANSWER_TOKENS for prompt in asked))
    if longest > loaded.model.max_context:
        raise CompatibilityError(
            f"A document or answer of {longest} tokens is longer than the model's context of "
            f"{loaded.model.max_context}.",
            hint="Give shorter ones.",
        )
    total = len(general) + len(in_task) + (len(asked) if has_greedy else 0)
    advance = _counter(events or NullSink(), total)
    with LlamaProcess(file, threads=threads, context=longest) as process:
        tokens = _compare_tokens(directory, file, process, num_texts, seed)  # 1

        def near(documents: Sequence[Sequence[int]]) -> LogitFidelity:  # 2
            return compare_logits(loaded.model, process, documents, seed=seed, advance=advance)

        near_general, near_task = near(general), near(in_task) if in_task else None
        greedy = _compare_greedy(loaded, process, asked, facts.file_type, advance) if has_greedy else None  # 3
        build = process.facts.version
    return Fidelity(
        parent=loaded.checkpoint.digest,
        file=digest_file(file),
        file_type=facts.file_type,
        llama_cpp=build,
        tokens=tokens,
        general=near_general,
        in_task=near_task,
        kl_bound=_kl_bound(facts.file_type, directory),
        greedy=greedy,
    )


def _default_prompts() -> list[list[Message]]:
    return [[Message(role="user", content=one.text)] for one in general_texts()[:_NUM_PROMPTS]]


def _counter(events: EventSink, total: int) -> Callable[[], None]:
    done = count(1)
    return lambda: events.progress(next(done), total, "documents", "comparing the file with its model")


def _compare_tokens(directory: Path, file: Path, process: LlamaProcess, num_texts: int, seed: int) -> TokenFidelity:
    with TemporaryDirectory() as folder:
        header = Path(folder)
        with storage_errors(header):
            write_gguf_config(file, header)
        return compare_tokens(directory, header, process, num_texts=num_texts, seed=seed)


def _compare_greedy(
    loaded: LoadedModel,
    process: LlamaProcess,
    prompts: Sequence[Sequence[int]],
    file_type: str,
    advance: Callable[[], None],
) -> GreedyFidelity:
    return compare_greedy(
        loaded.model,
        process,
        prompts,
        loaded.chat.eos_ids,
        num_tokens=_ANSWER_TOKENS,
        tolerance=TIE_TOLERANCES[file_type],
        advance=advance,
    )


def _kl_bound(file_type: str, directory: Path) -> float | None:
    """A bound where the type holds the parent's weights: bfloat16 does not hold those of other formats."""
    stored = {info.dtype for info in read_tensor_table(directory).values() if len(info.shape) > 1}
    return None if file_type == "bf16" and stored != {"BF16"} else KL_BOUNDS.get(file_type)
