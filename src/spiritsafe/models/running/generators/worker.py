"""A local model behind a pipe: JSON lines in, JSON lines out, for rooms that must not import torch.

In: ``{"op": "describe"}``, ``{"op": "generate", "prompts": [...], "sampling": {...}}``, ``{"op": "score",
"conversations": [[...]], "completions": [...]}`` or ``{"op": "close"}``, one a line. Out: ``{"info": ..., "platform":
...}``, with ``"notes": [...]`` for the user where there are any; ``{"attempt": ...}`` for each attempt as it finishes,
then ``{"done": N}``; ``{"scores": [[...]]}`` (or, asked "score_spread" instead of "score", ``{"spreads": [[[logprob,
mean, deviation]]]}``); and for any failure ``{"error": {"type", "message", "hint"}}``, after which the worker waits for
the next line. Run ``python -m spiritsafe.models.running.generators.worker DIRECTORY``. Answers go to the standard
output that the process was started with; whatever a library prints goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch

from spiritsafe.core.errors import CompatibilityError, IntegrityError, error_fields
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.generator import Generator, Located, SpreadScoring
from spiritsafe.core.process.children.child_process import take_stdout
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.running.generators.transformers_generator import open_generator
from spiritsafe.models.transformers_backend.choice import choose_code

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _fields(request: dict[str, Any], *names: str) -> list[Any]:
    for name in names:
        if name not in request:
            raise IntegrityError(f"The request lacks {name!r}.", hint="Use the same version on both ends of the pipe.")
    return [request[name] for name in names]


def answer(generator: Generator, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a request is answered with, line by line.

    Raises:
        IntegrityError: The request is not one of the protocol.
        SpiritsafeError: Whatever the generator raises.
    """
    operation = request.get("op")
    if operation == "describe":
        platform = generator.platform() if isinstance(generator, Located) else None
        yield {"info": generator.describe().to_json(), "platform": None if platform is None else platform.to_json()}
    elif operation == "generate":
        raw_prompts, raw_sampling = _fields(request, "prompts", "sampling")
        count = 0
        prompts = [Prompt.from_json(prompt) for prompt in raw_prompts]
        for attempt in generator.generate(prompts, Sampling.from_json(raw_sampling)):
            count += 1
            yield {"attempt": attempt.to_json()}
        yield {"done": count}
    elif operation == "score":
        raw_conversations, completions = _fields(request, "conversations", "completions")
        conversations = [tuple(Message.from_json(turn) for turn in turns) for turns in raw_conversations]
        yield {"scores": [list(row) for row in generator.score(conversations, completions)]}
    elif operation == "score_spread":
        raw_conversations, completions = _fields(request, "conversations", "completions")
        conversations = [tuple(Message.from_json(turn) for turn in turns) for turns in raw_conversations]
        if not isinstance(generator, SpreadScoring):
            raise CompatibilityError("This model gives no spreads.", hint="Use `score`.")
        yield {"spreads": [list(row) for row in generator.score_spread(conversations, completions)]}
    else:
        raise IntegrityError(
            f"Unknown operation {operation!r}.", hint="Use describe, generate, score, score_spread or close."
        )


def _write(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply, ensure_ascii=False, allow_nan=False) + "\n")
    replies.flush()


@contextmanager
def _boundary(replies: TextIO) -> Iterator[None]:
    """Turn whatever goes wrong into an error line: the other end of a pipe can see nothing else."""
    try:
        yield
    except BrokenPipeError:  # nobody reads any more
        raise
    except Exception as error:  # noqa: BLE001  # the process boundary: nothing may leave it unreported
        _write(replies, {"error": error_fields(memory_error(error) if is_out_of_memory(error) else error)})


def _parse(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except json.JSONDecodeError as error:
        raise IntegrityError(f"The request is not JSON: {error}.", hint="Send one JSON object a line.") from error
    if not isinstance(request, dict):
        raise IntegrityError("The request is not a JSON object.", hint="Send one JSON object a line.")
    return request


def serve_generator(
    generator: Generator, requests: Iterable[str], replies: TextIO, *, notes: Sequence[str] = ()
) -> None:
    """Answer requests until "close" or the end of input.

    Args:
        generator: Answers.
        requests: One a line.
        replies: Where answers go.
        notes: What a user should know of the model, told with its description.
    """
    for line in requests:
        if not line.strip():
            continue
        with _boundary(replies):
            request = _parse(line)
            if request.get("op") == "close":
                return
            for reply in answer(generator, request):
                _write(replies, {**reply, "notes": list(notes)} if notes and "info" in reply else reply)


def main(arguments: Sequence[str] | None = None) -> int:
    """Load a model directory and serve it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spiritsafe.models.running.generators.worker")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default=None, help="default: cuda where there is one; of a GGUF file the CPU")
    parser.add_argument("--dtype", choices=sorted(_DTYPES), default=None, help="default: what the device does best")
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--max-context", type=int, default=None)
    options = parser.parse_args(arguments)
    replies = take_stdout()
    with _boundary(replies):
        is_file = file_model(options.directory) is not None
        best = "cuda" if torch.cuda.is_available() and not is_file else "cpu"
        generator = open_generator(
            options.directory,
            dtype=_DTYPES[options.dtype] if options.dtype else None,
            device=options.device or best,
            max_batch=options.max_batch,
            max_context=options.max_context,
        )
        try:
            serve_generator(generator, sys.stdin, replies, notes=choose_code(options.directory).notes)
        finally:
            generator.close()
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
