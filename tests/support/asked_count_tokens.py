"""A value for each property of ``/v1/messages/count_tokens``: a body that has it, and the same without."""

from __future__ import annotations

from typing import Any

from asked_completions import Row

BODY: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hi."}]}

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def talk(**last: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi.", **last}]}


def block(**fields: Any) -> dict[str, Any]:
    return talk(content=[{"type": "text", "text": "Hi.", **fields}])


def called(*, call: dict[str, Any] | None = None, **result: Any) -> dict[str, Any]:
    """A conversation in which a tool was called."""
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}, **(call or {})}
    back = {"type": "tool_result", "tool_use_id": "t", "content": "x", **result}
    return {
        "messages": [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [back]},
        ]
    }


def returned(**fields: Any) -> dict[str, Any]:
    return called(content=[{"type": "text", "text": "x", **fields}])


def thought(**fields: Any) -> dict[str, Any]:
    earlier = {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", **fields}]}
    return {"messages": [earlier, {"role": "user", "content": "Hi."}]}


def system(**fields: Any) -> dict[str, Any]:
    return {"system": [{"type": "text", "text": "x", **fields}]}


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"name": "f", "input_schema": {"type": "object"}, **fields}]}


def choice(**fields: Any) -> dict[str, Any]:
    return {**tool(), "tool_choice": {"type": "any", **fields}}


SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}

ROWS: dict[str, Row] = {
    "cache_control": ({"cache_control": MARK}, {}),
    "cache_control.ttl": ({"cache_control": LONG}, {}),
    "cache_control.type": ({"cache_control": MARK}, {}),
    "messages": (talk(content="Ho."), {}),
    "messages.content": (talk(content="Ho."), {}),
    "messages.content.cache_control": (block(cache_control=MARK), block()),
    "messages.content.cache_control.ttl": (block(cache_control=LONG), block()),
    "messages.content.cache_control.type": (block(cache_control=MARK), block()),
    "messages.content.content": (called(content="y"), called()),
    "messages.content.content.cache_control": (returned(cache_control=MARK), returned()),
    "messages.content.content.cache_control.ttl": (returned(cache_control=LONG), returned()),
    "messages.content.content.cache_control.type": (returned(cache_control=MARK), returned()),
    "messages.content.content.text": (returned(text="y"), returned()),
    "messages.content.content.type": (returned(type="image"), returned()),
    "messages.content.id": (called(call={"id": "u"}, tool_use_id="u"), called()),
    "messages.content.input": (called(call={"input": {"a": 1}}), called()),
    "messages.content.is_error": (called(is_error=True), called()),
    "messages.content.name": (called(call={"name": "g"}), called()),
    "messages.content.signature": (thought(signature="y"), thought()),
    "messages.content.text": (block(text="Ho."), block()),
    "messages.content.thinking": (thought(thinking="y"), thought()),
    "messages.content.tool_use_id": (called(tool_use_id="u"), called()),
    "messages.content.type": (block(type="image"), block()),
    "messages.role": (talk(role="assistant"), {}),
    "model": ({"model": "other"}, {}),
    "output_config": ({"output_config": {"format": SCHEMA}}, {}),
    "output_config.effort": ({"output_config": {"effort": "low"}}, {}),
    "output_config.format": ({"output_config": {"format": SCHEMA}}, {}),
    "output_config.format.schema": (
        {"output_config": {"format": {**SCHEMA, "schema": {"type": "array"}}}},
        {"output_config": {"format": SCHEMA}},
    ),
    "output_config.format.type": ({"output_config": {"format": {**SCHEMA, "type": "text"}}}, {}),
    "speed": ({"speed": "fast"}, {}),
    "stream": ({"stream": True}, {}),
    "system": ({"system": "x"}, {}),
    "system.cache_control": (system(cache_control=MARK), system()),
    "system.cache_control.ttl": (system(cache_control=LONG), system()),
    "system.cache_control.type": (system(cache_control=MARK), system()),
    "system.text": (system(text="y"), system()),
    "system.type": (system(type="image"), system()),
    "thinking": ({"thinking": {"type": "disabled"}}, {}),
    "thinking.budget_tokens": ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {}),
    "thinking.display": (
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"thinking": {"type": "adaptive"}},
    ),
    "thinking.type": ({"thinking": {"type": "disabled"}}, {}),
    "tool_choice": (choice(), tool()),
    "tool_choice.disable_parallel_tool_use": (choice(disable_parallel_tool_use=True), choice()),
    "tool_choice.name": ({**tool(), "tool_choice": {"type": "tool", "name": "f"}}, choice()),
    "tool_choice.type": (choice(type="none"), choice()),
    "tools": (tool(), {}),
    "tools.cache_control": (tool(cache_control=MARK), tool()),
    "tools.cache_control.ttl": (tool(cache_control=LONG), tool()),
    "tools.cache_control.type": (tool(cache_control=MARK), tool()),
    "tools.description": (tool(description="d"), tool()),
    "tools.eager_input_streaming": (tool(eager_input_streaming=True), tool()),
    "tools.input_schema": (tool(input_schema={"type": "object", "properties": {}}), tool()),
    "tools.name": (tool(name="g"), tool()),
    "tools.strict": (tool(strict=True), tool()),
    "tools.type": (tool(type="web_search_20250305"), tool()),
}
