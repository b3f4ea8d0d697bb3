"""The cases of the Open Responses compliance suite, and OpenAI's client unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from responses_judge import judged_events, judged_response
from served_app import Reply, serving, serving_in_thread
from served_engine import FakeEngine, Script, calls, says

from spiritsafe.core.serving import Form, Job
from spiritsafe.serve.api.responses.interface import INTERFACE, ResponseObject

PATH = INTERFACE.path
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


TALK = [
    message("user", "My name is Alice."),
    message("assistant", "Hello Alice! Nice to meet you."),
    message("user", "What is my name?"),
]
PICTURE = {
    "type": "message",
    "role": "user",
    "content": [
        {"type": "input_text", "text": "What do you see in this image?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
    ],
}
SUITE: dict[str, tuple[Script, dict[str, Any]]] = {
    "basic": (says("Hello", "!"), {"input": [message("user", "Say hello in exactly 3 words.")]}),
    "streaming": (says("1, ", "2"), {"input": [message("user", "Count from 1 to 5.")], "stream": True}),
    "system prompt": (says("Ahoy."), {"input": [message("system", "You are a pirate."), message("user", "Hi.")]}),
    "tool call": (
        calls(("get_weather", '{"location":"San Francisco"}')),
        {"input": [message("user", "What's the weather in San Francisco?")], "tools": [WEATHER]},
    ),
    "tool call streaming": (
        calls(("get_weather", '{"location":"San Francisco"}')),
        {"input": [message("user", "What's the weather?")], "tools": [WEATHER], "stream": True},
    ),
    "multi-turn": (says("Alice."), {"input": TALK}),
}


def ask(engine: FakeEngine, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(PATH, {"model": "fake", "input": "Hi.", **fields})

    return asyncio.run(scenario())


def job_of(**fields: Any) -> Job:
    engine = FakeEngine()
    reply = ask(engine, **fields)
    assert reply.status == 200, reply.raw
    return engine.jobs[0]


@pytest.mark.parametrize("case", SUITE)
def test_the_suite_finds_nothing(case: str) -> None:
    script, fields = SUITE[case]
    reply = ask(FakeEngine(script), **fields)
    answer = judged_events(reply.events) if fields.get("stream") else judged_response(reply.json)
    assert answer.status == "completed"
    kinds = [item.type for item in answer.output]
    assert kinds == (["function_call"] if "tool" in case else ["message"])
    if not fields.get("stream"):
        ResponseObject.model_validate(reply.json, strict=True)


def test_the_suites_picture_is_refused_by_name() -> None:
    reply = ask(FakeEngine(), input=[PICTURE])
    assert (reply.status, reply.error["param"]) == (400, "input[0].content[1]")


def test_every_field_reaches_the_job() -> None:
    job = job_of(
        instructions="Be brief.",
        tools=[WEATHER, {"type": "function", "name": "clock"}],
        tool_choice={"type": "function", "name": "clock"},
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        presence_penalty=1,
        frequency_penalty=-1,
        top_logprobs=3,
        seed=11,
    )
    assert [one.role for one in job.messages] == ["system", "user"]
    assert job.messages[0].tools[1] == '{"type":"function","function":{"name":"clock"}}'
    expected = {
        "tool_choice": "required",
        "tool_name": "clock",
        "parallel_tool_calls": False,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "top_logprobs": 3,
        "seed": 11,
    }
    assert {name: getattr(job, name) for name in expected} == expected


def test_some_of_the_tools_may_be_allowed() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "clock"}]}
    reply_tools = [WEATHER, {"type": "function", "name": "clock"}]
    job = job_of(tools=reply_tools, tool_choice=allowed)
    assert (job.tool_choice, job.tool_name) == ("required", None)
    assert [definition.count("clock") for definition in job.messages[0].tools] == [1]
    answer = judged_response(ask(FakeEngine(), tools=reply_tools, tool_choice=allowed).json)
    assert len(answer.tools) == 2


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Form(kind="json")),
        ({"type": "json_schema"}, Form(kind="json")),
        (
            {"type": "json_schema", "name": "x", "schema": {"type": "object"}},
            Form(kind="schema", source='{"type":"object"}'),
        ),
    ],
)
def test_forms(given: dict[str, Any], form: Form | None) -> None:
    engine = FakeEngine()
    judged_response(ask(engine, text={"format": given}).json)
    assert engine.jobs[0].form == form


def test_nothing_is_kept() -> None:
    async def scenario() -> None:
        async with serving(FakeEngine()) as server:
            answer = (await server.post(PATH, {"model": "fake", "input": "Hi."})).json
            assert answer["store"] is False
            for method in ("GET", "DELETE"):
                assert (await server.get(f"{PATH}/{answer['id']}", method)).status == 404

    asyncio.run(scenario())


def test_openais_client_goes_on_with_what_it_was_given() -> None:
    engine = FakeEngine(calls(("get_weather", '{"location":"Lund"}')))
    with serving_in_thread(engine) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        talk: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = client.responses.create(model="fake", input=talk, tools=[WEATHER], reasoning={"summary": "auto"})  # type: ignore[list-item]
        (call,) = first.output
        assert call.type == "function_call"
        engine.script = says("Rain", ".", thought=("It", " rains"))
        talk += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
        with client.responses.stream(model="fake", input=talk) as stream:
            kinds = [event.type for event in stream]
            second = stream.get_final_response()
        assert second.output_text == "Rain."
        assert kinds.count("response.output_text.delta") == kinds.count("response.reasoning_text.delta") == 2
        client.responses.create(model="fake", input=[*talk, *second.output, {"role": "user", "content": "Sure?"}])
        assert engine.jobs[-1].messages[3].content == "<think>\nIt rains\n</think>\n\nRain."
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="fake", input="Hi.", store=True)
        assert caught.value.param == "store"
        client.close()
