"""``/v1/responses``: Open Responses, and OpenAI's Responses API as far as it is the same.

In: items of a conversation. Out: a response, or its events. Nothing is kept: a response is not found again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import orjson

from spiritsafe.core.serving import Form, Job
from spiritsafe.serve.answers.openai_forms import SEED_HEADER, AnswerPart, error_body
from spiritsafe.serve.api.responses.conversation import messages_of_items
from spiritsafe.serve.api.responses.events import ResponseWriter
from spiritsafe.serve.api.responses.request import (
    AllowedTools,
    ChosenFunction,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponsesRequest,
)
from spiritsafe.serve.asking.conversation import (
    FunctionDefinition,
    NamedFunction,
    NamedTool,
    ToolChoice,
    ToolDefinition,
    definitions,
    tool_choice_fields,
)
from spiritsafe.serve.asking.fields import drawn_seed
from spiritsafe.serve.asking.going_on import thinking_of
from spiritsafe.serve.interface import Ask, Context, JobAnswer
from spiritsafe.serve.refusals import Refusal

_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
_STRICT = "text.format.strict"


class ResponseObject(AnswerPart):
    """A whole answer."""

    id: str
    object: str
    created_at: int
    completed_at: int | None
    status: str
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, str] | None
    usage: dict[str, Any] | None
    background: bool
    frequency_penalty: float
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    presence_penalty: float
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str


@final
class ResponsesInterface:
    """Open Responses."""

    path = "/v1/responses"
    summary = "What a model answers to items of a conversation."
    request = ResponsesRequest
    answer = ResponseObject

    def read(self, body: ResponsesRequest, context: Context) -> Ask:
        """The job of a request.

        Raises:
            Refusal: Something cannot be had.
        """
        _check(body)
        seed = drawn_seed() if body.seed is None else body.seed
        tools, choice = _tools(body)
        messages = messages_of_items(body)
        if tools:
            shown = definitions(tools, context.model)
            messages = (messages[0].model_copy(update={"tools": shown}), *messages[1:])
        wants_logprobs = _LOGPROBS in body.include or bool(body.top_logprobs)
        job = Job(
            messages=messages,
            thinking=thinking_of(None if body.reasoning.effort is None else False, context.model, "reasoning.effort"),
            **tool_choice_fields(choice, tools),
            parallel_tool_calls=body.parallel_tool_calls,
            form=_form(body),
            max_tokens=body.max_output_tokens,
            seed=seed,
            temperature=body.temperature,
            top_p=body.top_p,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            top_logprobs=(body.top_logprobs or 0) if wants_logprobs else None,
            cache_key=context.cache_key,
        )
        return Ask(
            jobs=(job,),
            body=body,
            context=context,
            stream=body.stream,
            params={
                "messages": "input",
                "max_tokens": "max_output_tokens",
                "form": "text.format",
                "thinking": "reasoning.effort",
                "tool_name": "tool_choice",
            },
            ignored=_ignored(body),
            headers={SEED_HEADER: str(seed)},
        )

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The answer in one piece."""
        writer = self.stream(ask)
        writer.add(answers[0])
        return writer.response()

    def stream(self, ask: Ask) -> ResponseWriter:
        """Who writes the answer in events."""
        return ResponseWriter(ask.context, _fixed(ask.body))

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return error_body(refusal)


def _ignored(body: ResponsesRequest) -> tuple[str, ...]:
    form = body.text.format
    named = [name for name in body.ignored_fields() if name != _STRICT]
    if isinstance(form, JsonSchemaFormat) and form.strict is False:
        named.append(_STRICT)
    if _ENCRYPTED in body.include:
        named.append(f"include.{_ENCRYPTED}")
    return tuple(named)


def _check(body: ResponsesRequest) -> None:
    """Refuses what could not take effect."""
    if body.stream_options is not None and not body.stream:
        raise Refusal(
            "stream_options is for streams.",
            hint="Set stream to true or leave it out.",
            param="stream_options",
            code="invalid_value",
        )


def _tools(body: ResponsesRequest) -> tuple[list[ToolDefinition], ToolChoice]:
    """The tools that are shown, as the chat interface has them, and the choice among them."""
    tools, given = body.tools, body.tool_choice
    choice: ToolChoice
    if isinstance(given, AllowedTools):
        known = {tool.name for tool in tools}
        allowed = [tool.name for tool in given.tools]
        for place, name in enumerate(allowed):
            if name not in known:
                raise Refusal(
                    f"No tool is called {name!r}.",
                    hint="Name one of tools.",
                    param=f"tool_choice.tools[{place}].name",
                    code="invalid_value",
                )
        tools, choice = [tool for tool in tools if tool.name in allowed], given.mode
    elif isinstance(given, ChosenFunction):
        choice = NamedTool(type="function", function=NamedFunction(name=given.name))
    else:
        choice = given
    return [ToolDefinition(type="function", function=_definition(tool)) for tool in tools], choice


def _definition(tool: FunctionTool) -> FunctionDefinition:
    return FunctionDefinition(
        name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
    )


def _form(body: ResponsesRequest) -> Form | None:
    match body.text.format:
        case JsonObjectFormat() | JsonSchemaFormat(schema_=None):
            return Form(kind="json")
        case JsonSchemaFormat(schema_=schema):
            return Form(kind="schema", source=orjson.dumps(schema).decode())
    return None


def _fixed(body: ResponsesRequest) -> dict[str, Any]:
    """What an answer says of the request: what was in effect."""
    return {
        "background": False,
        "frequency_penalty": body.frequency_penalty,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata,
        "parallel_tool_calls": body.parallel_tool_calls,
        "presence_penalty": body.presence_penalty,
        "previous_response_id": None,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": body.reasoning.effort, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": body.temperature,
        "text": {"format": _told_format(body)},
        "tool_choice": body.tool_choice if isinstance(body.tool_choice, str) else body.tool_choice.model_dump(),
        "tools": [tool.model_dump() for tool in body.tools],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": "disabled",
    }


def _told_format(body: ResponsesRequest) -> dict[str, Any]:
    form = body.text.format
    if isinstance(form, JsonSchemaFormat) and form.schema_ is not None:
        return {
            "type": "json_schema",
            "name": form.name,
            "description": form.description,
            "schema": form.schema_,
            "strict": True,
        }
    return {"type": "text" if _form(body) is None else "json_object"}


INTERFACE = ResponsesInterface()
