"""What a GGUF file takes to run: memory, and time a token where one answer is written at a time.

In: a file. Out: :class:`FileSpeed`, of this machine, at this moment.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import final

from pydantic import Field

from spiritsafe.core.records import Record
from spiritsafe.models.llama_cpp.process import LlamaProcess

_PROMPT_TOKENS = 64
_CONTEXT = 512


@final
class FileSpeed(Record):
    """What running a file took.

    Attributes:
        memory_bytes: Resident memory of the process at its most: weights, a cache of ``context`` tokens, work space.
        context: Tokens that the cache holds.
        tokens_per_s: One over the median time of a token, by one thread, one sequence.
    """

    memory_bytes: int = Field(ge=1)
    context: int = Field(ge=1)
    tokens_per_s: float = Field(gt=0.0)


def measure_speed(file: Path, *, num_tokens: int = 64) -> FileSpeed:
    """Run a file for some tokens.

    Args:
        num_tokens: That are timed, one by one.

    Raises:
        CompatibilityError: llama.cpp is not installed, or does not run the file.
        EndpointError: It crashes.
    """
    with LlamaProcess(file, context=_CONTEXT, num_sequences=1) as process:
        prompt, vocabulary = min(_PROMPT_TOKENS, process.facts.context_length // 2), process.facts.vocab_size
        context = min(_CONTEXT, process.facts.context_length)
        ids = [(7 * place) % vocabulary for place in range(min(context, prompt + num_tokens))]
        process.decode(ids[:prompt], range(prompt), [0] * prompt, [prompt - 1])
        seconds = []
        for place in range(prompt, len(ids)):
            started = time.perf_counter()
            process.decode([ids[place]], [place], [0], [0])
            seconds.append(time.perf_counter() - started)
        return FileSpeed(
            memory_bytes=process.peak_bytes(), context=context, tokens_per_s=1.0 / statistics.median(seconds)
        )
