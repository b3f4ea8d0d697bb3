"""How long others wait for their next token while one client's long prompt is computed.

    python bench/serving_gaps.py MODEL_DIRECTORY --out bench/results/serving-gaps-<machine>.json

``spiritsafe serve`` answers a few streams; in the middle of them a prompt of some length comes, which nobody has asked
before. Reported: the longest time between two pieces of any of the streams, before that prompt came and while it was
computed, and how long it took to its first token.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from machine import describe_machine


async def stream(client: aiohttp.ClientSession, url: str, ids: list[int], tokens: int, times: list[float]) -> None:
    """One streamed completion; when its pieces came."""
    body = {
        "model": "default", "prompt": ids, "max_tokens": tokens, "temperature": 1.0, "seed": 1, "stream": True,
        "ignore_eos": True,
    }  # fmt: skip
    async with client.post(f"{url}/v1/completions", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"{response.status} {(await response.text())[:300]}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                times.append(time.perf_counter())


def longest(times: list[list[float]], start: float, end: float) -> float:
    """Longest time between two pieces that lies in part between ``start`` and ``end``."""
    gaps = [
        after - before for row in times for before, after in itertools.pairwise(row) if after > start and before < end
    ]
    return max(gaps, default=0.0)


async def measure(url: str, length: int, streams: int, rng: random.Random) -> dict[str, Any]:
    """Gaps of so many streams beside one prompt of ``length`` tokens."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as client:
        times: list[list[float]] = [[] for _ in range(streams)]
        tasks = [
            asyncio.create_task(stream(client, url, [rng.randrange(20, 40000) for _ in range(20)], 500, row))
            for row in times
        ]
        while any(len(row) < 20 for row in times):
            await asyncio.sleep(0.01)
        calm = time.perf_counter()
        await asyncio.sleep(4.0)
        asked = time.perf_counter()
        first: list[float] = []
        await stream(client, url, [rng.randrange(20, 40000) for _ in range(length)], 1, first)
        answered = first[0]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "prompt_tokens": length,
        "longest_gap_before_s": round(longest(times, calm, asked), 3),
        "longest_gap_beside_s": round(longest(times, asked, answered), 3),
        "pieces_beside": sum(asked < at < answered for row in times for at in row),
        "first_token_of_the_long_one_s": round(answered - asked, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--lengths", nargs="+", type=int, default=[100, 1500, 7000])
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    command = [sys.executable, "-m", "spiritsafe", "serve", f"default={args.model}", "--port", "0", "--max-batch", "16"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    rng = random.Random(0)
    try:
        assert server.stdout is not None
        found = re.search(r"http://[\w.]+:\d+", server.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        rows = [asyncio.run(measure(found[0], length, args.streams, rng)) for length in (50, *args.lengths)][1:]
    finally:
        server.terminate()
        server.wait(60)
    command_line = "python bench/serving_gaps.py " + " ".join(["MODEL", *sys.argv[2:]])
    result = {"command": command_line, "machine": describe_machine("torch"), "streams": args.streams, "rows": rows}
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
