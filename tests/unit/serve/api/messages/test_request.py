from __future__ import annotations

import asyncio
from typing import Any, get_type_hints

import pytest
from anthropic.types import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from messages_judge import judged_error
from served_app import TALK, Reply, serving
from served_engine import FakeEngine, fails, served_model

from spiritsafe.core.serving import Failed
from spiritsafe.serve.api.messages.request import CountTokensRequest, MessagesRequest

PATH = "/v1/messages"
TOOL = {"name": "weather", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
MARK = {"cache_control": {"type": "ephemeral"}}


def ask(engine: FakeEngine, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    body = {"model": "fake", "max_tokens": 9, "messages": TALK, **fields}

    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(PATH, {key: value for key, value in body.items() if value is not ...}, headers)

    return asyncio.run(scenario())


def turn(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"container": "c"}, "container", ""),
        ({"max_tokens": ...}, "max_tokens", "Missing"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"mcp_servers": []}, "mcp_servers", ""),
        ({"thread": {"type": "create"}}, "thread", "whole conversation"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "zebra", "content": "x"}]}, "messages[0]", "assistant"),
        ({"messages": [turn("user", {"type": "image", "source": {}})]}, "messages[0].content[0]", "text"),
        ({"messages": [turn("user", {"type": "document", "source": {}})]}, "messages[0].content[0]", "text"),
        (
            {"messages": [turn("assistant", {"type": "redacted_thinking", "data": "x"}), *TALK]},
            "messages[0].content[0]",
            "leave the block out",
        ),
        (
            {"messages": [turn("user", {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]})]},
            "messages[0].content[0].content[0]",
            "text",
        ),
        ({"messages": [{"role": "assistant", "content": "The"}]}, "messages[0]", "no turn before"),
        ({"messages": [*TALK, turn("assistant", CALL)]}, "messages[1]", "calls tools"),
        ({"messages": [turn("user", {"type": "tool_result", "tool_use_id": "t"})]}, "messages[0].content", "tool_use"),
        ({"service_tier": "batch"}, "service_tier", "standard_only"),
        ({"speed": "fast"}, "speed", "one speed"),
        ({"stop_sequences": [""]}, "stop_sequences[0]", ""),
        ({"temperature": 1.5}, "temperature", "less"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.budget_tokens", "adaptive"),
        ({"thinking": {"type": "disabled"}}, "thinking.type", "turned off"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice", "'x'"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading", ""),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type", "custom"),
        ({"tools": [TOOL, TOOL]}, "tools", "one name"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str, words: str) -> None:
    engine = FakeEngine()
    reply = ask(engine, **fields)
    error = judged_error(reply)
    assert (reply.status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert words in error["message"]
    assert engine.jobs == []


def test_thinking_is_as_the_model_does() -> None:
    plain = FakeEngine(model=served_model(thinks=False))
    assert ask(plain, thinking={"type": "disabled"}).status == 200
    assert judged_error(ask(plain, thinking={"type": "adaptive"}))["param"] == "thinking.type"
    assert ask(FakeEngine(), thinking={"type": "adaptive"}).status == 200


@pytest.mark.parametrize("kind", ["disabled", "adaptive"])
def test_thinking_is_switched_where_the_model_has_a_switch(kind: str) -> None:
    for thinks in (True, False):
        engine = FakeEngine(model=served_model(thinks=thinks, switches_thinking=True))
        assert ask(engine, thinking={"type": kind}).status == 200
        assert engine.jobs[0].thinking is (kind == "adaptive")


def test_a_last_turn_of_the_assistant_is_gone_on_from() -> None:
    engine = FakeEngine()
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    text = {"type": "text", "text": "The answer is ("}
    assert ask(engine, messages=[*TALK, turn("assistant", text)]).status == 200
    assert ask(engine, messages=[*TALK, turn("assistant", thought, text)]).status == 200
    assert [job.prefix for job in engine.jobs] == ["The answer is (", "<think>\nHm.\n</think>\n\nThe answer is ("]
    assert [[message.role for message in job.messages] for job in engine.jobs] == [["user"]] * 2
    refused = Failed(fault="asker", message="No.", param="prefix", code="invalid")
    error = judged_error(ask(FakeEngine(fails(refused)), messages=[*TALK, turn("assistant", text)]))
    assert error["param"] == "messages[1]"


@pytest.mark.parametrize(
    ("headers", "ignored"),
    [
        ({"anthropic-version": "2023-06-01"}, None),
        ({"Anthropic-Version": "2026-10-21"}, None),
        ({"anthropic-version": "2040-01-01"}, "anthropic-version"),
        ({"anthropic-beta": "x"}, "anthropic-beta"),
    ],
)
def test_versions_of_the_interface_and_what_is_beyond_them(headers: dict[str, str], ignored: str | None) -> None:
    reply = ask(FakeEngine(), headers)
    assert (reply.status, reply.headers.get("spiritsafe-ignored")) == (200, ignored)


def test_an_unknown_model_is_not_found() -> None:
    reply = ask(FakeEngine(), model="other")
    assert (reply.status, judged_error(reply)["type"]) == (404, "not_found_error")


def test_what_changes_nothing_is_told_in_a_header() -> None:
    use = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x", **MARK}], **MARK}
    reply = ask(
        FakeEngine(),
        messages=[*TALK, turn("assistant", thought, use), turn("user", result)],
        system=[{"type": "text", "text": "Be brief.", **MARK}],
        tools=[{**TOOL, **MARK, "eager_input_streaming": True}],
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "low"},
        metadata={"user_id": "u"},
        service_tier="auto",
        speed="standard",
        **MARK,
    )
    assert reply.status == 200, reply.raw
    assert sorted(reply.headers["spiritsafe-ignored"].split(", ")) == sorted(MessagesRequest.ignored)


def test_null_is_absent_and_plain_requests_ignore_nothing() -> None:
    required = {"model", "messages", "max_tokens"}
    reply = ask(FakeEngine(), container=None, **dict.fromkeys(set(MessagesRequest.model_fields) - required))
    assert reply.status == 200, reply.raw
    assert "spiritsafe-ignored" not in reply.headers


@pytest.mark.parametrize(
    ("params", "request_"),
    [(MessageCreateParamsBase, MessagesRequest), (MessageCountTokensParams, CountTokensRequest)],
)
def test_every_field_of_the_client_is_known_here(params: Any, request_: type[CountTokensRequest]) -> None:
    assert {*get_type_hints(params), "stream"} <= {*request_.model_fields, *request_.refused}
