"""Conversations and tools as OpenAI's chat interface writes them, read into the records of the house.

In: ``messages``, ``tools`` and ``tool_choice`` of a body. Out: :class:`~spiritsafe.core.records.Message` records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn

import orjson
from pydantic import Field

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.core.serving import ServedModel
from spiritsafe.core.text.thoughts import has_marks, wrap
from spiritsafe.serve.asking.fields import RequestPart, Text
from spiritsafe.serve.refusals import Refusal

MOST_TOOLS = 128

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class ContentPart(RequestPart):
    """A part of a message; only text can be read."""

    type: Literal["text"]
    text: str


class FunctionCall(RequestPart):
    """The function that an assistant called."""

    name: ToolName
    arguments: str


class CalledTool(RequestPart):
    """A tool that an assistant called."""

    id: Text
    type: Literal["function"]
    function: FunctionCall


class ChatMessage(RequestPart):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[ContentPart], Field(min_length=1, fail_fast=True)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    tool_calls: Annotated[list[CalledTool], Field(min_length=1, max_length=MOST_TOOLS)] | None = None
    tool_call_id: Text | None = None
    reasoning_content: str | None = Field(default=None, description="What the assistant thought in front of this")


class FunctionDefinition(RequestPart):
    """A function that may be called."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(default=None, description="Arguments always follow the schema")


class ToolDefinition(RequestPart):
    """A tool that may be called."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(RequestPart):
    """A function by name."""

    name: ToolName


class NamedTool(RequestPart):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


def chat_messages(
    messages: Sequence[ChatMessage], tools: Sequence[ToolDefinition], model: ServedModel
) -> tuple[Message, ...]:
    """The messages of a job; definitions of tools stand in the first.

    Raises:
        Refusal: A message lacks what its role needs or has what it cannot have; the model cannot be shown tools.
    """
    if not messages:
        _refuse("messages", "A conversation needs a message.", "Give at least one.")
    known: set[str] = set()
    read = [_message(index, message, known) for index, message in enumerate(messages)]
    if tools:
        read[0] = read[0].model_copy(update={"tools": definitions(tools, model)})
    return tuple(read)


def ignored_names(messages: Sequence[ChatMessage]) -> tuple[str, ...]:
    """Names of speakers, which no template writes; a tool's name counts."""
    return ("messages.name",) if any(one.name is not None and one.role != "tool" for one in messages) else ()


def _message(index: int, message: ChatMessage, known: set[str]) -> Message:
    """One message.

    Args:
        known: Ids of calls that came before; those of this message are added.
    """
    at = f"messages[{index}]"
    text = _text(message.content)
    calls: tuple[ToolCall, ...] = ()
    if message.role == "assistant":
        calls = tuple(_call(f"{at}.tool_calls[{number}]", call) for number, call in enumerate(message.tool_calls or ()))
        known.update(call.id for call in calls if call.id is not None)
        if message.reasoning_content:
            text = behind_thought(message.reasoning_content, text, f"{at}.reasoning_content")
        if not text and not calls:
            _refuse(f"{at}.content", "An assistant's message needs content or tool_calls.", "Give one of them.")
    else:
        for name in ("tool_calls", "reasoning_content"):
            if getattr(message, name) is not None:
                _refuse(f"{at}.{name}", f"A message of role {message.role!r} has no {name}.", "Leave it out.")
        if message.content is None:
            _refuse(f"{at}.content", f"A message of role {message.role!r} needs content.", "Give it.")
    if (message.role == "tool") != (message.tool_call_id is not None):
        _refuse(f"{at}.tool_call_id", "Messages of role 'tool', and no others, say which call they answer.", "Mend it.")
    if message.tool_call_id is not None and message.tool_call_id not in known:
        _refuse(f"{at}.tool_call_id", "No tool call before this message has that id.", "Repeat the assistant's call.")
    return Message(
        role="system" if message.role == "developer" else message.role,
        content=text,
        name=message.name if message.role == "tool" else None,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )


def behind_thought(thought: str, text: str, param: str) -> str:
    """What an assistant said behind a thought.

    Raises:
        Refusal: The marks that would divide them stand in one of them.
    """
    if has_marks(thought) or has_marks(text):
        _refuse(param, "Text or thought holds marks of thoughts.", "Take them out.")
    return wrap(thought, text)


def _text(content: str | list[ContentPart] | None) -> str:
    """Parts are joined by line breaks."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def _call(at: str, call: CalledTool) -> ToolCall:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        _refuse(f"{at}.function.arguments", "The arguments are no JSON object.", "Give the text of one.")
    return ToolCall(name=call.function.name, arguments=call.function.arguments or "{}", id=call.id)


def definitions(tools: Sequence[ToolDefinition], model: ServedModel) -> tuple[str, ...]:
    """What a conversation's first message says of tools.

    Raises:
        Refusal: Two have one name; the model cannot be shown tools.
    """
    if not model.shows_tools:
        _refuse("tools", f"{model.name} cannot be shown tools.", "Choose another model or leave them out.")
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        _refuse("tools", "Two tools have one name.", "Give each its own.")
    return tuple(orjson.dumps(_definition(tool.function)).decode() for tool in tools)


def _definition(function: FunctionDefinition) -> dict[str, Any]:
    fields = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": function.strict,
    }
    return {"type": "function", "function": {name: value for name, value in fields.items() if value is not None}}


def tool_choice_fields(choice: ToolChoice | None, tools: Sequence[ToolDefinition]) -> dict[str, Any]:
    """What a job says of which tool is called.

    Raises:
        Refusal: No such tool is given.
    """
    if choice is None or choice in ("auto", "none"):
        return {"tool_choice": choice or "auto"}
    if not tools:
        _refuse("tool_choice", "A tool must be called, and there is none.", "Give tools too.")
    if isinstance(choice, NamedTool):
        name = choice.function.name
        if name not in [tool.function.name for tool in tools]:
            _refuse("tool_choice", f"No tool is called {name!r}.", "Name one of tools.")
        return {"tool_choice": "required", "tool_name": name}
    return {"tool_choice": "required"}


def _refuse(param: str, message: str, hint: str) -> NoReturn:
    raise Refusal(message, hint=hint, param=param, code="invalid_value")
