"""What ``POST /v1/messages`` and its ``count_tokens`` may be asked (Anthropic's Messages API).

In: a request's JSON. Out: a validated :class:`MessagesRequest`; what stands nowhere here is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final

from pydantic import Discriminator, Field, JsonValue

from spiritsafe.serve.asking.conversation import MOST_TOOLS, ToolName
from spiritsafe.serve.asking.fields import MOST_STOPS, RequestBody, RequestPart, StopText
from spiritsafe.serve.asking.refusing import one_of, without_types

_TEXT_ONLY = "models here read text: leave out images, documents and search results"
_text_only = without_types(dict.fromkeys(("image", "document", "search_result", "container_upload"), _TEXT_ONLY))
_unsealed = without_types({"redacted_thinking": "nobody here can read it: leave the block out"})
_SOME = Field(min_length=1, fail_fast=True)


@final
class CacheControl(RequestPart):
    """A mark in a prompt."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class _Marked(RequestPart):
    cache_control: CacheControl | None = None


@final
class TextBlock(_Marked):
    """Text."""

    type: Literal["text"]
    text: str


@final
class ThinkingBlock(RequestPart):
    """A thought that an earlier answer began with."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


@final
class ToolUseBlock(_Marked):
    """A call that an earlier answer made."""

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1, max_length=128)]
    name: ToolName
    input: dict[str, JsonValue]


@final
class ToolResultBlock(_Marked):
    """What a called tool gave back."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | Annotated[list[Annotated[TextBlock, _text_only]], _SOME] = ""
    is_error: bool = False


UserBlock = Annotated[Annotated[TextBlock | ToolResultBlock, Discriminator("type")], _text_only]
AssistantBlock = Annotated[Annotated[TextBlock | ThinkingBlock | ToolUseBlock, Discriminator("type")], _unsealed]


@final
class UserTurn(RequestPart):
    """What a user said, and what tools gave back."""

    role: Literal["user"]
    content: str | Annotated[list[UserBlock], _SOME]


@final
class AssistantTurn(RequestPart):
    """An earlier answer."""

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantBlock], _SOME]


@final
class SystemTurn(RequestPart):
    """An instruction between turns."""

    role: Literal["system"]
    content: str | Annotated[list[TextBlock], _SOME]


GivenTurn = Annotated[UserTurn | AssistantTurn | SystemTurn, Discriminator("role")]


@final
class AnthropicTool(_Marked):
    """A tool that may be called."""

    type: Literal["custom"] = "custom"
    name: ToolName
    description: str | None = None
    input_schema: dict[str, JsonValue]
    strict: bool | None = None
    eager_input_streaming: bool | None = None


@final
class ChooseFreely(RequestPart):
    """The model may call, or not."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool = False


@final
class ChooseAny(RequestPart):
    """The model must call."""

    type: Literal["any"]
    disable_parallel_tool_use: bool = False


@final
class ChooseTool(RequestPart):
    """The model must call this tool."""

    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool = False


@final
class ChooseNone(RequestPart):
    """The model must not call."""

    type: Literal["none"]


@final
class ThinkingDisabled(RequestPart):
    """No thoughts."""

    type: Literal["disabled"]


@final
class ThinkingEnabled(RequestPart):
    """Thoughts, up to a budget."""

    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1024)


@final
class ThinkingAdaptive(RequestPart):
    """Thoughts as the model likes."""

    type: Literal["adaptive"]
    display: Literal["summarized"] | None = None


@final
class OutputSchema(RequestPart):
    """JSON of a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, JsonValue] = Field(alias="schema")


@final
class OutputConfig(RequestPart):
    """How the answer's text looks."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputSchema | None = None


@final
class RequestMetadata(RequestPart):
    """Who asks, in the asker's words."""

    user_id: str | None = Field(default=None, max_length=512)


_NO_SUCH_THING = "Leave it out: this server has no such thing."
_CACHED_ANYWAY = "the beginning of every prompt is kept for its key, marked or not"


class CountTokensRequest(RequestBody):
    """A prompt that is to be counted."""

    refused: ClassVar[Mapping[str, str]] = {
        "container": _NO_SUCH_THING,
        "context_management": _NO_SUCH_THING,
        "diagnostics": _NO_SUCH_THING,
        "inference_geo": _NO_SUCH_THING,
        "mcp_servers": _NO_SUCH_THING,
        "thread": "Send the whole conversation each time: none is kept here.",
        "user_profile_id": _NO_SUCH_THING,
        "workspace_id": _NO_SUCH_THING,
    }
    ignored: ClassVar[Mapping[str, str]] = {
        "cache_control": _CACHED_ANYWAY,
        "messages.content.cache_control": _CACHED_ANYWAY,
        "messages.content.content.cache_control": _CACHED_ANYWAY,
        "messages.content.signature": "thoughts are not sealed here, so there is nothing to check",
        "output_config.effort": "models here know no levels of effort; max_tokens bounds the answer",
        "speed": "there is one speed",
        "system.cache_control": _CACHED_ANYWAY,
        "thinking.display": "thoughts are given in full",
        "tools.cache_control": _CACHED_ANYWAY,
        "tools.eager_input_streaming": "what a tool is given is streamed as it is written",
    }

    messages: Annotated[list[GivenTurn], _SOME]
    system: str | Annotated[list[TextBlock], Field(fail_fast=True)] = Field(default=[])
    tools: list[AnthropicTool] = Field(default=[], max_length=MOST_TOOLS)
    tool_choice: Annotated[ChooseFreely | ChooseAny | ChooseTool | ChooseNone, Discriminator("type")] | None = None
    thinking: Annotated[ThinkingDisabled | ThinkingEnabled | ThinkingAdaptive, Discriminator("type")] | None = None
    output_config: OutputConfig | None = None
    speed: Annotated[Literal["standard"], one_of("standard", otherwise="there is one speed: leave it out")] = "standard"
    cache_control: CacheControl | None = None


@final
class MessagesRequest(CountTokensRequest):
    """One answer that is asked for.

    Attributes:
        seed: With the other fields it fixes the answer; this server's own field.
    """

    ignored: ClassVar[Mapping[str, str]] = {
        **CountTokensRequest.ignored,
        "metadata": "it names the user to who moderates, and nobody does",
        "service_tier": "there is one tier",
    }

    max_tokens: int = Field(ge=1, lt=1 << 31)
    stop_sequences: list[StopText] = Field(default=[], max_length=MOST_STOPS)
    temperature: float = Field(default=1.0, ge=0.0, le=1.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0, le=1 << 31)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63)
    metadata: RequestMetadata | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"
