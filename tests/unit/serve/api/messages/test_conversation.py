from __future__ import annotations

from typing import Any

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.serve.api.messages.conversation import messages_of_turns
from spiritsafe.serve.api.messages.request import CountTokensRequest


def read(*turns: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return messages_of_turns(CountTokensRequest(model="m", messages=list(turns), **fields))


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def use(id_: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def test_turns_become_messages_and_results_of_tools_their_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("Rain."), text("Wind.")]}
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "No clock.", "is_error": True}
    thought = {"type": "thinking", "thinking": "Look.", "signature": "sealed elsewhere"}
    messages = read(
        {"role": "user", "content": "Weather?"},
        {"role": "user", "content": [text("And the time?")]},
        {
            "role": "assistant",
            "content": [thought, text("I look."), use("t1", "weather", {"town": "Lund"}), use("t2", "clock", {})],
        },
        {"role": "user", "content": [result, failed, text("Well?")]},
        {"role": "system", "content": "Answer in Latin."},
        {"role": "user", "content": "Please."},
        system=[text("Be brief."), text("Be kind.")],
    )
    assert messages == (
        Message(role="system", content="Be brief.\nBe kind."),
        Message(role="user", content="Weather?\nAnd the time?"),
        Message(
            role="assistant",
            content="<think>\nLook.\n</think>\n\nI look.",
            tool_calls=(
                ToolCall(name="weather", arguments='{"town":"Lund"}', id="t1"),
                ToolCall(name="clock", arguments="{}", id="t2"),
            ),
        ),
        Message(role="tool", content="Rain.\nWind.", name="weather", tool_call_id="t1"),
        Message(role="tool", content="Error: No clock.", name="clock", tool_call_id="t2"),
        Message(role="user", content="Well?"),
        Message(role="system", content="Answer in Latin."),
        Message(role="user", content="Please."),
    )


def test_no_system_text_is_no_message() -> None:
    assert read({"role": "user", "content": "Hi."}) == (Message(role="user", content="Hi."),)
