"""An OpenAI-compatible endpoint on 127.0.0.1 that answers, fails and lies as a test tells it to.

``FakeEndpoint(answer)`` runs in a thread; ``answer(request_body)`` gives a text (wrapped into a proper reply) or an
:class:`HttpReply`. Tests get it from the fixture ``fake_endpoint``; run as a program it measures the
CPU time that RemoteGenerator spends on a request, with this server in another process.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], "str | HttpReply"]


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """One answer on the wire.

    ``promised_bytes``: a Content-Length that the body does not reach, after which the connection closes.
    ``drip_s``: seconds between single bytes. ``reset``: the connection breaks without an answer.
    ``chunked``: no Content-Length. ``held``: nothing is sent before it is set; never set, the connection breaks.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay_s: float = 0.0
    promised_bytes: int | None = None
    drip_s: float = 0.0
    reset: bool = False
    chunked: bool = False
    held: threading.Event | None = None


@dataclass(frozen=True)
class SeenRequest:
    """What arrived."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    time: float


_HONEST: Any = object()
_QUESTION = "What is 17 + 25? Answer with a number."


def chat_body(
    text: Any,
    *,
    finish_reason: Any = "stop",
    usage: Any = _HONEST,
    logprobs: Any = None,
    **message: Any,
) -> bytes:
    """The bytes of a chat completion; ``usage`` None leaves it out, ``message`` adds fields to the message."""
    value: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish_reason,
                **({} if logprobs is None else {"logprobs": logprobs}),
            }
        ],
    }
    if usage is _HONEST:
        num_tokens = len(str(text or "").split()) + 1
        usage = {"prompt_tokens": 20, "completion_tokens": num_tokens, "total_tokens": 20 + num_tokens}
    if usage is not None:
        value["usage"] = usage
    return json.dumps(value).encode()


def error_body(message: str, *, code: str | None = None) -> bytes:
    """The bytes of an error reply."""
    return json.dumps({"error": {"message": message, "type": "fake_error", "code": code}}).encode()


class FakeEndpoint:
    """The server; ``url`` is what a RemoteGenerator is given, ``requests`` what arrived so far."""

    def __init__(self, answer: Answer, *, keep_requests: bool = True) -> None:
        self.requests: list[SeenRequest] = []
        self.max_at_once = 0
        self._answer = answer
        self._keep = keep_requests
        self._at_once = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-endpoint", daemon=True)
        self._thread.start()
        self._runner: web.AppRunner
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{port}/v1"

    async def _start(self) -> int:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_post("/v1/completions", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if self._keep:
            self.requests.append(SeenRequest(body, dict(request.headers), time.monotonic()))
        self._at_once += 1
        self.max_at_once = max(self.max_at_once, self._at_once)
        try:
            return await self._reply(request, self._answer(body))
        finally:
            self._at_once -= 1

    async def _reply(self, request: web.Request, given: str | HttpReply) -> web.StreamResponse:
        reply = HttpReply(body=chat_body(given)) if isinstance(given, str) else given
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        is_held = reply.held is not None and not await asyncio.to_thread(reply.held.wait, 30.0)
        if (reply.reset or is_held) and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if reply.promised_bytes is None and not reply.drip_s and not reply.chunked:
            return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        if reply.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = reply.promised_bytes or len(reply.body)
        await response.prepare(request)
        if reply.drip_s:
            for at in range(len(reply.body)):
                await response.write(reply.body[at : at + 1])
                await asyncio.sleep(reply.drip_s)
        else:
            await response.write(reply.body)
        if reply.promised_bytes is not None and request.transport is not None:
            await asyncio.sleep(0.01)
            request.transport.close()
        return response

    def close(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _bare_client(url: str, num_requests: int, concurrency: int) -> None:
    """The floor: aiohttp itself, with the same headers and timeouts, and nothing done with what it reads."""
    from spiritsafe.rollouts.generators.exchange import Exchange, RemoteConfig

    exchange = Exchange(
        url=f"{url}/chat/completions", model="fake", api_key=None, config=RemoteConfig(concurrency=concurrency)
    )
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": _QUESTION}], "seed": 1}).encode()
    turns = iter(range(num_requests))

    async def work() -> None:
        for _ in turns:
            await exchange.post(body)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    await exchange.close()


def _measure(num_requests: int, concurrency: int, num_rounds: int) -> dict[str, Any]:
    """CPU milliseconds a request of our client and of bare aiohttp, taken in turns; the least of all rounds."""
    from spiritsafe.core.records import Message, Prompt, Sampling
    from spiritsafe.rollouts import RemoteConfig, RemoteGenerator

    messages = (Message(role="user", content=_QUESTION),)
    prompts = [Prompt(problem_id=f"p{i}", messages=messages, num_samples=4) for i in range(num_requests // 4)]
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    ours, bare = [], []
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with RemoteGenerator(url, "fake", config=RemoteConfig(concurrency=concurrency)) as generator:
            for _ in range(num_rounds):
                start = time.process_time()
                attempts = list(generator.generate(prompts, Sampling()))
                ours.append((time.process_time() - start) / num_requests * 1e3)
                assert len(attempts) == num_requests
                assert all(attempt.finish_reason == "stop" for attempt in attempts)
                start = time.process_time()
                asyncio.run(_bare_client(url, num_requests, concurrency))
                bare.append((time.process_time() - start) / num_requests * 1e3)
    finally:
        server.terminate()
        server.wait()
    return {
        "num_requests": num_requests,
        "concurrency": concurrency,
        "client_cpu_ms_a_request": round(min(ours), 4),
        "bare_aiohttp_cpu_ms_a_request": round(min(bare), 4),
        "all_rounds": {"client": [round(v, 4) for v in ours], "bare": [round(v, 4) for v in bare]},
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        endpoint = FakeEndpoint(lambda body: "The answer is 42.", keep_requests=False)
        sys.stdout.write(f"{endpoint.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
    else:
        sys.stdout.write(json.dumps(_measure(num_requests=4000, concurrency=50, num_rounds=5)) + "\n")
