"""A server under siege: innocent clients are answered, evil ones harm nobody, memory stays flat, SIGTERM drains.

    python bench/serving_soak.py MODEL_DIRECTORY --minutes 5 --out bench/results/serving-soak-<machine>.json

``spiritsafe serve`` runs as a user would run it, with keys and a usage ledger. ``--streams`` innocent clients ask one
question after another, half of them streamed, each answer checked to its last byte. Beside them: clients that hang up
in the middle (one request in ten of those above), readers that take a piece every two seconds, prompts of 10 MB, wrong
keys, broken JSON, unknown models, requests that never end. Reported: errors that innocents saw, memory of the server
and of its worker over time (slope of the last two fifths: what prompts begin with is kept, in a bounded store that
fills up before), how long slots stayed taken after a hang-up, and how the server ended. The exit code is 1 when an
innocent saw an error.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from machine import describe_machine


@dataclass
class Siege:
    """What is known of a run."""

    url: str
    key: str
    model: str
    rng: random.Random
    end: float
    errors: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    evil: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float, float]] = field(default_factory=list)

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key if key is None else key}"}

    def body(self, **more: Any) -> dict[str, Any]:
        number = self.rng.randrange(10**6)
        question = f"What do you know of the number {number}? " + "Think of it. " * self.rng.randrange(12)
        limit = self.rng.randrange(4, 40)
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_completion_tokens": limit,
            "seed": number,
            **more,
        }


async def read_stream(response: aiohttp.ClientResponse, slow: float = 0.0) -> tuple[list[Any], bool]:
    """The events, and whether the stream ended as it should."""
    events: list[Any] = []
    async for raw in response.content:
        line = raw.decode().strip()
        if line == "data: [DONE]":
            return events, True
        if line.startswith("data: "):
            events.append(json.loads(line[6:]))
        if slow:
            await asyncio.sleep(slow)
    return events, False


def check_choice(choice: Any, usage: Any, body: dict[str, Any]) -> str | None:
    """What is wrong with an answer."""
    if choice["finish_reason"] not in ("stop", "length"):
        return f"finish_reason {choice['finish_reason']!r}"
    if usage is None or not 0 < usage["completion_tokens"] <= body["max_completion_tokens"]:
        return f"usage {usage!r}"
    return None


async def ask(siege: Siege, session: aiohttp.ClientSession) -> str | None:
    """One innocent question; what is wrong with the answer."""
    streamed = siege.rng.random() < 0.5
    body = siege.body(**({"stream": True, "stream_options": {"include_usage": True}} if streamed else {}))
    url = f"{siege.url}/v1/chat/completions"
    async with session.post(url, json=body, headers=siege.headers()) as response:
        if response.status != 200:
            return f"status {response.status}: {(await response.text())[:200]}"
        if not streamed:
            answer = await response.json()
            return check_choice(answer["choices"][0], answer["usage"], body)
        events, ended = await read_stream(response)
        if not ended or any("error" in event for event in events):
            return f"the stream broke off: {events[-1:]}"
        last = next(e["choices"][0] for e in reversed(events) if e["choices"] and e["choices"][0]["finish_reason"])
        return check_choice(last, events[-1].get("usage"), body)


async def innocent(siege: Siege) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
        while time.monotonic() < siege.end:
            if siege.rng.random() < 0.1:
                await hang_up(siege)
            try:
                wrong = await ask(siege, session)
            except (TimeoutError, aiohttp.ClientError, json.JSONDecodeError, LookupError) as error:
                wrong = f"{type(error).__name__}: {error}"
            siege.counts["asked"] += 1
            if wrong is not None:
                siege.errors.append(wrong)


async def hang_up(siege: Siege) -> None:
    """Ask, and go away before the answer is whole, streamed or not."""
    streamed = siege.rng.random() < 0.5
    body = siege.body(stream=streamed, max_completion_tokens=400)
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(siege.rng.uniform(0.05, 3.0)):
                async with session.post(
                    f"{siege.url}/v1/chat/completions", json=body, headers=siege.headers()
                ) as response:
                    await response.read()
        except (TimeoutError, aiohttp.ClientError):
            siege.counts["hung up"] += 1


async def expect(siege: Siege, name: str, statuses: set[int], **request: Any) -> None:
    headers = request.pop("headers", siege.headers())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        try:
            async with session.post(f"{siege.url}/v1/chat/completions", headers=headers, **request) as response:
                await response.read()
                outcome = "as expected" if response.status in statuses else f"status {response.status}"
        except aiohttp.ClientError as error:  # a body that is refused early may be cut off
            outcome = "as expected" if 413 in statuses else type(error).__name__
    siege.evil[f"{name}: {outcome}"] += 1


async def evil(siege: Siege) -> None:
    """One misdeed after another."""
    big = "x" * 10_000_000
    host, port = siege.url.removeprefix("http://").split(":")
    while time.monotonic() < siege.end:
        deed = siege.rng.randrange(7)
        if deed == 0:
            messages = [{"role": "user", "content": big}]
            await expect(siege, "10 MB prompt", {400, 413}, json=siege.body(messages=messages))
        elif deed == 1:
            await expect(siege, "wrong key", {401}, json=siege.body(), headers=siege.headers("sk-wrong"))
        elif deed == 2:
            json_headers = {**siege.headers(), "Content-Type": "application/json"}
            await expect(siege, "broken JSON", {400}, data=b'{"model": "x", [', headers=json_headers)
        elif deed == 3:
            await expect(siege, "unknown model", {404}, json=siege.body(model="nobody"))
        elif deed == 4:
            json_headers = {**siege.headers(), "Content-Type": "application/json"}
            nested = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
            await expect(siege, "deep JSON", {400}, data=nested, headers=json_headers)
        elif deed == 5:
            async with aiohttp.ClientSession() as session:
                body = siege.body(stream=True, max_completion_tokens=20)
                async with session.post(
                    f"{siege.url}/v1/chat/completions", json=body, headers=siege.headers()
                ) as response:
                    await read_stream(response, slow=2.0)
            siege.evil["slow reader: served"] += 1
        else:
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{")
            await writer.drain()
            await asyncio.sleep(3)
            writer.close()
            siege.evil["request without end: held open"] += 1


async def watch(siege: Siege, server: psutil.Process) -> None:
    start = time.monotonic()
    while time.monotonic() < siege.end:
        workers = sum(process.memory_info().rss for process in server.children(recursive=True))
        siege.memory.append((time.monotonic() - start, server.memory_info().rss / 1e6, workers / 1e6))
        await asyncio.sleep(2)


async def running(siege: Siege) -> int:
    """Requests in slots and in the queue, as the server counts them."""
    async with aiohttp.ClientSession() as session, session.get(f"{siege.url}/metrics") as response:
        text = await response.text()
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return int(sum(float(value) for value in found))


async def freed_after(siege: Siege) -> list[float]:
    """Seconds from a hang-up, streamed and plain, until the server counts nothing any more."""
    seconds = []
    for streamed in (True, False) * 3:
        async with aiohttp.ClientSession() as session:
            body = siege.body(stream=streamed, max_completion_tokens=1000)
            try:
                async with asyncio.timeout(2.0):
                    async with session.post(
                        f"{siege.url}/v1/chat/completions", json=body, headers=siege.headers()
                    ) as response:
                        await response.read()
            except TimeoutError:
                pass
        start = time.monotonic()
        while await running(siege):
            await asyncio.sleep(0.01)
        seconds.append(time.monotonic() - start)
    return seconds


async def drain(siege: Siege, server: subprocess.Popen[str], streams: int) -> dict[str, Any]:
    """SIGTERM while everybody is being answered."""

    async def one() -> str | None:
        async with aiohttp.ClientSession() as session:
            return await ask(siege, session)

    tasks = [asyncio.create_task(one()) for _ in range(streams)]
    while await running(siege) < streams:
        await asyncio.sleep(0.05)
    server.send_signal(signal.SIGTERM)
    start = time.monotonic()
    await asyncio.sleep(0.3)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{siege.url}/v1/chat/completions", json=siege.body(), headers=siege.headers()) as response,
        ):
            late = f"status {response.status}"
    except aiohttp.ClientError as error:
        late = type(error).__name__
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    broken = [str(outcome) for outcome in outcomes if outcome is not None]
    code = await asyncio.to_thread(server.wait, 120)
    return {
        "streams_under_way": streams,
        "broken": broken[:10],
        "num_broken": len(broken),
        "a_request_that_came_later": late,
        "exit_code": code,
        "seconds": round(time.monotonic() - start, 2),
    }


async def besiege(siege: Siege, server: subprocess.Popen[str], args: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    siege.end = start + 60 * args.minutes
    tasks = [innocent(siege) for _ in range(args.streams)] + [evil(siege) for _ in range(args.evil)]
    await asyncio.gather(*tasks, watch(siege, psutil.Process(server.pid)))
    lasted = time.monotonic() - start
    seconds, front, workers = np.array(siege.memory).T
    late = seconds > 0.6 * seconds[-1]

    def memory(megabytes: np.ndarray) -> dict[str, Any]:
        return {
            "most": round(float(megabytes.max()), 1),
            "end": round(float(megabytes[-1]), 1),
            "slope_mb_a_minute": round(float(np.polyfit(seconds[late] / 60, megabytes[late], 1)[0]), 2),
            "every_16_s": megabytes[::8].round(1).tolist(),
        }

    return {
        "seconds": round(lasted, 1),
        "innocent": {"asked": siege.counts["asked"], "errors": len(siege.errors), "first_errors": siege.errors[:10]},
        "hung_up": siege.counts["hung up"],
        "evil": dict(sorted(siege.evil.items())),
        "memory_mb": {"server": memory(front), "worker": memory(workers)},
        "freed_s": [round(x, 3) for x in await freed_after(siege)],
        "drain": await drain(siege, server, args.streams),
    }


def start_server(args: argparse.Namespace, directory: Path) -> tuple[subprocess.Popen[str], str, str]:
    keys = directory / "keys.toml"
    made = subprocess.run(
        [sys.executable, "-m", "spiritsafe", "serve", "key", "soak", "--keys", str(keys)],
        capture_output=True,
        text=True,
        check=True,
    )
    key = re.search(r"\b(sk-\S+)", made.stdout)
    if key is None:
        raise SystemExit(f"no key in: {made.stdout}")
    command = [sys.executable, "-m", "spiritsafe", "serve", "run", f"rung={args.model}", "--keys", str(keys)]
    command += ["--port", "0", "--usage", str(directory / "usage.sqlite"), "--max-batch", str(args.streams)]
    command += ["--shutdown-timeout", "300"]  # who is under way is to come to the end, however slow the machine
    log = (directory / "server.log").open("w")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"http://[\w.]+:\d+", line)
        if found:
            return server, found[0], key[1]
    raise SystemExit(f"the server ended: {(directory / 'server.log').read_text()[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--evil", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server, url, key = start_server(args, Path(directory))
        siege = Siege(url, key, "rung", random.Random(0), 0.0)
        try:
            report = asyncio.run(besiege(siege, server, args))
        finally:
            server.kill()
        rows = sqlite3.connect(Path(directory) / "usage.sqlite").execute("select count(*) from requests").fetchone()[0]
    report = {
        "date": datetime.date.today().isoformat(),
        "command": "python bench/serving_soak.py " + " ".join(["MODEL", *sys.argv[2:]]),
        "machine": describe_machine(),
        "streams": args.streams,
        "usage_rows": rows,
        **report,
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    if report["innocent"]["errors"] or report["drain"]["num_broken"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
