"""The items of a request of ``POST /v1/responses`` as a conversation.

In: ``input`` and ``instructions``. Out: messages. An earlier answer is several items (its thought, its text, its
calls); they become one message again, so that the model sees what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.serve.api.responses.request import (
    DeclinedText,
    FunctionCallItem,
    FunctionCallOutputItem,
    InputItem,
    InputText,
    MessageItem,
    OutputText,
    ReasoningItem,
    ResponsesRequest,
)
from spiritsafe.serve.asking.conversation import behind_thought
from spiritsafe.serve.refusals import Refusal


@final
@dataclass
class _Turn:
    """What came together of an assistant's turn; ``place`` is where it begins."""

    place: int
    thought: str = ""
    text: str | None = None
    calls: list[ToolCall] = field(default_factory=list)

    def message(self) -> Message:
        text = self.text or ""
        content = behind_thought(self.thought, text, f"input[{self.place}]") if self.thought else text
        return Message(role="assistant", content=content, tool_calls=tuple(self.calls))


def messages_of_items(request: ResponsesRequest) -> tuple[Message, ...]:
    """All messages.

    Raises:
        Refusal: A tool's output belongs to no call; a thought holds marks of thoughts.
    """
    messages = [] if request.instructions is None else [Message(role="system", content=request.instructions)]
    if isinstance(request.input, str):
        return (*messages, Message(role="user", content=request.input))
    turn: _Turn | None = None
    called: dict[str, str] = {}
    for place, item in enumerate(request.input):
        added = _join(turn, item, place)
        if added is not None:
            if turn is not None and added is not turn:
                messages.append(turn.message())
            turn = added
            if isinstance(item, FunctionCallItem):
                called[item.call_id] = item.name
            continue
        if turn is not None:
            messages.append(turn.message())
            turn = None
        messages.append(_other(item, place, called))
    if turn is not None:
        messages.append(turn.message())
    return tuple(messages)


def _join(turn: _Turn | None, item: InputItem, place: int) -> _Turn | None:
    """The assistant's turn with one more of its items: a new turn where the item begins one, None where it ends it."""
    match item:
        case ReasoningItem():
            text = "\n".join(part.text for part in item.content or item.summary)
            if turn is None or turn.text is not None or turn.calls:
                turn = _Turn(place)
            turn.thought += text
        case MessageItem(role="assistant"):
            if turn is None or turn.text is not None or turn.calls:
                turn = _Turn(place)
            turn.text = _text(item.content)
        case FunctionCallItem():
            turn = turn or _Turn(place)
            turn.calls.append(ToolCall(name=item.name, arguments=item.arguments, id=item.call_id))
        case _:
            return None
    return turn


def _other(item: InputItem, place: int, called: dict[str, str]) -> Message:
    if isinstance(item, FunctionCallOutputItem):
        if item.call_id not in called:
            raise Refusal(
                f"No function_call in front of it has the call_id {item.call_id!r}.",
                hint="Answers are not kept here: send the function_call item that was answered, too.",
                param=f"input[{place}].call_id",
                code="invalid_value",
            )
        return Message(
            role="tool",
            content=_text(item.output),
            name=called[item.call_id],
            tool_call_id=item.call_id,
        )
    assert isinstance(item, MessageItem)
    role = "user" if item.role == "user" else "system"
    return Message(role=role, content=_text(item.content))


def _text(content: str | Sequence[InputText | OutputText | DeclinedText]) -> str:
    """Parts are joined by line breaks."""
    if isinstance(content, str):
        return content
    return "\n".join(part.refusal if isinstance(part, DeclinedText) else part.text for part in content)
