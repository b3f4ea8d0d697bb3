"""The server's application on a port of 127.0.0.1, and what a test sends to it.

``asyncio.run`` a scenario: ``async with serving(engine) as server: await server.post("/v1/completions", {...})``.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from served_engine import FakeEngine

from spiritsafe.serve import Deployment, Hooks, ServerLimits, make_app, make_runner

TALK = [{"role": "user", "content": "Hi."}]


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a body of OpenAI's form, which has these four keys and no others."""
        body = self.json
        assert list(body) == ["error"]
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert self.status >= 400
        return dict(body["error"])

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """Name and data of each event; "[DONE]" is its own data."""
        assert self.headers["Content-Type"].split(";")[0] == "text/event-stream"
        return list(map(_event, self.raw.decode().removesuffix("\n\n").split("\n\n")))


def _event(block: str) -> tuple[str | None, Any]:
    name = None
    *first, data = block.split("\n")
    if first:
        (line,) = first
        assert line.startswith("event: ")
        name = line.removeprefix("event: ")
    assert data.startswith("data: ")
    text = data.removeprefix("data: ")
    return name, text if text == "[DONE]" else json.loads(text)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    address: str
    port: int
    client: aiohttp.ClientSession

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Bytes are sent as they are, with the header of JSON unless told otherwise."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with self.client.post(self.address + path, data=raw, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, method: str = "GET") -> Reply:
        async with self.client.request(method, self.address + path) as response:
            return Reply(response.status, response.headers, await response.read())


def raw_request(path: str, body: bytes, *, num_bytes: int | None = None, headers: str = "") -> bytes:
    """A request as it goes over the wire; it may promise more bytes than it has."""
    length = len(body) if num_bytes is None else num_bytes
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}"
    return head.encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(
    *engines: FakeEngine, hooks: Hooks | None = None, limits: ServerLimits | None = None
) -> AsyncIterator[Server]:
    """A server of some engines, by the names of their models."""
    models = {
        engine.model.name: Deployment(engine=engine, model=engine.model, created=1_700_000_000) for engine in engines
    }
    runner = make_runner(make_app(models, hooks=hooks, limits=limits), shutdown_s=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as client:
            yield Server(f"http://127.0.0.1:{port}", port, client)
    finally:
        await runner.cleanup()


@contextmanager
def serving_in_thread(*engines: FakeEngine, hooks: Hooks | None = None) -> Iterator[str]:
    """The address of such a server that runs beside the test, for clients that block."""
    ready: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def scenario() -> None:
        async with serving(*engines, hooks=hooks) as server:
            ready.put(server.address)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(scenario(),))
    thread.start()
    try:
        yield ready.get(timeout=60)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
