"""The turns of a request of ``POST /v1/messages`` as a conversation, and its tools as OpenAI's interface has them.

In: ``system``, ``messages`` and ``tools``. Out: messages. Neighbouring turns of one role are one, as the interface
says; what tools gave back are messages of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import orjson

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.serve.api.messages.request import (
    CountTokensRequest,
    GivenTurn,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from spiritsafe.serve.asking.conversation import behind_thought
from spiritsafe.serve.refusals import Refusal

GivenBlock = TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock


def messages_of_turns(request: CountTokensRequest) -> tuple[Message, ...]:
    """All messages, without tools.

    Raises:
        Refusal: A result belongs to no call.
    """
    system = _text(request.system)
    messages = [Message(role="system", content=system)] if system else []
    called: dict[str, str] = {}
    numbered = enumerate(request.messages)
    for role, group in groupby(numbered, key=lambda numbered_turn: numbered_turn[1].role):
        blocks = [(f"messages[{place}].content", block) for place, turn in group for block in _blocks(turn)]
        if role == "user":
            messages += _user(blocks, called)
        elif role == "assistant":
            messages.append(_assistant(blocks, called))
        else:
            messages.append(Message(role="system", content=_joined([block for _, block in blocks])))
    return tuple(messages)


def _blocks(turn: GivenTurn) -> Sequence[GivenBlock]:
    if isinstance(turn.content, str):
        return [TextBlock(type="text", text=turn.content)]
    return turn.content


def _user(blocks: Sequence[tuple[str, GivenBlock]], called: dict[str, str]) -> Iterator[Message]:
    """What tools gave back, and what the user said, in order."""
    for is_result, group in groupby(blocks, key=lambda placed: isinstance(placed[1], ToolResultBlock)):
        if not is_result:
            yield Message(role="user", content=_joined([block for _, block in group]))
            continue
        for place, block in group:
            if isinstance(block, ToolResultBlock):
                yield _result(block, place, called)


def _result(block: ToolResultBlock, place: str, called: dict[str, str]) -> Message:
    if block.tool_use_id not in called:
        raise Refusal(
            f"No tool_use in front of it has the id {block.tool_use_id[:80]!r}.",
            hint="Send the assistant's turn with the tool_use, too.",
            param=place,
            code="invalid_value",
        )
    said = _text(block.content)
    return Message(
        role="tool",
        content=f"Error: {said}" if block.is_error else said,
        name=called[block.tool_use_id],
        tool_call_id=block.tool_use_id,
    )


def _assistant(placed: Sequence[tuple[str, GivenBlock]], called: dict[str, str]) -> Message:
    blocks = [block for _, block in placed]
    calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
    called.update((block.id, block.name) for block in calls)
    thought = "\n".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    text = _joined(blocks)
    return Message(
        role="assistant",
        content=behind_thought(thought, text, placed[0][0]) if thought else text,
        tool_calls=tuple(
            ToolCall(name=block.name, arguments=orjson.dumps(block.input).decode(), id=block.id) for block in calls
        ),
    )


def _text(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else _joined(content)


def _joined(blocks: Sequence[GivenBlock]) -> str:
    """Blocks are joined by line breaks."""
    return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))
