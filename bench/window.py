"""Attention under a sliding window against full attention: CPU time and memory of one layer, forward and backward.

    python bench/window.py --out bench/results/window-cpu.json

Each case runs in a fresh process: 4 heads of 32 numbers, 2 key-value heads, one document. Memory is the rise of the
kernel's high-water mark of the resident set over what the inputs take. Before any timing the windowed values are held
against a dense mask in float64 at 1,024 tokens. The same script measures any commit that PYTHONPATH names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import describe_machine

HEADS, KV_HEADS, WIDTH, SCALE = 4, 2, 32, 0.18


def gate(window: int) -> float:
    """The largest difference to a dense mask in float64."""
    import torch

    from spiritsafe.models.attention import attend_uniform

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 1024, WIDTH).double() for heads in (HEADS, KV_HEADS, KV_HEADS))
    out = attend_uniform(query, key, value, scale=SCALE, window=window)
    key, value = (tensor.repeat_interleave(HEADS // KV_HEADS, dim=1) for tensor in (key, value))
    distance = torch.arange(1024)[:, None] - torch.arange(1024)
    scores = (query @ key.transpose(2, 3) * SCALE).masked_fill((distance < 0) | (distance >= window), float("-inf"))
    return float((out - scores.softmax(-1) @ value).abs().max())


def measure(length: int, window: int | None, *, backward: bool) -> dict[str, float]:
    """One layer, once, in this process."""
    import torch

    from spiritsafe.models.attention import attend_uniform
    from spiritsafe.pipeline.peak import peak_bytes, reset_peak, resident_bytes

    heads = (HEADS, KV_HEADS, KV_HEADS)
    tensors = [torch.randn(1, h, length, WIDTH).requires_grad_(backward) for h in heads]
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
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(**json.loads(args.case))))
        return 0
    difference = gate(args.window)
    if difference > 1e-10:
        raise SystemExit(f"the windowed values differ by {difference} from a dense mask")
    result: dict[str, Any] = {"machine": describe_machine(threads=1), "difference_to_dense": difference, "cases": []}
    for length in args.lengths:
        for backward in (False, True):
            row: dict[str, Any] = {"length": length, "backward": backward}
            for name, window in (("full", None), ("window", args.window)):
                case = json.dumps({"length": length, "window": window, "backward": backward})
                command = [sys.executable, __file__, "--out", str(args.out), "--case", case]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
                row[name] = json.loads(done.stdout.splitlines()[-1])
            result["cases"].append(row)
            print(json.dumps(row), flush=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
