"""The application as clients of others meet it: OpenAI's own client, unchanged, on a real port."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from served_app import TALK, Reply, serving, serving_in_thread
from served_engine import FakeEngine, calls, fails, says

from spiritsafe.core.serving import Failed
from spiritsafe.serve import Hooks

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}},
            "required": ["town"],
            "additionalProperties": False,
        },
    },
}
MESSAGES: Any = TALK


class Step(BaseModel):
    town: str
    warm: bool


def test_the_client_that_blocks() -> None:
    with (
        serving_in_thread(FakeEngine(says("It", " rains"))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        whole = client.chat.completions.create(model="fake", messages=MESSAGES)
        assert whole.choices[0].message.content == "It rains"
        stream = client.chat.completions.create(model="fake", messages=MESSAGES, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "It rains"
        text = client.completions.create(model="fake", prompt="x", stream=True)
        assert "".join(chunk.choices[0].text for chunk in text) == "It rains"
        assert [model.id for model in client.models.list()] == ["fake"]
        with pytest.raises(openai.NotFoundError, match="There are: fake"):
            client.chat.completions.create(model="gpt", messages=MESSAGES)


def test_the_client_that_does_not_block_with_tools_and_structures() -> None:
    engine = FakeEngine()

    async def scenario() -> None:
        async with (
            serving(engine) as server,
            openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client,
        ):
            engine.script = says('{"town": "Ghent",', ' "warm": false}')
            parsed = await client.chat.completions.parse(model="fake", messages=MESSAGES, response_format=Step)
            assert parsed.choices[0].message.parsed == Step(town="Ghent", warm=False)
            form = engine.jobs[-1].form
            assert form is not None
            assert form.kind == "schema"

            engine.script = calls(("weather", '{"town":"Ghent"}'))
            tooled = await client.chat.completions.parse(model="fake", messages=MESSAGES, tools=[WEATHER])
            (call,) = tooled.choices[0].message.tool_calls or ()
            assert call.function.parsed_arguments == {"town": "Ghent"}
            async with client.chat.completions.stream(model="fake", messages=MESSAGES, tools=[WEATHER]) as stream:
                kinds = [event.type async for event in stream]
                final = await stream.get_final_completion()
            assert "tool_calls.function.arguments.done" in kinds
            assert final.choices[0].finish_reason == "tool_calls"

            engine.script = fails(Failed(fault="model", message="Broken."), after=("a",))
            broken = await client.chat.completions.create(model="fake", messages=MESSAGES, stream=True)
            with pytest.raises(openai.APIError, match="Broken"):
                [chunk async for chunk in broken]

    asyncio.run(scenario())


class Draining:
    def unready(self) -> str | None:
        return "It ends."


def test_health() -> None:
    async def scenario(hooks: Hooks) -> Reply:
        async with serving(FakeEngine(), hooks=hooks) as server:
            return await server.get("/health")

    assert asyncio.run(scenario(Hooks())).json == {"status": "ok"}
    ending = asyncio.run(scenario(Hooks(readiness=Draining())))
    assert (ending.status, ending.json["reason"]) == (503, "It ends.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("DELETE", "/v1/models", 405), ("GET", "/v1/nothing", 404)],
)
def test_paths_that_are_not_answered(method: str, path: str, status: int) -> None:
    async def scenario() -> Reply:
        async with serving(FakeEngine()) as server:
            return await server.get(path, method)

    reply = asyncio.run(scenario())
    assert reply.status == status
    assert reply.error["type"] == "invalid_request_error"
    assert ("Allow" in reply.headers) == (status == 405)


def test_ids_of_requests_come_back_unless_they_are_strange() -> None:
    async def scenario() -> list[str]:
        async with serving(FakeEngine()) as server:
            body = {"model": "fake", "messages": TALK}
            replies = [
                await server.post("/v1/chat/completions", body, {"x-request-id": given})
                for given in ("mine-1", "a b", "x" * 200)
            ]
            return [reply.headers["x-request-id"] for reply in replies]

    mine, *others = asyncio.run(scenario())
    assert mine == "mine-1"
    assert all(other.startswith("req_") for other in others)


def test_the_server_loads_no_heavy_library() -> None:
    program = (
        "import sys; from spiritsafe.serve import make_app; make_app({});"
        "print(sorted({'torch', 'transformers', 'numpy', 'scipy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
