"""A value for each property of ``/v1/responses``: a body that has it, and the same without."""

from __future__ import annotations

from typing import Any

from asked_completions import SAMPLING, Row

BODY: dict[str, Any] = {"model": "fake", "input": "Hi.", "seed": 1}

USER = {"type": "message", "role": "user", "content": "Hi."}
SAMPLED = ("model", "stream", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "user")


def items(*given: dict[str, Any]) -> dict[str, Any]:
    return {"input": [*given, USER]}


def said(**fields: Any) -> dict[str, Any]:
    """An earlier answer."""
    return items({"type": "message", "role": "assistant", "content": "x", **fields})


def wrote(**fields: Any) -> dict[str, Any]:
    return said(content=[{"type": "output_text", "text": "x", **fields}])


def called(*, answer_to: str = "c", output: Any = "x", **call: Any) -> dict[str, Any]:
    whole = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", **call}
    return items(whole, {"type": "function_call_output", "call_id": answer_to, "output": output})


def returned(**fields: Any) -> dict[str, Any]:
    return called(output=[{"type": "input_text", "text": "x", **fields}])


def thought(**fields: Any) -> dict[str, Any]:
    return items({"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], **fields})


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "name": "f", **fields}, {"type": "function", "name": "g"}]}


def choice(**fields: Any) -> dict[str, Any]:
    return {**tool(), "tool_choice": {"type": "function", "name": "f", **fields}}


def allowed(**fields: Any) -> dict[str, Any]:
    return {**tool(), "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}], **fields}}


def schema(**fields: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, **fields}}}


ROWS: dict[str, Row] = {
    **{name: row for name, row in SAMPLING.items() if name in SAMPLED},
    "background": ({"background": True}, {}),
    "include": ({"include": ["message.output_text.logprobs"]}, {}),
    "input": ({"input": "Ho."}, {}),
    "input.arguments": (called(arguments='{"a":1}'), called()),
    "input.call_id": (called(call_id="d", answer_to="d"), called()),
    "input.content": (said(content="y"), said()),
    "input.content.annotations": (wrote(annotations=[]), wrote()),
    "input.content.logprobs": (wrote(logprobs=[]), wrote()),
    "input.content.refusal": (said(content=[{"type": "refusal", "refusal": "No."}]), said()),
    "input.content.text": (wrote(text="y"), wrote()),
    "input.content.type": (wrote(type="input_image"), wrote()),
    "input.encrypted_content": (thought(encrypted_content="x"), thought()),
    "input.id": (said(id="msg_1"), said()),
    "input.name": (called(name="g"), called()),
    "input.output": (called(output="y"), called()),
    "input.output.text": (returned(text="y"), returned()),
    "input.output.type": (returned(type="input_file"), returned()),
    "input.phase": (said(phase="commentary"), said()),
    "input.role": (said(role="system"), said()),
    "input.status": (said(status="incomplete"), said()),
    "input.summary": (thought(summary=[{"type": "summary_text", "text": "y"}]), thought()),
    "input.summary.text": (thought(summary=[{"type": "summary_text", "text": "y"}]), thought()),
    "input.summary.type": (thought(summary=[{"type": "text", "text": "x"}]), thought()),
    "input.type": (said(type="item_reference"), said()),
    "instructions": ({"instructions": "Be brief."}, {}),
    "max_output_tokens": ({"max_output_tokens": 5}, {}),
    "metadata": ({"metadata": {"a": "b"}}, {}),
    "parallel_tool_calls": ({"parallel_tool_calls": False}, {}),
    "prompt_cache_key": ({"prompt_cache_key": "x"}, {}),
    "reasoning": ({"reasoning": {"effort": "low"}}, {}),
    "reasoning.effort": ({"reasoning": {"effort": "low"}}, {}),
    "reasoning.summary": ({"reasoning": {"summary": "auto"}}, {}),
    "safety_identifier": ({"safety_identifier": "x"}, {}),
    "service_tier": ({"service_tier": "auto"}, {}),
    "store": ({"store": True}, {}),
    "stream_options": ({"stream_options": {"include_obfuscation": False}}, {}),
    "stream_options.include_obfuscation": (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        {"stream": True},
    ),
    "text": (schema(), {}),
    "text.format": (schema(), {}),
    "text.format.description": (schema(description="d"), schema()),
    "text.format.name": (schema(name="y"), schema()),
    "text.format.schema": (schema(schema={"type": "array"}), schema()),
    "text.format.strict": (schema(strict=False), schema()),
    "text.format.type": ({"text": {"format": {"type": "json_object"}}}, {"text": {"format": {"type": "text"}}}),
    "text.verbosity": ({"text": {"verbosity": "low"}}, {}),
    "tool_choice": (choice(), tool()),
    "tool_choice.mode": (allowed(mode="required"), allowed()),
    "tool_choice.name": (choice(name="g"), choice()),
    "tool_choice.tools": (allowed(tools=[{"type": "function", "name": "g"}]), allowed()),
    "tool_choice.tools.name": (allowed(tools=[{"type": "function", "name": "g"}]), allowed()),
    "tool_choice.tools.type": (allowed(tools=[{"type": "mcp", "name": "f"}]), allowed()),
    "tool_choice.type": (choice(type="custom"), choice()),
    "tools": (tool(), {}),
    "tools.description": (tool(description="d"), tool()),
    "tools.name": (tool(name="h"), tool()),
    "tools.parameters": (tool(parameters={"type": "object"}), tool()),
    "tools.strict": (tool(strict=True), tool()),
    "tools.type": (tool(type="web_search"), tool()),
    "top_logprobs": ({"top_logprobs": 2}, {}),
    "truncation": ({"truncation": "auto"}, {}),
}
