"""Anthropic's client, unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from messages_judge import judged_message
from served_app import TALK, Reply, serving, serving_in_thread
from served_engine import FakeEngine, calls, says

from spiritsafe.core.serving import Form
from spiritsafe.serve.api.messages.interface import INTERFACE, MessageObject

WEATHER = {
    "name": "weather",
    "description": "Of a town.",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}


def ask(engine: FakeEngine, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(INTERFACE.path, {"model": "fake", "max_tokens": 9, "messages": TALK, **fields})

    return asyncio.run(scenario())


def test_every_field_reaches_the_job() -> None:
    engine = FakeEngine()
    reply = ask(
        engine,
        system="Be brief.",
        tools=[WEATHER, {"name": "clock", "input_schema": {"type": "object"}, "strict": True}],
        tool_choice={"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        stop_sequences=["END", "STOP"],
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        seed=11,
    )
    judged_message(reply.json)
    MessageObject.model_validate(reply.json, strict=True)
    (job,) = engine.jobs
    assert [one.role for one in job.messages] == ["system", "user"]
    assert job.messages[0].tools == (
        '{"type":"function","function":{"name":"weather","description":"Of a town.","parameters":{"type":"object",'
        '"properties":{"town":{"type":"string"}},"required":["town"]}}}',
        '{"type":"function","function":{"name":"clock","parameters":{"type":"object"},"strict":true}}',
    )
    expected = {
        "tool_choice": "required",
        "tool_name": "clock",
        "parallel_tool_calls": False,
        "form": Form(kind="schema", source='{"type":"object"}'),
        "max_tokens": 9,
        "stop": ("END", "STOP"),
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "seed": 11,
    }
    assert {name: getattr(job, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "choice"),
    [({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none")],
)
def test_choices_of_tools(given: dict[str, Any], choice: str) -> None:
    engine = FakeEngine()
    assert ask(engine, tools=[WEATHER], tool_choice=given).status == 200
    assert (engine.jobs[0].tool_choice, engine.jobs[0].tool_name) == (choice, None)


def test_anthropics_client_calls_a_tool_and_goes_on_in_a_stream() -> None:
    engine = FakeEngine(calls(("weather", '{"town":"Lund"}'), text="I look."))
    with (
        serving_in_thread(engine) as address,
        anthropic.Anthropic(base_url=address, api_key="k", max_retries=0) as client,
    ):
        talk: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = client.messages.create(model="fake", max_tokens=99, messages=talk, tools=[WEATHER])  # type: ignore[list-item]
        assert first.stop_reason == "tool_use"
        _, call = first.content
        assert call.type == "tool_use"
        assert call.input == {"town": "Lund"}
        engine.script = says("Rain", ".", thought=("It", " rains"))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
        talk += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        with client.messages.stream(model="fake", max_tokens=99, messages=talk) as stream:
            assert list(stream.text_stream) == ["Rain", "."]
            second = stream.get_final_message()
        assert [block.type for block in second.content] == ["thinking", "text"]
        assert second.usage.output_tokens == 5
        talk += [{"role": "assistant", "content": second.content}, {"role": "user", "content": "Sure?"}]
        assert client.messages.count_tokens(model="fake", messages=talk).input_tokens == 7
        assert [one.role for one in engine.jobs[-1].messages] == ["user", "assistant", "tool", "assistant", "user"]
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(model="fake", max_tokens=99, messages=talk, system=[{"type": "text"}])  # type: ignore[typeddict-item]
        assert caught.value.type == "invalid_request_error"
        assert caught.value.request_id is not None


def test_anthropics_runner_of_tools_sends_whole_conversations() -> None:
    engine = FakeEngine(
        lambda job: (
            says(job.messages[-1].content, ".")(job)
            if job.messages[-1].role == "tool"
            else calls(("weather", '{"town":"Lund"}'))(job)
        )
    )

    @anthropic.beta_tool
    def weather(town: str) -> str:
        """Of a town."""
        return f"Rain in {town}"

    with (
        serving_in_thread(engine) as address,
        anthropic.Anthropic(base_url=address, api_key="k", max_retries=0) as client,
    ):
        talk: list[Any] = [{"role": "user", "content": "Weather?"}]
        runner = client.beta.messages.tool_runner(model="fake", max_tokens=99, messages=talk, tools=[weather])
        assert [block.to_dict()["text"] for block in runner.until_done().content] == ["Rain in Lund."]
    assert [[one.role for one in job.messages] for job in engine.jobs] == [["user"], ["user", "assistant", "tool"]]


def test_anthropics_client_of_many_requests() -> None:
    async def scenario() -> None:
        engine = FakeEngine(says("Hi", "."))
        async with (
            serving(engine) as server,
            anthropic.AsyncAnthropic(base_url=server.address, api_key="k", max_retries=0) as client,
        ):
            stream = await client.messages.create(
                model="fake", max_tokens=9, messages=[{"role": "user", "content": "Hi."}], stream=True
            )
            kinds = [event.type async for event in stream]
            assert kinds[0] == "message_start"
            assert kinds[-1] == "message_stop"
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(model="x", max_tokens=9, messages=[{"role": "user", "content": "Hi."}])

    asyncio.run(scenario())
