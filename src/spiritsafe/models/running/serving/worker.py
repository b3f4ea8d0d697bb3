"""A served model in a process of its own: JSON lines in, JSON lines out, for a server that must not import torch.

In, one a line: ``{"op":"describe"}``, ``{"op":"run","id":7,"job":{…}}``, ``{"op":"cancel","id":7}``,
``{"op":"count","id":8,"job":{…}}``, ``{"op":"ping"}``, ``{"op":"close"}``. Out: ``{"described":{…}}``; after each step
one line for all jobs, ``{"events":[[7,"accepted",{…}],[7,"piece",{…}],[8,"count",{"num_tokens":12}]]}`` with the names
of the records of :mod:`spiritsafe.core.serving` in small letters; ``{"pong":true}`` between two steps where it was
pinged, and unasked in the middle of what takes long; ``{"error":{"type","message","hint"}}`` for a line that is none of
these, or for a model that cannot be loaded, which ends the process. So does the end of its input. Run ``python -m
spiritsafe.models.running.serving.worker DIRECTORY``. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from spiritsafe.core.errors import error_fields
from spiritsafe.core.process.children.child_process import take_stdout
from spiritsafe.core.process.json_lines import to_line
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error
from spiritsafe.models.running.serving.intake import Intake, lines_of
from spiritsafe.models.running.serving.loop import ServingLoop
from spiritsafe.models.running.serving.opening import open_served
from spiritsafe.models.running.serving.preparation import JobPreparer, PreparedJob
from spiritsafe.models.running.serving.running import RunningJob, TokenTeller

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Load a model directory and serve it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spiritsafe.models.running.serving.worker")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default=None, help="default: cuda where there is one; of a GGUF file the CPU")
    parser.add_argument("--dtype", choices=sorted(_DTYPES), default=None, help="default: what the device does best")
    parser.add_argument("--max-batch", type=int, default=64, help="most answers at once")
    parser.add_argument("--max-context", type=int, default=None, help="longest prompt plus answer")
    options = parser.parse_args(arguments)
    answers = take_stdout()  # kept: it closes its buffer when it goes
    replies = answers.buffer
    try:
        served = open_served(
            options.directory,
            dtype=_DTYPES[options.dtype] if options.dtype else None,
            device=options.device,
            max_batch=options.max_batch,
            max_context=options.max_context,
        )
    except Exception as error:  # noqa: BLE001  # the process boundary: nothing may leave it unreported
        fields = error_fields(memory_error(error) if is_out_of_memory(error) else error)
        replies.write(to_line({"error": fields}))
        replies.flush()
        return 1
    preparer = JobPreparer(served.chat, served.tokens, served.grammars, context=served.described.context)
    teller = TokenTeller(served.tokens)

    def running(prepared: PreparedJob) -> RunningJob:
        return RunningJob(prepared, served.tokens, teller)

    intake = Intake(lines_of(sys.stdin.fileno()), preparer.prepare, preparer.prompt_ids)
    try:
        loop = ServingLoop(served.open_session, served.described, intake, running, replies)
        intake.start()
        loop.run()
    except BrokenPipeError:  # nobody reads any more
        return 1
    finally:
        served.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
