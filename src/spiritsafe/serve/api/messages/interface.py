"""``/v1/messages``: Anthropic's Messages API.

In: turns of a conversation. Out: a message, or its events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import orjson

from spiritsafe.core.serving import Form, Job, ServedModel
from spiritsafe.serve.answers.openai_forms import SEED_HEADER, AnswerPart
from spiritsafe.serve.api.messages.conversation import messages_of_turns
from spiritsafe.serve.api.messages.events import MessageWriter, anthropic_error, message
from spiritsafe.serve.api.messages.request import (
    ChooseAny,
    ChooseFreely,
    ChooseNone,
    ChooseTool,
    CountTokensRequest,
    MessagesRequest,
    ThinkingDisabled,
    ThinkingEnabled,
)
from spiritsafe.serve.asking.conversation import (
    FunctionDefinition,
    NamedFunction,
    NamedTool,
    ToolDefinition,
    definitions,
    tool_choice_fields,
)
from spiritsafe.serve.asking.fields import drawn_seed
from spiritsafe.serve.asking.going_on import thinking_of, with_beginning
from spiritsafe.serve.interface import Ask, Context, JobAnswer
from spiritsafe.serve.refusals import Refusal

_VERSION = "anthropic-version"
_VERSIONS = ("2023-06-01", "2026-10-21")  # what the later one takes away from requests is still honoured here
_BETAS = "anthropic-beta"


class MessageObject(AnswerPart):
    """A whole answer."""

    id: str
    type: str
    role: str
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: dict[str, Any]


@final
class MessagesInterface:
    """Anthropic's Messages API."""

    path = "/v1/messages"
    summary = "The next turn of a conversation, as Anthropic's clients ask for it."
    request = MessagesRequest
    answer = MessageObject

    def read(self, body: MessagesRequest, context: Context) -> Ask:
        """The job of a request.

        Raises:
            Refusal: Something cannot be had.
        """
        drawing = {
            "max_tokens": body.max_tokens,
            "stop": tuple(body.stop_sequences),
            "temperature": body.temperature,
            "top_p": body.top_p,
            "top_k": body.top_k,
            "seed": drawn_seed() if body.seed is None else body.seed,
        }
        return ask_of(body, context, drawing)

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The answer in one piece."""
        return message(ask, answers[0])

    def stream(self, ask: Ask) -> MessageWriter:
        """Who writes the answer in events."""
        return MessageWriter(ask)

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return anthropic_error(refusal, request_id)


def ask_of(body: CountTokensRequest, context: Context, drawing: Mapping[str, Any], *, counting: bool = False) -> Ask:
    """What a request comes to.

    Args:
        drawing: The fields of the job that say how tokens are drawn.

    Raises:
        Refusal: Something cannot be had.
    """
    thinking = _thinking(body, context.model)
    messages, prefix = messages_of_turns(body), ""
    if messages[-1].role == "assistant":
        messages, prefix = with_beginning(messages, f"messages[{len(body.messages) - 1}]")
    tools = [ToolDefinition(type="function", function=_definition(tool)) for tool in body.tools]
    if tools:
        shown = definitions(tools, context.model)
        messages = (messages[0].model_copy(update={"tools": shown}), *messages[1:])
    form = None if body.output_config is None else body.output_config.format
    job = Job(
        messages=messages,
        prefix=prefix,
        thinking=thinking,
        **_choice(body, tools),
        form=None if form is None else Form(kind="schema", source=orjson.dumps(form.schema_).decode()),
        cache_key=context.cache_key,
        **drawing,
    )
    return Ask(
        jobs=(job,),
        body=body,
        context=context,
        stream=body.stream,
        counting=counting,
        params={
            "form": "output_config.format",
            "stop": "stop_sequences",
            "tool_name": "tool_choice",
            "thinking": "thinking.type",
            "prefix": f"messages[{len(body.messages) - 1}]",
        },
        ignored=(*body.ignored_fields(), *_ignored_headers(context)),
        headers={} if counting else {SEED_HEADER: str(job.seed)},
    )


def _ignored_headers(context: Context) -> tuple[str, ...]:
    """Headers that ask for what is not known here."""
    told = (_BETAS,) if _BETAS in context.headers else ()
    return told if context.headers.get(_VERSION, _VERSIONS[0]) in _VERSIONS else (*told, _VERSION)


def _thinking(body: CountTokensRequest, model: ServedModel) -> bool | None:
    given = body.thinking
    if isinstance(given, ThinkingEnabled):
        raise Refusal(
            "How long a model thinks cannot be set.",
            hint="Set thinking to an object of the type 'adaptive'; max_tokens bounds it.",
            param="thinking.budget_tokens",
            code="unsupported_value",
        )
    return thinking_of(None if given is None else not isinstance(given, ThinkingDisabled), model, "thinking.type")


def _choice(body: CountTokensRequest, tools: Sequence[ToolDefinition]) -> dict[str, Any]:
    match body.tool_choice:
        case ChooseTool(name=name, disable_parallel_tool_use=alone):
            choice: Any = NamedTool(type="function", function=NamedFunction(name=name))
        case ChooseAny(disable_parallel_tool_use=alone):
            choice = "required"
        case ChooseFreely(disable_parallel_tool_use=alone):
            choice = "auto"
        case ChooseNone():
            choice, alone = "none", False
        case None:
            choice, alone = "auto", False
    return {**tool_choice_fields(choice, tools), "parallel_tool_calls": not alone}


def _definition(tool: Any) -> FunctionDefinition:
    return FunctionDefinition(
        name=tool.name, description=tool.description, parameters=tool.input_schema, strict=tool.strict
    )


INTERFACE = MessagesInterface()
