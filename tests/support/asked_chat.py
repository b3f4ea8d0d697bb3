"""A value for each property of ``/v1/chat/completions``: a body that has it, and the same without."""

from __future__ import annotations

from typing import Any

from asked_completions import SAMPLING, Row

BODY: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hi."}], "seed": 1}


def talk(**last: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi.", **last}]}


def called(*, answer_to: str = "c", **call: Any) -> dict[str, Any]:
    """A conversation in which a tool was called."""
    whole = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, **call}
    return {
        "messages": [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "tool_calls": [whole]},
            {"role": "tool", "tool_call_id": answer_to, "content": "x"},
        ]
    }


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


def choice(name: str = "f", **tool_choice: Any) -> dict[str, Any]:
    return {**tool(), "tool_choice": {"type": "function", "function": {"name": name}, **tool_choice}}


def schema(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, **fields}}}


ASSISTANT = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "x"}]}
THOUGHT = {
    "messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "x", "reasoning_content": "y"}]
}

ROWS: dict[str, Row] = {
    **SAMPLING,
    "messages": (talk(content="Ho."), {}),
    "messages.role": (talk(role="system"), {}),
    "messages.content": (talk(content="Ho."), {}),
    "messages.content.type": (talk(content=[{"type": "image_url", "text": "Hi."}]), {}),
    "messages.content.text": (talk(content=[{"type": "text", "text": "Ho."}]), {}),
    "messages.name": (talk(name="ann"), {}),
    "messages.reasoning_content": (THOUGHT, ASSISTANT),
    "messages.tool_calls": (called(), {}),
    "messages.tool_calls.id": (called(id="d", answer_to="d"), called()),
    "messages.tool_calls.type": (called(type="custom"), called()),
    "messages.tool_calls.function": (called(function={"name": "g", "arguments": "{}"}), called()),
    "messages.tool_calls.function.name": (called(function={"name": "g", "arguments": "{}"}), called()),
    "messages.tool_calls.function.arguments": (called(function={"name": "f", "arguments": '{"a":1}'}), called()),
    "messages.tool_call_id": (called(answer_to="d"), called()),
    "max_completion_tokens": ({"max_completion_tokens": 5}, {}),
    "logprobs": ({"logprobs": True}, {}),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 1}, {"logprobs": True}),
    "tools": (tool(), {}),
    "tools.type": ({"tools": [{"type": "custom", "function": {"name": "f"}}]}, tool()),
    "tools.function": (tool(name="g"), tool()),
    "tools.function.name": (tool(name="g"), tool()),
    "tools.function.description": (tool(description="x"), tool()),
    "tools.function.parameters": (tool(parameters={"type": "object"}), tool()),
    "tools.function.strict": (tool(strict=True), tool()),
    "tool_choice": ({**tool(), "tool_choice": "required"}, tool()),
    "tool_choice.type": (choice(type="custom"), tool()),
    "tool_choice.function": (choice(), tool()),
    "tool_choice.function.name": (choice("g"), tool()),
    "parallel_tool_calls": ({**tool(), "parallel_tool_calls": False}, tool()),
    "response_format": ({"response_format": {"type": "json_object"}}, {}),
    "response_format.type": ({"response_format": {"type": "json_object"}}, {}),
    "response_format.json_schema": (schema(), {}),
    "response_format.json_schema.name": (schema(name="y"), schema()),
    "response_format.json_schema.description": (schema(description="y"), schema()),
    "response_format.json_schema.schema": (schema(schema={"type": "string"}), schema()),
    "response_format.json_schema.strict": (schema(strict=False), schema()),
    "modalities": ({"modalities": ["audio"]}, {}),
    "store": ({"store": True}, {}),
    "reasoning_effort": ({"reasoning_effort": "none"}, {}),
    "chat_template_kwargs": ({"chat_template_kwargs": {"enable_thinking": True}}, {}),
    "chat_template_kwargs.enable_thinking": ({"chat_template_kwargs": {"enable_thinking": True}}, {}),
    "continue_final_message": ({**ASSISTANT, "continue_final_message": True}, ASSISTANT),
    "add_generation_prompt": ({"add_generation_prompt": False}, {}),
    "verbosity": ({"verbosity": "low"}, {}),
    "metadata": ({"metadata": {"a": "b"}}, {}),
    "prompt_cache_key": ({"prompt_cache_key": "x"}, {}),
    "safety_identifier": ({"safety_identifier": "x"}, {}),
    "service_tier": ({"service_tier": "default"}, {}),
}
