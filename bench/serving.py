"""Answers a CPU-second: our engine and server against OpenVINO GenAI and llama.cpp's server, by streams at once.

    python bench/serving.py DIRECTORY --gguf FILE.gguf --python openvino=…/python llama-server=…/python \
        --engines session openvino llama-server --streams 1 8 64 --out bench/results/serving-cpu.json

32 new tokens behind chat prompts of about 42 that share the template's header, end tokens off, temperature 1, prefill
included, each engine with its defaults and one thread. The measure is completion tokens for each second of processor
time of all processes that answer: neighbours distort it least. All engines are loaded first; then rounds, engines in
turns and in reverse in every second one, the first round left out; medians. ``serve`` starts ``spiritsafe serve`` with
keys and a usage ledger; ``transformers`` and ``transformers-batching`` start ``transformers serve``, which can neither
be asked by tokens nor told to go on behind an end: it gets the same questions as chats, and what it drew is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import aiohttp

from machine import describe_machine
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat

NEW_TOKENS = 32
CHILD = Path(__file__).with_name("serving_engines.py")
Prompt = tuple[str, list[int]]
"""What is asked, and the tokens of the whole chat."""
QUESTIONS = ("What is {} + {}, and why?", "Name {} rivers and {} towns.", "Write {} words about {} and the sea.")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int, *, alone: bool = False) -> float:
    """Of a process and everything that it started and that still runs; or without the latter."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it has ended since
                continue
            parents[int(folder.name)] = int(fields[1])
            seconds[int(folder.name)] = sum(map(int, fields[11:15])) / TICKS  # with children that ended
    if alone:
        return seconds[root]
    total, wave = 0.0, [root]
    while wave:
        pid = wave.pop()
        total += seconds.get(pid, 0.0)
        wave += [child for child, parent in parents.items() if parent == pid]
    return total


class Engine:
    """A process that answers.

    Args:
        log: Where what it says on its standard error goes.
        url: Of a server.
        key: That its clients show.
        chats_with: The model's name at a server that is asked by chats.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        log: TextIO,
        *,
        url: str | None = None,
        key: str = "none",
        chats_with: str | None = None,
    ) -> None:
        # transformers' server looks there, and says nothing where there is no such folder
        cache = tempfile.gettempdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_CACHE": cache}
        self.name, self.url, self.key, self.chats_with = name, url, key, chats_with
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log if url else subprocess.PIPE, stderr=log, text=True,
            env=environment,
        )  # fmt: skip
        if url is None:
            self.url = self._line().get("url")

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}; see its log")
        found: dict[str, Any] = json.loads(line)
        return found

    def run(self, prompts: list[Prompt]) -> dict[str, float]:
        """Tokens, and the processor's and the clock's seconds."""
        started, cpu = time.perf_counter(), cpu_seconds(self.process.pid)
        front = cpu_seconds(self.process.pid, alone=True)
        if self.url is not None:
            drawn = asyncio.run(ask_all(self.url, prompts, self.key, self.chats_with))
        else:
            assert self.process.stdin is not None
            ids = [ids for _, ids in prompts]
            print(json.dumps({"prompts": ids, "tokens": NEW_TOKENS}), file=self.process.stdin, flush=True)
            drawn = self._line()["tokens"]
        used = cpu_seconds(self.process.pid) - cpu
        if drawn != NEW_TOKENS * len(prompts) and self.chats_with is None:
            raise SystemExit(f"{self.name} drew {drawn} tokens, not {NEW_TOKENS * len(prompts)}")
        row = {"tokens": drawn, "cpu_s": round(used, 3), "wall_s": round(time.perf_counter() - started, 3)}
        if self.name.startswith("serve"):  # what HTTP, streams, keys and the ledger take, without the worker
            row["front_cpu_s"] = round(cpu_seconds(self.process.pid, alone=True) - front, 3)
        return row

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


async def ask_all(url: str, prompts: list[Prompt], key: str, chats_with: str | None) -> int:
    """All prompts at once, each in a request of its own, streamed as a chat page would have it."""
    timeout = aiohttp.ClientTimeout(total=600)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0), headers=headers
    ) as client:
        if chats_with is not None:
            asked = [chat(client, url, text, chats_with) for text, _ in prompts]
        else:
            asked = [ask(client, url, ids, seed) for seed, (_, ids) in enumerate(prompts)]
        return sum(await asyncio.gather(*asked))


async def ask(client: aiohttp.ClientSession, url: str, ids: list[int], seed: int) -> int:
    """One streamed completion; returns how many tokens the server says it drew."""
    body = {
        "model": "default", "prompt": ids, "max_tokens": NEW_TOKENS, "temperature": 1.0, "seed": seed, "stream": True,
        "ignore_eos": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    drawn = 0
    async with client.post(f"{url}/v1/completions", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"{url}: {response.status} {(await response.text())[:300]}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                drawn = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", drawn)
    return drawn


async def chat(client: aiohttp.ClientSession, url: str, text: str, model: str) -> int:
    """One chat; returns how many tokens the server says it drew."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": NEW_TOKENS,
        "temperature": 1.0,
    }
    async with client.post(f"{url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"{url}: {response.status} {(await response.text())[:300]}")
        drawn: int = (await response.json())["usage"]["completion_tokens"]
    return drawn


async def wait_until_ready(url: str, key: str) -> None:
    """Until a server lists its models."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:
        for _ in range(600):
            try:
                async with client.get(f"{url}/v1/models") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.5)
    raise SystemExit(f"{url} is not ready after five minutes")


def prompts_of(chat: ChatFormat, count: int, first: int) -> list[Prompt]:
    """Chat prompts that no other call has."""
    texts = [QUESTIONS[n % 3].format(first + n, 2 * (first + n) + 1) for n in range(count)]
    return [(text, list(chat.going_on_ids((Message(role="user", content=text),), ""))) for text in texts]


def start(name: str, args: argparse.Namespace, pythons: dict[str, str], log: TextIO, folder: str) -> Engine:
    """The engine of that name: ``kind`` or ``kind:path``."""
    kind, _, path = name.partition(":")
    port = args.port + args.engines.index(name)
    url = f"http://127.0.0.1:{port}"
    if kind == "serve":
        keys = Path(folder) / f"keys-{port}.toml"
        made = subprocess.run(
            [sys.executable, "-m", "spiritsafe", "serve", "key", "bench", "--keys", str(keys)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        key = re.findall(r"\bsk-\S+", made.stdout)[0]
        command = [
            sys.executable,
            "-m",
            "spiritsafe",
            "serve",
            f"default={path or args.directory}",
            "--port",
            str(port),
        ]
        command += ["--keys", str(keys), "--usage", str(Path(folder) / f"usage-{port}.sqlite"), "--max-batch", "64"]
        engine = Engine(name, command, log, url=url, key=key)
        asyncio.run(wait_until_ready(url, key))
        return engine
    if kind.startswith("transformers"):
        model = path or str(args.directory)
        program = Path(pythons.get("transformers", sys.executable)).with_name("transformers")
        command = [str(program), "serve", model, "--device", "cpu", "--dtype", "bfloat16", "--port", str(port)]
        if kind == "transformers-batching":  # left to itself it takes all memory, and is ended for it
            command += ["--continuous-batching", "--cb-max-memory-percent", "0.3"]
        engine = Engine(name, command, log, url=url, chats_with=model)
        asyncio.run(wait_until_ready(url, ""))
        return engine
    path = path or str(args.gguf if kind in ("openvino", "llama-server") else args.directory)
    options = ["--drafts"] if kind == "session-drafts" else []
    command = [pythons.get(kind, sys.executable), str(CHILD), kind.removesuffix("-drafts"), path, *options]
    return Engine(name, command, log)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, help="the model, in Hugging Face's layout")
    parser.add_argument("--gguf", type=Path, required=True, help="the same model as a file, for the peers")
    parser.add_argument("--engines", nargs="+", default=["session", "openvino", "llama-server"])
    parser.add_argument("--python", nargs="*", default=[], metavar="ENGINE=PATH", help="interpreters of other engines")
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--peer", default="openvino", help="what the others are divided by")
    parser.add_argument("--log", help="where what the engines say goes")
    parser.add_argument("--out", type=Path, help="raw results as JSON")
    args = parser.parse_args()
    pythons = dict(one.split("=", 1) for one in args.python)
    chat = ChatFormat(args.directory)
    result: dict[str, Any] = {"machine": describe_machine("aiohttp", threads=1), "runs": [], "median": {}}
    # a path of this machine says nothing to others: its last part does
    result["machine"]["command"] = re.sub(r"(?<=[=:])/\S*/", "", result["machine"]["command"])
    with tempfile.TemporaryDirectory() as folder, open(args.log or os.devnull, "w") as log:
        engines: list[Engine] = []
        try:
            for name in args.engines:
                engines.append(start(name, args, pythons, log, folder))
            for engine in engines:
                kind, _, path = engine.name.partition(":")
                engine.name = f"{kind}:{Path(path).name}" if path else kind
            first = 0
            for number in range(args.rounds + 1):
                for count in args.streams:
                    for engine in engines if number % 2 == 0 else engines[::-1]:
                        row = engine.run(prompts_of(chat, count, first))
                        first += count
                        row |= {"engine": engine.name, "streams": count, "round": number}
                        row["tokens_per_cpu_s"] = round(row["tokens"] / row["cpu_s"], 2)
                        result["runs"].append(row)
                        print(json.dumps(row), flush=True)
        finally:
            for engine in engines:
                engine.close()
    for count in args.streams:
        found = {
            engine.name: median(
                row["tokens_per_cpu_s"]
                for row in result["runs"]
                if row["engine"] == engine.name and row["streams"] == count and row["round"] > 0
            )
            for engine in engines
        }
        peer = found.get(args.peer)
        result["median"][str(count)] = {
            name: {"tokens_per_cpu_s": round(value, 1), "ratio": None if peer is None else round(value / peer, 2)}
            for name, value in found.items()
        }
        print(count, json.dumps(result["median"][str(count)]))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
