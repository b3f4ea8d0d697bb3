from __future__ import annotations

import asyncio
from typing import Any, get_type_hints

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openresponses_types.types import CreateResponseBody
from served_app import Reply, serving
from served_engine import FakeEngine, served_model

from spiritsafe.serve.api.responses.request import ResponsesRequest

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def ask(engine: FakeEngine, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(PATH, {"model": "fake", "input": "Hi.", **fields})

    return asyncio.run(scenario())


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "message", "role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"background": True}, "background", "at once"),
        ({"conversation": "conv_1"}, "conversation", "not kept"),
        ({"include": ["file_search_call.results"]}, "include[0]", "encrypted_content"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]", "send the item"),
        ({"input": [{"type": "computer_call"}]}, "input[0]", "function_call_output"),
        ({"input": [{"role": "zebra", "content": "x"}]}, "input[0].role", "developer"),
        ({"input": user({"type": "input_text", "text": "a"}, {"type": "input_image"})}, "input[0].content[1]", "text"),
        ({"input": user({"type": "input_file", "file_id": "f"})}, "input[0].content[0]", "text"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"}]},
            "input[0].arguments",
            "JSON object",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "input[0].call_id",
            "function_call",
        ),
        ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]}, "input[0].encrypted_content", ""),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater"),
        ({"max_tool_calls": 2}, "max_tool_calls", "runs none"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "512"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "not kept"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "max_output_tokens"),
        ({"reasoning": {"effort": "none"}}, "reasoning.effort", "turned off"),
        ({"service_tier": "flex"}, "service_tier", "one tier"),
        ({"store": True}, "store", "send earlier items again"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "stream"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", ""),
        ({"temperature": 2.5}, "temperature", "less"),
        ({"temprature": 1}, "temprature", "temperature"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format", ""),
        ({"tool_choice": "required"}, "tool_choice", "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "'x'"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "x"}]}},
            "tool_choice.tools[0].name",
            "'x'",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "function"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading", ""),
        ({"truncation": "auto"}, "truncation", "shorten it yourself"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str, words: str) -> None:
    engine = FakeEngine()
    reply = ask(engine, **fields)
    assert (reply.status, reply.error["param"], reply.error["type"]) == (400, param, "invalid_request_error")
    assert words in reply.error["message"]
    assert engine.jobs == []


def test_a_model_that_does_not_think_takes_no_effort_and_one_without_tools_no_tools() -> None:
    plain = FakeEngine(model=served_model(thinks=False, shows_tools=False))
    assert ask(plain, reasoning={"effort": "none"}).json["reasoning"]["effort"] == "none"
    assert ask(plain, tools=[TOOL]).error["param"] == "tools"


def test_what_changes_nothing_is_told_in_a_header() -> None:
    earlier = {
        "type": "message",
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}],
    }
    reply = ask(
        FakeEngine(),
        input=[earlier, {"role": "user", "content": "Hi."}],
        include=["reasoning.encrypted_content"],
        metadata={"a": "b"},
        prompt_cache_key="k",
        reasoning={"summary": "auto"},
        safety_identifier="s",
        service_tier="auto",
        text={"format": {"type": "json_schema", "name": "n", "description": "d", "schema": {}}, "verbosity": "low"},
        user="u",
    )
    assert reply.status == 200, reply.raw
    told = reply.headers["spiritsafe-ignored"].split(", ")
    assert sorted(told) == sorted(ResponsesRequest.ignored)
    assert reply.json["metadata"] == {"a": "b"}


def test_null_is_absent_and_plain_requests_ignore_nothing() -> None:
    absent = dict.fromkeys(set(ResponsesRequest.model_fields) - {"model", "input"})
    reply = ask(FakeEngine(), previous_response_id=None, **absent)
    assert reply.status == 200, reply.raw
    assert "spiritsafe-ignored" not in reply.headers


@pytest.mark.parametrize("known", [get_type_hints(ResponseCreateParamsBase), CreateResponseBody.model_fields])
def test_every_field_of_both_specifications_is_known_here(known: dict[str, Any]) -> None:
    assert {*known, "stream"} <= {*ResponsesRequest.model_fields, *ResponsesRequest.refused}
