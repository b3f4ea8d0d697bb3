r"""Calls of tools in an answer that is a text: one spelling, whatever the model's own is.

In: text and calls. Out: a text; or the same taken apart; or a turn as it goes over the wire. The spelling is that of
Hermes and Qwen, each call as ``<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`` behind the text; a call's id
stands beside the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from spiritsafe.core.records import Message, ToolCall

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def with_calls(text: str, calls: Sequence[ToolCall]) -> str:
    """A text with the calls behind it."""
    written = [f"{_OPEN}\n{_spelled(call)}\n{_CLOSE}" for call in calls]
    return "\n".join([text, *written] if text else written)


def split_calls(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Text and calls; a text whose end is not spelled as a call is has none."""
    calls: list[ToolCall] = []
    while found := _last_call(text):
        text, call = found
        calls.insert(0, call)
    return text, tuple(calls)


def has_tools(messages: Sequence[Message]) -> bool:
    """Whether a conversation has tools, so that what is spelled like a call is one."""
    return any(message.tools or message.tool_calls or message.role == "tool" for message in messages)


def as_openai(message: Message) -> dict[str, Any]:
    """A turn as OpenAI's interface writes it; the definitions of tools stand beside the turns there."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["content"] = message.content or None
        turn["tool_calls"] = [
            {
                **({} if call.id is None else {"id": call.id}),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    named = {"name": message.name, "tool_call_id": message.tool_call_id}
    return turn | {key: value for key, value in named.items() if value is not None}


def _spelled(call: ToolCall) -> str:
    name = f'"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}'
    return f"{{{name}}}" if call.id is None else f'{{{name}, "id": {json.dumps(call.id, ensure_ascii=False)}}}'


def _last_call(text: str) -> tuple[str, ToolCall] | None:
    """The call at the end of a text, and the text before it."""
    start = text.rfind(_OPEN)
    if start < 0 or not text.rstrip().endswith(_CLOSE):
        return None
    try:
        value = json.loads(text[start + len(_OPEN) :].rstrip().removesuffix(_CLOSE))
        arguments = json.dumps(value["arguments"], ensure_ascii=False)
        call = ToolCall(name=value["name"], arguments=arguments, id=value.get("id"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ValidationError):
        return None
    return text[:start].rstrip(), call
