r"""Conversations with tools as a model can be asked them, whether its chat template has tools or not.

In: a job. Out: its messages as the template takes them, the tools that may be called, and how calls are spelled. Three
cases:

* the template shows definitions, calls and results: it does so;
* it does not: the definitions stand in the system message with a word on how to call, calls are spelled as Hermes and
  Qwen do, ``<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>``, and results are a turn of the user,
  ``<tool_response>\n…\n</tool_response>``;
* ``tool_choice`` is "none": the definitions are left out, and nothing is read as a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Job
from spiritsafe.core.text.tool_calls import has_tools, with_calls
from spiritsafe.models.chat.calls.spelling import HERMES, NAME_CHARACTERS, CallSpelling
from spiritsafe.models.chat.format import ChatFormat

_MOST_TOOLS, _LONGEST_NAME = 128, 64

_INSTRUCTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
"""As the chat template of Qwen2.5 has it, which many models were tuned on."""


@final
class RefusedJob(CompatibilityError):
    """A job asks for something that this model cannot give.

    Args:
        param: Which field of the job is to blame.
    """

    def __init__(self, message: str, *, hint: str, param: str) -> None:
        super().__init__(message, hint=hint)
        self.param = param


@final
@dataclass(frozen=True)
class Tool:
    """A tool that may be called.

    Attributes:
        parameters: JSON schema of its arguments, an object.
    """

    name: str
    parameters: Mapping[str, Any]


@final
@dataclass(frozen=True, kw_only=True)
class ToolPrompt:
    """A conversation as a model is asked it.

    Attributes:
        messages: For :meth:`~spiritsafe.models.chat.format.ChatFormat.prompt_ids`; empty for a job without messages.
        tools: Those that may be called; empty where none may.
        spelling: How calls are spelled; None where none may be made.
        must_call: The answer must be a call.
        several: It may hold several calls.
        marks: Special tokens that calls are spelled with, by their ids. They leave no trace in text otherwise, and the
            reader of the answer needs their names.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    spelling: CallSpelling | None = None
    must_call: bool = False
    several: bool = False
    marks: Mapping[int, str] = field(default_factory=dict)


def tool_prompt(chat: ChatFormat, job: Job) -> ToolPrompt:
    """How a job's conversation is asked.

    Raises:
        RefusedJob: Its tools cannot be had from this model, or are no definitions of tools.
        CompatibilityError: The template refuses the conversation.
    """
    tools = _tools(job)
    if job.tool_choice == "none" or not tools:
        asked = _without_definitions(job.messages)
        return ToolPrompt(messages=asked if _is_native(chat) else _rewritten(chat, asked, ()))
    native = _is_native(chat)
    try:
        spelling = chat.call_spelling if native else HERMES
    except CompatibilityError as error:
        raise RefusedJob(error.message, hint=error.hint, param="messages") from error
    messages = job.messages if native else _rewritten(chat, _without_definitions(job.messages), job.messages[0].tools)
    special = chat.special_tokens
    return ToolPrompt(
        messages=messages,
        tools=tuple(tool for tool in tools if job.tool_name in (None, tool.name)),
        spelling=spelling,
        must_call=job.tool_choice == "required" or job.tool_name is not None,
        several=job.parallel_tool_calls and spelling.gap is not None and job.tool_name is None,
        marks={special[name]: name for name in spelling.names_in(special)},
    )


def _is_native(chat: ChatFormat) -> bool:
    ways = chat.tool_ways
    return ways.shows_tools and ways.shows_calls and ways.shows_results


def _without_definitions(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(message.model_copy(update={"tools": ()}) if message.tools else message for message in messages)


# ---- definitions


def _tools(job: Job) -> tuple[Tool, ...]:
    given = job.messages[0].tools if job.messages else ()
    if len(given) > _MOST_TOOLS:
        raise RefusedJob(
            f"{len(given)} tools are given; {_MOST_TOOLS} is the most.", hint="Give fewer.", param="messages"
        )
    tools = tuple(_tool(json.loads(text)) for text in given)
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise RefusedJob(f"Two tools are called {name!r}.", hint="Give each a name of its own.", param="messages")
    if job.tool_name is not None and job.tool_name not in names:
        raise RefusedJob(
            f"The tool {job.tool_name!r} that must be called is not among the tools.",
            hint="Name one of them." if names else "Give its definition.",
            param="tool_name",
        )
    if job.tool_choice == "required" and not tools:
        raise RefusedJob(
            "A tool must be called and none is given.", hint="Give definitions of tools.", param="tool_choice"
        )
    return tools


def _tool(value: Any) -> Tool:
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise RefusedJob(
            "A tool is no function with a name.",
            hint='Write {"type": "function", "function": {"name": …, "parameters": {…}}}.',
            param="messages",
        )
    if not 0 < len(name) <= _LONGEST_NAME or not NAME_CHARACTERS.issuperset(name):
        raise RefusedJob(
            f"A tool cannot be called {name[:80]!r}.",
            hint=f"Use up to {_LONGEST_NAME} letters, digits, underscores and dashes.",
            param="messages",
        )
    parameters = function.get("parameters")
    if parameters is None:  # as OpenAI's interface says: a function without parameters
        return Tool(name, {"type": "object", "properties": {}, "additionalProperties": False})
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise RefusedJob(
            f"The parameters of the tool {name!r} are no schema of an object.",
            hint='Write {"type": "object", "properties": {…}}.',
            param="messages",
        )
    return Tool(name, {"type": "object", **parameters})


# ---- a template without tools


def _rewritten(chat: ChatFormat, messages: Sequence[Message], definitions: Sequence[str]) -> tuple[Message, ...]:
    """The conversation without a turn or field that only templates with tools know."""
    if not definitions and not has_tools(messages):
        return tuple(messages)
    turns: list[Message] = []
    for place, message in enumerate(messages):
        if message.role == "tool":
            text = f"<tool_response>\n{message.content}\n</tool_response>"
            if place and messages[place - 1].role == "tool":
                text = f"{turns.pop().content}\n{text}"
            turns.append(Message(role="user", content=text))
        elif message.tool_calls:
            calls = [call.model_copy(update={"id": None}) for call in message.tool_calls]
            turns.append(Message(role="assistant", content=with_calls(message.content, calls)))
        else:
            turns.append(message)
    return _told(chat, turns, _INSTRUCTION.format(tools="\n".join(definitions))) if definitions else tuple(turns)


def _told(chat: ChatFormat, turns: Sequence[Message], instruction: str) -> tuple[Message, ...]:
    """The turns with an instruction in the system message, or in the first turn where the template takes no such."""
    first, rest = turns[0], turns[1:]
    if first.role == "system":
        return (Message(role="system", content=f"{first.content}\n\n{instruction}"), *rest)
    told = (Message(role="system", content=instruction), *turns)
    try:
        if instruction in chat.render(told):
            return told
    except CompatibilityError:
        pass
    return (first.model_copy(update={"content": f"{instruction}\n\n{first.content}"}), *rest)
