from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from served_app import TALK, Reply, raw_request, serving
from served_engine import FakeEngine, Script, says, served_model

from spiritsafe.core.serving import AnswerPiece, Job, JobEvent, Part, ServedModel
from spiritsafe.serve import Caller, Hooks, Refusal, ServerLimits, Usage

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


class Keeper:
    """Hooks that remember, and refuse who has no key."""

    def __init__(self) -> None:
        self.used: list[Usage] = []
        self.inside = 0
        self.full = False

    async def authorise(self, request: web.Request) -> Caller:
        name = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not name:
            raise Refusal("There is no key.", hint="Send one.", status=401, code="invalid_api_key")
        return Caller(name=name, cache_key=f"of {name}")

    @asynccontextmanager
    async def admit(self, caller: Caller, model: ServedModel, num_jobs: int) -> AsyncIterator[None]:
        if self.full:
            raise Refusal("Too many.", hint="Wait.", status=429, code="rate_limited", headers={"Retry-After": "7"})
        self.inside += num_jobs
        try:
            yield
        finally:
            self.inside -= num_jobs

    def record(self, usage: Usage) -> None:
        self.used.append(usage)

    def hooks(self) -> Hooks:
        return Hooks(authoriser=self, admission=self, recorder=self)


def body(stream: bool = False, **fields: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": TALK, "stream": stream, **fields}


KEY = {"Authorization": "Bearer ann"}


def test_hooks_are_asked_and_told() -> None:
    keeper, engine = Keeper(), FakeEngine(says("a", "b", thought=("t",)))

    async def scenario() -> list[Reply]:
        async with serving(engine, hooks=keeper.hooks()) as server:
            replies = [
                await server.post(CHAT, body()),
                await server.post(CHAT, body(n=2, stream=True), KEY),
                await server.post(CHAT, body(model="x"), KEY),
                await server.post(CHAT, body(messages=[]), KEY),
            ]
            keeper.full = True
            return [*replies, await server.post(CHAT, body(), KEY)]

    keyless, served, unknown, wrong, full = asyncio.run(scenario())
    assert keyless.status == 401
    assert (keyless.error["type"], keyless.error["code"]) == ("authentication_error", "invalid_api_key")
    assert served.status == 200
    assert {job.cache_key for job in engine.jobs} == {"of ann"}
    assert (unknown.status, unknown.error["param"], wrong.status) == (404, "model", 400)
    assert "fake" in unknown.error["message"]
    assert (full.status, full.error["type"], full.headers["Retry-After"]) == (429, "rate_limit_error", "7")
    assert keeper.inside == 0
    first, second = keeper.used
    assert (first.outcome, first.status, first.stream, first.num_jobs) == ("answered", 200, True, 2)
    assert (first.num_prompt_tokens, first.num_tokens) == (7, 8)
    assert (second.outcome, second.status, second.num_tokens) == ("refused", 429, 0)
    assert keeper.used[0].num_thought_tokens == 2
    assert keeper.used[0].caller.name == "ann"


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slots(stream: bool, num: int) -> None:
    keeper, engine = Keeper(), FakeEngine(says(*"abcdefgh"))
    engine.hold()

    async def scenario() -> None:
        async with serving(engine, hooks=keeper.hooks()) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            raw = json.dumps(body(stream, n=num)).encode()
            writer.write(raw_request(CHAT, raw, headers="Authorization: Bearer ann\r\n"))
            await engine.begun.wait()
            assert engine.num_running >= 1
            writer.close()
            await engine.idle()  # nothing is released: every answer would wait for ever
            while not keeper.used:
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert engine.num_running == 0
    assert keeper.inside == 0
    assert [(one.outcome, one.status) for one in keeper.used] == [("cancelled", 499)]


def endless(job: Job) -> Iterable[JobEvent]:
    while True:
        yield AnswerPiece(parts=(Part(kind="text", text="x" * 4096),))


def test_a_reader_that_stops_reading_holds_little_and_is_cut_off() -> None:
    engine = FakeEngine(endless)

    async def scenario() -> None:
        async with serving(engine, limits=ServerLimits(stall_s=0.3)) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(raw_request(CHAT, json.dumps(body(True)).encode()))
            await engine.begun.wait()
            await engine.idle()
            writer.close()

    asyncio.run(scenario())
    assert engine.num_events * 4096 < 32 << 20  # what the system's socket buffers hold, at most


def broken(job: Job) -> Iterable[JobEvent]:
    raise ZeroDivisionError("a secret of the house")


def breaking(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="text", text="x"),))
    raise ZeroDivisionError("a secret of the house")


def unended(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="text", text="x"),))


@pytest.mark.parametrize("script", [broken, breaking])
@pytest.mark.parametrize("stream", [False, True])
def test_a_defect_fails_one_request_and_says_nothing_of_the_house(
    stream: bool, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, engine = Keeper(), FakeEngine(script)

    async def scenario() -> tuple[Reply, Reply]:
        async with serving(engine, hooks=keeper.hooks()) as server:
            first = await server.post(CHAT, body(stream), KEY)
            engine.script = says("fine")
            return first, await server.post(CHAT, body(), KEY)

    failed, fine = asyncio.run(scenario())
    if stream and script is breaking:
        assert failed.events[-1][1]["error"]["type"] == "server_error"
    else:
        assert (failed.status, failed.error["type"]) == (500, "server_error")
    assert b"secret" not in failed.raw
    assert "secret" in caplog.text
    assert fine.status == 200
    assert [one.outcome for one in keeper.used] == ["failed", "answered"]


def test_a_model_that_stops_in_the_middle_is_no_answer() -> None:
    async def scenario() -> tuple[Reply, Reply]:
        async with serving(FakeEngine(unended)) as server:
            return await server.post(CHAT, body()), await server.post(CHAT, body(True))

    whole, stream = asyncio.run(scenario())
    assert (whole.status, whole.error["type"]) == (500, "server_error")
    assert stream.events[-1][1]["error"]["type"] == "server_error"


def test_what_another_model_answers_is_told_as_its() -> None:
    chosen = served_model("small", digest="sha256:" + "cd" * 32)
    engine = FakeEngine(answered_by=chosen)

    async def scenario() -> tuple[Reply, Reply]:
        async with serving(engine) as server:
            return await server.post(CHAT, body()), await server.post(CHAT, body(True))

    whole, stream = asyncio.run(scenario())
    assert (whole.json["model"], whole.json["system_fingerprint"]) == ("small", "fp_" + "cd" * 8)
    assert stream.events[0][1]["model"] == "small"
    assert {reply.headers["spiritsafe-model-digest"] for reply in (whole, stream)} == {chosen.digest}


LONG = json.dumps(body(messages=[{"role": "user", "content": "x" * 60}])).encode()
SMALL = ServerLimits(body_bytes=1000, read_s=0.2)


@pytest.mark.parametrize(
    ("raw", "headers", "status", "code"),
    [
        (b'{"model": "fake"', {}, 400, "invalid_json"),
        (b'{"model": "fake"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"[" * 900, {}, 400, "invalid_json"),
        (b" " * 1001, {}, 413, "request_too_large"),
        (LONG, {}, 400, "context_length_exceeded"),
    ],
)
def test_bodies_that_are_none(raw: bytes, headers: dict[str, str], status: int, code: str) -> None:
    engine = FakeEngine(model=served_model(max_prompt_bytes=50))

    async def scenario() -> Reply:
        async with serving(engine, limits=SMALL) as server:
            return await server.post(CHAT, raw, headers)

    reply = asyncio.run(scenario())
    assert (reply.status, reply.error["code"]) == (status, code)


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def scenario() -> bytes:
        async with serving(FakeEngine(), limits=SMALL) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(raw_request(CHAT, b"", num_bytes=9))
            line = await reader.readline()
            writer.close()
            return line

    assert b"408" in asyncio.run(scenario())
