"""A real llama.cpp server (xllamacpp) for tests that talk to one; without it they are skipped, with the reason.

It serves one file from a process of its own: what its threads do at the end of a process is no business of pytest's.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spiritsafe.core.canonical import JSON

SLOT_TOKENS = 256  # the context of the tiny models


def readable_answers(*, end: float = 0.0) -> dict[str, JSON]:
    """Request options under which the tiny model of ``tiny_gguf`` writes characters, not parts of some, and ends.

    They bias what is drawn; what llama.cpp lists is the model's own.
    """
    from tiny_gguf import vocabulary  # loads torch

    unreadable = [i for i, name in enumerate(vocabulary()) if i < 2 or (len(name) == 1 and not "!" <= name <= "~")]
    return {"top_k": 0, "min_p": 0.0, "logit_bias": [*([i, False] for i in unreadable), [2, end]]}


@contextmanager
def llama_server(path: Path, *, num_slots: int = 2) -> Iterator[str]:
    """Serve a GGUF file while the block runs; gives the base URL. One thread, keys and values in float32."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp (llama.cpp's server) is not installed: pip install -e '.[test]'")
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), str(num_slots)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "llama.cpp's server did not start"
        yield json.loads(line)["url"]
    finally:
        process.communicate("\n", timeout=60)


def _serve(path: str, num_slots: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_parallel, params.n_ctx = num_slots, SLOT_TOKENS * num_slots
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.warmup, params.port = False, 0
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()  # until the test has ended


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
