"""One engine in a process of its own, for bench/serving.py: it loads, then answers lines on its standard input.

    python bench/serving_engines.py ENGINE PATH

A line is ``{"prompts": [[token ids]], "tokens": n}``; the answer ``{"tokens": drawn}``. An engine that is an HTTP
server says ``{"url": …}`` first and is asked there. Nothing of spiritsafe is imported for other engines, so that each
can live in an environment of its own. All end tokens are off, temperature 1, one thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

MOST_STREAMS = 64
MOST_TOKENS = 512
Answer = Callable[[list[list[int]], int], int]


def session(path: str) -> Answer:
    """Our engine's session, as the worker of a server holds it: weights laid out once, what prompts share is kept."""
    from pathlib import Path

    import torch

    from spiritsafe.models import load_model
    from spiritsafe.models.interface.dtype import preferred_dtype
    from spiritsafe.models.running.engine.request import SequenceRequest
    from spiritsafe.models.running.engine.session import EngineSession
    from spiritsafe.models.running.generators.local_generator import fastest_runner

    torch.set_num_threads(1)
    model = load_model(Path(path), dtype=preferred_dtype("cpu")).model
    runner = fastest_runner(model, for_few_rows=True)
    with torch.inference_mode():
        runner.begin(MOST_STREAMS, MOST_TOKENS)
    engine = EngineSession(
        runner, num_slots=MOST_STREAMS, max_context=min(MOST_TOKENS, model.max_context), drafts="--drafts" in sys.argv
    )
    seeds = iter(range(1 << 30))

    def answer(prompts: list[list[int]], tokens: int) -> int:
        for ids in prompts:
            engine.submit(
                SequenceRequest(prompt_ids=tuple(ids), max_tokens=tokens, seed=next(seeds), cache_key="bench")
            )
        drawn = 0
        while engine.num_busy or engine.num_waiting:
            drawn += sum(len(one.token_ids) for one in engine.step())
        return drawn

    return answer


def openvino(path: str) -> Answer:
    """OpenVINO GenAI's continuous batching on a GGUF file, in process, with its defaults."""
    import numpy as np
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = MOST_STREAMS
    scheduler.max_num_batched_tokens = 4096
    scheduler.cache_size = 1
    pipe = genai.ContinuousBatchingPipeline(path, scheduler, "CPU", {"INFERENCE_NUM_THREADS": 1})

    def answer(prompts: list[list[int]], tokens: int) -> int:
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = tokens
        config.ignore_eos = config.do_sample = True
        config.temperature, config.top_p = 1.0, 1.0
        rows = [openvino.Tensor(np.array([ids], dtype=np.int64)) for ids in prompts]
        found = pipe.generate(rows, [config] * len(rows))
        return sum(len(one.m_generation_ids[0]) for one in found)

    return answer


def vllm(path: str) -> Answer:
    """vLLM for CPUs, in process, in bfloat16, with its defaults."""
    os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    from vllm import LLM, SamplingParams

    engine = LLM(model=path, dtype="bfloat16", max_model_len=MOST_TOKENS, max_num_seqs=MOST_STREAMS)

    def answer(prompts: list[list[int]], tokens: int) -> int:
        sampling = SamplingParams(temperature=1.0, max_tokens=tokens, ignore_eos=True)
        found = engine.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        return sum(len(one.outputs[0].token_ids) for one in found)

    return answer


def llama_server(path: str) -> str:
    """llama.cpp's own HTTP server on a GGUF file, one thread, with its defaults."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = MOST_STREAMS if "--wide" in sys.argv else 8
    params.n_ctx = 128 * params.n_parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.port, params.hostnames = 0, ["127.0.0.1"]
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)
    globals()["_kept"] = server
    return str(server.listening_address)


ENGINES: dict[str, Callable[[str], Any]] = {
    "session": session,
    "openvino": openvino,
    "vllm": vllm,
    "llama-server": llama_server,
}


def main() -> int:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries talk on standard output
    engine = ENGINES[sys.argv[1]](sys.argv[2])
    is_server = isinstance(engine, str)
    print(json.dumps({"url": engine} if is_server else {"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.perf_counter()
        drawn = engine(job["prompts"], job["tokens"])
        print(json.dumps({"tokens": drawn, "wall_s": time.perf_counter() - started}), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
