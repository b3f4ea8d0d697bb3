"""Tools in chat templates: which of definitions, calls and results a template shows, and how it wants to be given them.

In: a template. Out: what a probe conversation with one call shows of it, and the calls of a turn as the template takes
them. What a template does not show is refused: it would be lost without a word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, ToolCall
from spiritsafe.models.chat.template import ChatTemplate

_NAME, _VALUE, _RESULT, _WORDS = "spiritsafe_probe", "spiritsafe value", "spiritsafe result", "spiritsafe words"
_ID = "spirit123"  # nine letters and digits: Mistral's templates take no other
PROBE_TOOL = json.dumps(
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "A probe.",
            "parameters": {"type": "object", "properties": {"spot": {"type": "string", "description": "A spot."}}},
        },
    }
)
"""The definition that templates are asked to show."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolWays:
    """What a template does with tools.

    Attributes:
        shows_tools: It prints their definitions.
        shows_calls: It prints calls.
        shows_both: It prints text and calls of one turn.
        shows_results: It prints what tools gave back.
        as_text: It takes arguments as JSON text, not as objects.
        without_content: Where an assistant only calls, the content is None, not empty.
    """

    shows_tools: bool
    shows_calls: bool = False
    shows_both: bool = False
    shows_results: bool = False
    as_text: bool = False
    without_content: bool = False

    @classmethod
    def of(cls, template: ChatTemplate) -> ToolWays:
        """What a probe shows."""
        tried = []
        for as_text, without_content in product((False, True), (False, True)):
            ways = cls(shows_tools=False, as_text=as_text, without_content=without_content)
            alone, both = (ways._shown(template, content) for content in ("", _WORDS))
            tried.append((_is_called(alone), _RESULT in alone, _is_called(both) and _WORDS in both, ways))
        shows_calls, shows_results, shows_both, ways = max(tried, key=lambda one: one[:3])
        return replace(
            ways,
            shows_tools=_NAME in _shown(template, [], [json.loads(PROBE_TOOL)]),
            shows_calls=shows_calls,
            shows_both=shows_both,
            shows_results=shows_results,
        )

    def _shown(self, template: ChatTemplate, content: str) -> str:
        """A call and its result."""
        call = ToolCall(name=_NAME, arguments=json.dumps({"spot": _VALUE}), id=_ID)
        result = {"role": "tool", "name": _NAME, "tool_call_id": _ID, "content": _RESULT}
        return _shown(template, [{"role": "assistant", **self.fields([call], content)}, result], [])

    def fields(self, calls: Sequence[ToolCall], content: str) -> dict[str, Any]:
        """The fields of a turn that calls tools."""
        listed = []
        for call in calls:
            arguments = call.arguments if self.as_text else json.loads(call.arguments)
            own = {} if call.id is None else {"id": call.id}
            listed.append({**own, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        return {"content": content or (None if self.without_content else ""), "tool_calls": listed}

    def check(self, messages: Sequence[Message], where: object) -> None:
        """Refuse a conversation of which the template would leave something out.

        Args:
            where: The model directory, for messages.

        Raises:
            CompatibilityError: It has tools, calls or results that the template does not show.
        """
        wanted = {
            "definitions of tools": self.shows_tools or not any(message.tools for message in messages),
            "calls of tools": self.shows_calls or not any(message.tool_calls for message in messages),
            "text beside calls": self.shows_both
            or not any(message.tool_calls and message.content.strip() for message in messages),
            "what tools give back": self.shows_results or all(message.role != "tool" for message in messages),
        }
        if lost := [what for what, is_shown in wanted.items() if not is_shown]:
            raise CompatibilityError(
                f"The chat template of {where} does not show {' or '.join(lost)}, which this conversation has.",
                hint="Use a model whose template has tools, or leave such conversations out of the data.",
            )


def tools_of(messages: Sequence[Message]) -> list[Any]:
    """The definitions that a conversation has.

    Raises:
        CompatibilityError: They do not stand in its first message.
    """
    if any(message.tools for message in messages[1:]):
        raise CompatibilityError(
            "A later message of this conversation defines tools.", hint="Define all tools in its first message."
        )
    return [json.loads(tool) for tool in messages[0].tools] if messages else []


def _is_called(text: str) -> bool:
    return _NAME in text and _VALUE in text and '\\"spot' not in text


def _shown(template: ChatTemplate, turns: Sequence[dict[str, Any]], tools: Sequence[Any]) -> str:
    try:
        return template.render([{"role": "user", "content": "?"}, *turns], generation=True, tools=tools)
    except CompatibilityError:
        return ""
