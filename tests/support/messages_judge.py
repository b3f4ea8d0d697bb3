"""A judge of ``/v1/messages``: the types of Anthropic's client, held strictly, and the order of events.

``judged_message(body)``, ``judged_stream(reply.events)`` and ``judged_error(reply)`` fail where something is not what
the types say, or stands nowhere in them.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel
from served_app import Reply


def _type_of(model: type[BaseModel]) -> str:
    (value,) = get_args(model.model_fields["type"].annotation)
    return str(value)


_EVENTS = {_type_of(model): model for model in get_args(get_args(RawMessageStreamEvent)[0])}


def strictly_anthropic(model: type[Any], value: Any) -> Any:
    checked = model.model_validate(value, strict=True)
    assert _beyond(checked) == set(), f"{model.__name__} does not know {_beyond(checked)}"
    return checked


def judged_message(body: dict[str, Any]) -> Message:
    message: Message = strictly_anthropic(Message, body)
    assert message.stop_reason is not None
    return message


def judged_error(reply: Reply) -> dict[str, Any]:
    error = dict(reply.json["error"])
    told = {"type": error["type"], "message": error["message"]}
    strictly_anthropic(ErrorResponse, {**reply.json, "error": told})
    assert reply.json["request_id"] == reply.headers["request-id"]
    return error


def judged_stream(events: list[tuple[str | None, Any]]) -> Message:
    """The message that the events come to."""
    assert [name for name, _ in events] == [data["type"] for _, data in events]
    told = [data for _, data in events if data["type"] != "ping"]
    for data in told:
        strictly_anthropic(_EVENTS[data["type"]], data)
    start, *rest, delta, stop = told
    assert (start["type"], delta["type"], stop["type"]) == ("message_start", "message_delta", "message_stop")
    assert start["message"]["content"] == []
    assert start["message"]["stop_reason"] is None
    blocks: list[dict[str, Any]] = []
    open_block = False
    for event in rest:
        if event["type"] == "content_block_start":
            assert not open_block
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
            open_block = True
        else:
            assert open_block
            assert event["index"] == len(blocks) - 1
            open_block = event["type"] != "content_block_stop"
            if open_block:
                _add(blocks[-1], event["delta"])
    assert not open_block
    for block in blocks:
        written = block.pop("json")
        if written:
            block["input"] = json.loads(written)
    usage = start["message"]["usage"] | delta["usage"]
    return judged_message({**start["message"], "content": blocks, **delta["delta"], "usage": usage})


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    field, of = {
        "text_delta": ("text", "text"),
        "thinking_delta": ("thinking", "thinking"),
        "signature_delta": ("signature", "thinking"),
        "input_json_delta": ("json", "tool_use"),
    }[delta["type"]]
    assert block["type"] == of
    block[field] += delta["partial_json" if field == "json" else field]


def _beyond(value: Any) -> set[str]:
    if isinstance(value, BaseModel):
        inside = (_beyond(getattr(value, name)) for name in type(value).model_fields)
        return set(value.model_extra or {}).union(*inside)
    if isinstance(value, list):
        return set().union(*map(_beyond, value))
    return set()
