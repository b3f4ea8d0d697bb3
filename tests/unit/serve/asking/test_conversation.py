from __future__ import annotations

from typing import Any

import pytest
from served_engine import served_model

from spiritsafe.serve.asking.conversation import ChatMessage, ToolDefinition, chat_messages, ignored_names
from spiritsafe.serve.refusals import Refusal

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def read(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> tuple[Any, ...]:
    return chat_messages(
        [ChatMessage.model_validate(one) for one in messages],
        [ToolDefinition.model_validate(one) for one in tools],
        served_model(),
    )


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{"role": "user", "content": "x", "reasoning_content": "y"}], "messages[0].reasoning_content"),
        ([{"role": "user", "content": "x", "tool_call_id": "c"}], "messages[0].tool_call_id"),
        ([{"role": "assistant"}], "messages[0].content"),
        ([{"role": "assistant", "content": "<think>a", "reasoning_content": "y"}], "messages[0].reasoning_content"),
        ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([{"role": "tool", "content": "x", "tool_call_id": "c"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1]"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_message_has_what_its_role_needs_and_no_more(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(Refusal) as found:
        read(*messages)
    assert found.value.param == param


def test_a_conversation_with_a_tool() -> None:
    first, second, third = read(
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": [{"type": "text", "text": "y"}], "tool_call_id": "c", "name": "f"},
        tools=({"type": "function", "function": {"name": "f", "parameters": {"enum": [None]}}},),
    )
    assert (first.name, first.tools) == (
        None,
        ('{"type":"function","function":{"name":"f","parameters":{"enum":[null]}}}',),
    )
    assert second.tool_calls[0].arguments == '{"a": 1}'
    assert (third.content, third.name) == ("y", "f")


def test_names_of_speakers_are_told_to_be_ignored() -> None:
    speaker = ChatMessage(role="user", content="x", name="ann")
    tool = ChatMessage(role="tool", content="x", name="f", tool_call_id="c")
    assert (ignored_names([speaker]), ignored_names([tool])) == (("messages.name",), ())
