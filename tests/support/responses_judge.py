"""Two judges of ``/v1/responses``: the strict types of Open Responses and those of OpenAI's client; and the order.

``judged_response(body)`` and ``judged_events(reply.events)`` fail where a body or an event is not what both say, or
where events do not come as the specification orders them.
"""

from __future__ import annotations

import json
from typing import Any, get_args

import openresponses_types.types as open_types
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

# what Open Responses has beyond OpenAI's types; it demands `bytes` in deltas, too
_BEYOND_OPENAI = {"bytes", "frequency_penalty", "presence_penalty", "store"}
_REASONING = {  # the two specifications name these events differently; clients go by OpenAI's names
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def _type_of(model: type[BaseModel]) -> str:
    (value,) = get_args(model.model_fields["type"].annotation)
    return str(value)


_OPENAI = {_type_of(model): model for model in get_args(get_args(ResponseStreamEvent)[0])}
_OPEN = {
    next(iter(model.model_fields["type"].annotation)).value: model  # type: ignore[union-attr, arg-type]
    for name, model in vars(open_types).items()
    if name.endswith("StreamingEvent")
}


def judged_response(body: dict[str, Any]) -> Response:
    _open_judge(open_types.ResponseResource, _without_schema(body))
    return _openai_judge(Response, body)


def judged_events(events: list[tuple[str | None, Any]]) -> Response:
    """The response that the stream ends with."""
    *named, (name, done) = events
    assert (name, done) == (None, "[DONE]")
    told = [data for _, data in named]
    assert [name for name, _ in named] == [data["type"] for data in told]
    for data in told:
        _openai_judge(_OPENAI[data["type"]], data)
        kind = _REASONING.get(data["type"], data["type"])
        response = {"response": _without_schema(data["response"])} if "response" in data else {}
        _open_judge(_OPEN[kind], {**data, "type": kind, **response})
    check_order(told)
    return judged_response(told[-1]["response"])


def check_order(events: list[dict[str, Any]]) -> None:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] in _ENDS for event in events] == [False] * (len(events) - 1) + [True]
    items: list[dict[str, Any]] = []
    rest = events[2:-1]
    while rest:
        added, rest = rest[0], rest[1:]
        assert added["type"] == "response.output_item.added"
        assert added["output_index"] == len(items)
        assert added["item"]["status"] == "in_progress"
        inside = [event for event in rest if event["type"] != "response.output_item.done"][: _length(rest)]
        if len(inside) == len(rest):  # it broke off
            assert events[-1]["type"] == "response.failed"
            return
        done, rest = rest[len(inside)], rest[len(inside) + 1 :]
        item = done["item"]
        assert done["output_index"] == len(items)
        for key in ("id", "type"):
            assert item[key] == added["item"][key]
        assert all(event["item_id"] == item["id"] for event in inside)
        assert all(event["output_index"] == len(items) for event in inside)
        _check_item(item, inside)
        items.append(item)
    if events[-1]["type"] != "response.failed":
        assert events[-1]["response"]["output"] == items
        assert [item["status"] for item in items[:-1]] == ["completed"] * (len(items) - 1)
        assert items[-1]["status"] == events[-1]["response"]["status"]


def _length(events: list[dict[str, Any]]) -> int:
    kinds = [event["type"] for event in events]
    return kinds.index("response.output_item.done") if "response.output_item.done" in kinds else len(kinds)


def _check_item(item: dict[str, Any], inside: list[dict[str, Any]]) -> None:
    kinds = [event["type"] for event in inside]
    if item["type"] == "function_call":
        *deltas, done = inside
        assert kinds == ["response.function_call_arguments.delta"] * len(deltas) + [
            "response.function_call_arguments.done"
        ]
        assert "".join(delta["delta"] for delta in deltas) == done["arguments"] == item["arguments"]
        return
    name = "response.reasoning_text" if item["type"] == "reasoning" else "response.output_text"
    added, *deltas, done, part = inside
    between = [f"{name}.delta"] * len(deltas)
    assert kinds == ["response.content_part.added", *between, f"{name}.done", "response.content_part.done"]
    assert added["part"]["text"] == ""
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == part["part"]["text"]
    assert item["content"] == [part["part"]]
    if item["type"] == "message":
        told = [token for delta in deltas for token in delta["logprobs"]]
        assert told == done["logprobs"] == part["part"]["logprobs"]


def _openai_judge(model: type[Any], value: dict[str, Any]) -> Any:
    checked = model.model_validate(value, strict=True)
    assert _beyond(checked) - _BEYOND_OPENAI == set()
    return checked


def _open_judge(model: type[BaseModel], value: dict[str, Any]) -> None:
    model.model_validate_json(json.dumps(value), strict=True)


def _without_schema(response: dict[str, Any]) -> dict[str, Any]:
    """openresponses-types 2.4 takes null only for the schema of a format; the specification and OpenAI an object."""
    form = response["text"]["format"]
    return {**response, "text": {"format": {**form, "schema": None}}} if "schema" in form else response


def _beyond(value: Any) -> set[str]:
    if isinstance(value, BaseModel):
        inside = (_beyond(getattr(value, name)) for name in type(value).model_fields)
        return set(value.model_extra or {}).union(*inside)
    if isinstance(value, list):
        return set().union(*map(_beyond, value))
    return set()
