"""What ``POST /v1/responses`` may be asked (Open Responses, and OpenAI's Responses API as far as it is the same).

In: a request's JSON. Out: a validated :class:`ResponsesRequest`; what stands nowhere here is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, final

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from spiritsafe.core.records import JsonObject
from spiritsafe.serve.asking.conversation import MOST_TOOLS, ToolName
from spiritsafe.serve.asking.fields import RequestBody, RequestPart
from spiritsafe.serve.asking.refusing import one_of, without_types

CallId = Annotated[str, Field(min_length=1, max_length=64)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]

_TEXT_ONLY = "models here read text: leave out images, files, sound and video"
_text_only = without_types(dict.fromkeys(("input_image", "input_file", "input_audio", "input_video"), _TEXT_ONLY))
_stateless = without_types(
    {"item_reference": "answers are not kept here, so nothing can be referred to: send the item"}
)
_SOME = Field(min_length=1, fail_fast=True)


@final
class InputText(RequestPart):
    """Text of a user, of a system or of a tool."""

    type: Literal["input_text"]
    text: str


@final
class OutputText(RequestPart):
    """Text of an earlier answer, as it was given."""

    type: Literal["output_text"]
    text: str
    annotations: list[JsonValue] | None = None
    logprobs: list[JsonValue] | None = None


@final
class DeclinedText(RequestPart):
    """An earlier answer that declined."""

    type: Literal["refusal"]
    refusal: str


@final
class ReasoningText(RequestPart):
    """An earlier thought."""

    type: Literal["reasoning_text"]
    text: str


@final
class SummaryText(RequestPart):
    """What another server told of an earlier thought."""

    type: Literal["summary_text"]
    text: str


InputPart = Annotated[Annotated[InputText | OutputText | DeclinedText, Discriminator("type")], _text_only]


@final
class MessageItem(RequestPart):
    """A turn; an assistant's is an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[InputPart], _SOME]
    id: str | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None


@final
class FunctionCallItem(RequestPart):
    """A call that an earlier answer made."""

    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    arguments: JsonObject
    id: str | None = None
    status: ItemStatus | None = None


@final
class FunctionCallOutputItem(RequestPart):
    """What a called tool gave back."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: str | Annotated[list[Annotated[InputText, _text_only]], _SOME]
    id: str | None = None
    status: ItemStatus | None = None


@final
class ReasoningItem(RequestPart):
    """A thought that an earlier answer began with."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] = Field(default=[])
    content: list[ReasoningText] | None = None
    encrypted_content: None = None
    status: ItemStatus | None = None


def _kind(item: Any) -> str:
    """Which kind of item; a message need not say it."""
    if not isinstance(item, dict):
        return str(getattr(item, "type", "message"))
    kind = item.get("type")
    return "message" if kind is None and "role" in item else str(kind)


InputItem = Annotated[
    Annotated[
        Annotated[MessageItem, Tag("message")]
        | Annotated[FunctionCallItem, Tag("function_call")]
        | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
        | Annotated[ReasoningItem, Tag("reasoning")],
        Discriminator(
            _kind,
            custom_error_type="unsupported_value",
            custom_error_message="an item is a message, a function_call, a function_call_output or a reasoning",
        ),
    ],
    _stateless,
]


@final
class FunctionTool(RequestPart):
    """A function that may be called."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


@final
class ChosenFunction(RequestPart):
    """One of the functions."""

    type: Literal["function"]
    name: ToolName


@final
class AllowedTools(RequestPart):
    """Some of the functions."""

    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"] = "auto"
    tools: list[ChosenFunction] = Field(min_length=1, max_length=MOST_TOOLS)


@final
class TextFormat(RequestPart):
    """Any text."""

    type: Literal["text"]


@final
class JsonObjectFormat(RequestPart):
    """Any JSON object."""

    type: Literal["json_object"]


@final
class JsonSchemaFormat(RequestPart):
    """JSON of a schema; without one, any JSON object."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$", max_length=64)] = "response"
    description: str | None = None
    schema_: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    strict: bool | None = None


@final
class TextOptions(RequestPart):
    """How the answer's text looks."""

    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


@final
class ReasoningOptions(RequestPart):
    """How the model thinks."""

    effort: (
        Annotated[
            Literal["none"],
            one_of("none", otherwise="how long a model thinks cannot be set; max_output_tokens bounds it"),
        ]
        | None
    ) = None
    summary: Literal["auto", "concise", "detailed"] | None = None


def _few_words(metadata: dict[str, str]) -> dict[str, str]:
    if any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
        raise ValueError("a key may have 64 characters, a value 512")
    return metadata


_NOT_KEPT = "answers are not kept here: send earlier items again in input"


@final
class ObfuscationOptions(RequestPart):
    """How events look."""

    include_obfuscation: Annotated[
        Literal[False], one_of(False, otherwise="events are not padded here: leave it out or set it to false")
    ] = False


@final
class ResponsesRequest(RequestBody):
    """One answer that is asked for.

    Attributes:
        seed: With the other fields it fixes the answer; this server's own field.
    """

    refused: ClassVar[Mapping[str, str]] = {
        "access_programs": "There are none here; leave it out.",
        "background_options": "Nothing runs in the background here; leave it out.",
        "context_management": "Nothing is taken out of a conversation here; leave it out.",
        "conversation": "Conversations are not kept here; send earlier items in input.",
        "image": "Models here read text; leave it out.",
        "max_tool_calls": "It bounds tools that a server runs, and this one runs none; leave it out.",
        "moderation": "Nothing is moderated here; leave it out.",
        "previous_response_id": "Answers are not kept here; send the items of earlier answers in input.",
        "prompt": "Prompts are not kept here; send the text in input or instructions.",
        "prompt_cache_options": "What is kept of prompts is the server's own affair; leave it out.",
        "prompt_cache_retention": "What is kept of prompts is the server's own affair; leave it out.",
    }
    ignored: ClassVar[Mapping[str, str]] = {
        "include.reasoning.encrypted_content": "thoughts are given in the open",
        "input.id": "items are not kept, so nothing goes by their ids",
        "input.phase": "templates have no such thing",
        "input.status": "an item counts as it stands",
        "input.content.annotations": "only the text of an earlier answer is shown to the model",
        "input.content.logprobs": "only the text of an earlier answer is shown to the model",
        "metadata": "it labels what is stored, and nothing is; the answer repeats it",
        "prompt_cache_key": "it only says where a prompt may be found again; it is found without",
        "reasoning.summary": "thoughts are given in full",
        "safety_identifier": "it names the user to who moderates, and nobody does",
        "service_tier": "there is one tier",
        "text.format.description": "the schema alone says what is wanted",
        "text.format.name": "the schema alone says what is wanted",
        "text.verbosity": "models here know no levels of it; max_output_tokens bounds the answer",
        "user": "it names the user to who moderates, and nobody does",
    }

    input: str | Annotated[list[InputItem], _SOME]
    instructions: str | None = None
    tools: list[FunctionTool] = Field(default=[], max_length=MOST_TOOLS)
    tool_choice: (
        Literal["none", "auto", "required"] | Annotated[ChosenFunction | AllowedTools, Discriminator("type")]
    ) = "auto"
    parallel_tool_calls: bool = True
    text: TextOptions = TextOptions()
    reasoning: ReasoningOptions = ReasoningOptions()
    max_output_tokens: int | None = Field(default=None, ge=1, lt=1 << 31)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63)
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] = Field(default=[])
    stream_options: ObfuscationOptions | None = None
    store: Annotated[Literal[False], one_of(False, otherwise=_NOT_KEPT)] = False
    background: Annotated[Literal[False], one_of(False, otherwise="an answer is given at once here, or streamed")] = (
        False
    )
    truncation: Annotated[
        Literal["disabled"],
        one_of("disabled", otherwise="a conversation is never shortened unasked: shorten it yourself"),
    ] = "disabled"
    service_tier: Annotated[
        Literal["auto", "default"], one_of("auto", "default", otherwise="there is one tier: leave it out")
    ] = "default"
    metadata: Annotated[dict[str, str], Field(max_length=16), AfterValidator(_few_words)] = Field(default={})
    safety_identifier: str | None = Field(default=None, max_length=128)
    prompt_cache_key: str | None = Field(default=None, max_length=1024)
    user: str | None = None
