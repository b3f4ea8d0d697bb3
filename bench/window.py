"""Attention under a sliding window against full attention: CPU time and memory of one layer, forward and backward.

    python bench/window.py --out bench/results/window-cpu.json

4 heads of 32 numbers, 2 key-value heads, one document, one thread. Memory is the rise of the kernel's high-water mark
of the resident set over what the inputs take; freed memory is given back before each case. Before any timing the
windowed values are held against a dense mask in float64 at 1,024 tokens. The same script measures any commit that
PYTHONPATH names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from spiritsafe.core.process.free_memory import resident_bytes
from spiritsafe.models.decoder.attention import attend_uniform
from spiritsafe.pipeline.plan.peak_memory import peak_bytes, reset_peak
from spiritsafe.training import give_back_memory

HEADS, KV_HEADS, WIDTH, SCALE = 4, 2, 32, 0.18


def gate(window: int) -> float:
    """The largest difference to a dense mask in float64."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 1024, WIDTH).double() for heads in (HEADS, KV_HEADS, KV_HEADS))
    out = attend_uniform(query, key, value, scale=SCALE, window=window)
    key, value = (tensor.repeat_interleave(HEADS // KV_HEADS, dim=1) for tensor in (key, value))
    distance = torch.arange(1024)[:, None] - torch.arange(1024)
    scores = (query @ key.transpose(2, 3) * SCALE).masked_fill((distance < 0) | (distance >= window), float("-inf"))
    return float((out - scores.softmax(-1) @ value).abs().max())


def measure(length: int, window: int | None, *, backward: bool) -> dict[str, float]:
    """One layer, once, in this process."""
    heads = (HEADS, KV_HEADS, KV_HEADS)
    tensors = [torch.randn(1, h, length, WIDTH).requires_grad_(backward) for h in heads]
    give_back_memory()
    reset_peak()
    before = resident_bytes()
    started = time.process_time()
    out = attend_uniform(*tensors, scale=SCALE, window=window)
    if backward:
        out.sum().backward()
    seconds = time.process_time() - started
    return {"cpu_s": round(seconds, 3), "peak_mb": round((peak_bytes() - before) / 1e6, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--window", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(1)
    difference = gate(args.window)
    if difference > 1e-10:
        raise SystemExit(f"the windowed values differ by {difference} from a dense mask")
    result: dict[str, Any] = {"machine": describe_machine(threads=1), "difference_to_dense": difference, "cases": []}
    for length in args.lengths:
        for backward in (False, True):
            row: dict[str, Any] = {"length": length, "backward": backward}
            for name, window in (("full", None), ("window", args.window)):
                row[name] = measure(length, window, backward=backward)
            result["cases"].append(row)
            print(json.dumps(row), flush=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
