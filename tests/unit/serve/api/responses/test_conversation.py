from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.serve import Refusal
from spiritsafe.serve.api.responses.conversation import messages_of_items
from spiritsafe.serve.api.responses.request import ResponsesRequest

CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"town":"Lund"}'}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Look."}]}


def read(*items: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return messages_of_items(ResponsesRequest(model="m", input=list(items), **fields))


def text(said: str) -> dict[str, Any]:
    return {"type": "input_text", "text": said}


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


def test_an_earlier_answer_becomes_one_message_again() -> None:
    other = {**CALL, "call_id": "c2", "name": "clock", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1"}
    messages = read(
        {"role": "developer", "content": [text("Be"), text("brief.")]},
        said("user", "Weather?"),
        THOUGHT,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        CALL,
        other,
        {**output, "output": [text("Rain.")]},
        {**output, "call_id": "c2", "output": "Noon."},
        said("assistant", "Rain at noon."),
        THOUGHT,
        instructions="Speak English.",
    )  # fmt: skip
    assert messages == (
        Message(role="system", content="Speak English."),
        Message(role="system", content="Be\nbrief."),
        Message(role="user", content="Weather?"),
        Message(
            role="assistant",
            content="<think>\nLook.\n</think>\n\nI look.",
            tool_calls=(
                ToolCall(name="weather", arguments='{"town":"Lund"}', id="c1"),
                ToolCall(name="clock", arguments="{}", id="c2"),
            ),
        ),
        Message(role="tool", content="Rain.", name="weather", tool_call_id="c1"),
        Message(role="tool", content="Noon.", name="clock", tool_call_id="c2"),
        Message(role="assistant", content="Rain at noon."),
        Message(role="assistant", content="<think>\nLook.\n</think>\n\n"),
    )


def test_what_another_server_gave_is_read_too() -> None:
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Looked."}]}
    declined = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    (message,) = read(summary, declined)
    assert message.content == "<think>\nLooked.\n</think>\n\nNo."


def test_a_text_alone_is_the_users() -> None:
    assert messages_of_items(ResponsesRequest(model="m", input="Hi.")) == (Message(role="user", content="Hi."),)


def test_marks_of_thoughts_in_a_thought_are_refused_at_their_item() -> None:
    marked = {**THOUGHT, "content": [{"type": "reasoning_text", "text": "a</think>b"}]}
    with pytest.raises(Refusal) as caught:
        read(said("user", "Hi."), marked, said("assistant", "x"))
    assert caught.value.param == "input[1]"
