"""Conversations out of rows, whatever their layout: the one place that knows how others write turns.

In: a row and its :class:`~spiritsafe.tasks.families.chat.layouts.RowLayout`. Out: messages, and which of the turns of
the assistant are to be learnt. Nothing is left out without a word: what cannot be brought over is a :class:`RowFault`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pydantic import ValidationError

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.core.text.thoughts import has_marks, wrap
from spiritsafe.core.text.tool_calls import has_tools, with_calls
from spiritsafe.tasks.answers.extract import without_invisible
from spiritsafe.tasks.families.chat.layouts import RowLayout, turns_in

_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "ai": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
    "function_call": "calls", "tool_call": "calls",
}  # fmt: skip
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


class RowFault(Exception):
    """Why a row cannot be used, in words that go on after "row 3: "."""


@final
@dataclass(frozen=True, slots=True)
class Example:
    """A conversation, cut where the last turn that is learnt begins.

    Attributes:
        messages: What stands before that turn; all of it, where the conversation ends with a question.
        reply: The turn; None where there is none.
        turns: Places of earlier turns that are learnt too.
    """

    messages: tuple[Message, ...]
    reply: str | None
    turns: tuple[int, ...]

    @property
    def num_results(self) -> int:
        """How many tools have answered before the reply."""
        return sum(message.role == "tool" for message in self.messages)

    @property
    def prompt(self) -> str:
        """What was asked, in the form that decides which conversations are the same problem."""
        asked = [message for message in self.messages if message.role in ("system", "user")]
        texts = [" ".join(unicodedata.normalize("NFKC", without_invisible(one.content)).split()) for one in asked]
        if len(asked) == 1:
            return texts[0]
        return "\n".join(f"{one.role}: {text}" for one, text in zip(asked, texts, strict=True))


def read_example(row: Mapping[str, Any], layout: RowLayout) -> Example:
    """What is to be learnt of a row.

    Raises:
        RowFault: The row does not fit the layout, or has what cannot be learnt from.
    """
    try:
        messages, learnt = _conversation(row, layout)
        return _cut(_with_tools(messages, row.get(layout.tools) if layout.tools else None), learnt)
    except ValidationError as error:
        raise RowFault(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _cut(messages: Sequence[Message], learnt: set[int]) -> Example:
    if not any(message.role == "user" for message in messages):
        raise RowFault("nobody asks anything in it")
    if messages[-1].role != "assistant":
        return Example(tuple(messages), None, tuple(sorted(learnt)))
    if not learnt:
        raise RowFault("none of its replies is to be learnt")
    last = max(learnt)
    before, reply = tuple(messages[:last]), messages[last]
    if not any(message.role == "user" for message in before):
        raise RowFault("its reply stands before any question")
    if reply.tool_calls and not has_tools(before):
        raise RowFault("it calls a tool and defines none")
    return Example(before, with_calls(reply.content, reply.tool_calls), tuple(sorted(learnt - {last})))


# ---- layouts


def _conversation(row: Mapping[str, Any], layout: RowLayout) -> tuple[list[Message], set[int]]:
    if layout.format in ("messages", "sharegpt"):
        listed = turns_in(row.get(layout.messages))
        if listed is None:
            raise RowFault(f'its field "{layout.messages}" holds no turns')
        messages, learnt = _read_turns(listed)
        return _with_system(messages, learnt, row, layout)
    asked, is_learnt = _asked(row, layout)
    if not layout.answer:
        return _with_system(asked, is_learnt, row, layout)
    value = row.get(layout.answer)
    listed = turns_in(value) if not isinstance(value, str) else None
    replies, learnt = (
        _read_turns(listed) if listed is not None else ([_message("assistant", _text(row, layout.answer))], {0})
    )
    if replies[-1].role != "assistant":
        raise RowFault(f'its field "{layout.answer}" does not end with a reply')
    return _with_system([*asked, *replies], is_learnt | {len(asked) + turn for turn in learnt}, row, layout)


def _asked(row: Mapping[str, Any], layout: RowLayout) -> tuple[list[Message], set[int]]:
    """What a row asks, and what of it is learnt: earlier turns that stand in a prompt are only its context."""
    value = row.get(layout.question)
    if not isinstance(value, str) and (listed := turns_in(value)) is not None:
        messages, _ = _read_turns(listed)
        return messages, set()
    about = row.get(layout.input) if layout.input else None
    if about is not None and not isinstance(about, str):
        raise RowFault(f'its field "{layout.input}" is no text')
    parts = [_plain(row, layout.question), about or ""]
    question = _message("user", "\n\n".join(part for part in parts if part.strip()))
    if not question.content:
        raise RowFault(f'its field "{layout.question}" is empty')
    history = (row.get(layout.history) if layout.history else None) or []
    messages = []
    for pair in history if isinstance(history, list) else [history]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise RowFault(f'its field "{layout.history}" holds no pairs of texts')
        messages += [_message("user", pair[0]), _message("assistant", pair[1])]
    return [*messages, question], {2 * place + 1 for place in range(len(messages) // 2)}


def _with_system(
    messages: list[Message], learnt: set[int], row: Mapping[str, Any], layout: RowLayout
) -> tuple[list[Message], set[int]]:
    text = row.get(layout.system) if layout.system else None
    if text is None or text == "":
        return messages, learnt
    if not isinstance(text, str):
        raise RowFault(f'its field "{layout.system}" is no text')
    if messages[0].role == "system":
        raise RowFault(f'it has a system message and a field "{layout.system}"')
    return [_message("system", text), *messages], {place + 1 for place in learnt}


def _with_tools(messages: list[Message], value: Any) -> list[Message]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowFault("its tools are no JSON") from error
    if not value:
        return messages
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowFault("its tools are no list of definitions")
    tools = []
    for tool in value:
        whole = tool if "function" in tool else {"type": "function", "function": tool}
        if not isinstance(whole["function"], Mapping) or not isinstance(whole["function"].get("name"), str):
            raise RowFault("one of its tools has no name")
        tools.append(json.dumps(whole, ensure_ascii=False))
    return [messages[0].model_copy(update={"tools": tuple(tools)}), *messages[1:]]


# ---- turns


def _read_turns(listed: Sequence[Mapping[str, Any]]) -> tuple[list[Message], set[int]]:
    messages: list[Message] = []
    learnt: set[int] = set()
    for number, turn in enumerate(listed, start=1):
        try:
            message = _read_turn(turn)
            if message.role == "assistant" and _is_learnt(turn):
                learnt.add(len(messages))
        except RowFault as fault:
            raise RowFault(f"turn {number} {fault}") from None
        messages.append(message)
    return messages, learnt


def _read_turn(turn: Mapping[str, Any]) -> Message:
    given = {name: value for name, value in turn.items() if value is not None}  # Parquet writes absent fields so
    speaker = given.get("role", given.get("from"))
    role = _ROLES.get(str(speaker).strip().lower())
    if role is None:
        raise RowFault(
            f"is spoken by {speaker!r}, whom nobody knows" if speaker is not None else "does not say who speaks"
        )
    value = given.get("content", given.get("value", given.get("text", "")))
    if role == "calls":
        return Message(role="assistant", content="", tool_calls=_called_in(value))
    text = _content(value)
    if role == "tool":
        name, call = given.get("name"), given.get("tool_call_id")
        return Message(role="tool", content=_whole(text), name=_name(name), tool_call_id=_name(call))
    calls = _calls(given) if role == "assistant" else ()
    if role != "assistant" and (given.get("tool_calls") or given.get("function_call")):
        raise RowFault("calls a tool and is not the assistant's")
    thought = next((given[name] for name in _THOUGHTS if given.get(name)), "") if role == "assistant" else ""
    if not isinstance(thought, str):
        raise RowFault("has a thought that is no text")
    if thought.strip() and not has_marks(text):
        text = wrap(thought, text)
    if not text.strip() and not calls and role != "system":
        raise RowFault("is empty")
    return Message(role=role, content=_whole(text), tool_calls=calls)


def _message(role: Any, text: str) -> Message:
    return Message(role=role, content=_whole(text))


def _content(value: Any) -> str:
    """A text, or parts that are all texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = []
        for part in value:
            text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None
            if not isinstance(text, str):
                what = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise RowFault(f"holds a part that is no text ({what})")
            texts.append(text)
        return "".join(texts)
    raise RowFault("has no text")


def _is_learnt(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is to be learnt: axolotl writes ``train``, OpenAI ``weight``."""
    if turn.get("train_detail") or turn.get("training_detail"):
        raise RowFault("is to be learnt in part only, which is not possible here")
    for name in ("train", "training", "weight"):
        value = turn.get(name)
        if value is None:
            continue
        if value not in (0, 1):
            raise RowFault(f"has {name} = {value!r}, where only true and false, 1 and 0 are known")
        if not value:
            return False
    return True


def _calls(turn: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    listed = turn.get("tool_calls") or []
    if isinstance(listed, str):
        return _called_in(listed)
    if not isinstance(listed, list):
        raise RowFault("has calls that are no list")
    if old := turn.get("function_call"):
        listed = [*listed, {"function": old}]
    return tuple(_call(one) for one in listed)


def _called_in(value: Any) -> tuple[ToolCall, ...]:
    """Calls that a text holds as JSON."""
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise RowFault("calls a tool in what is no JSON") from error
    return tuple(_call(one) for one in (calls if isinstance(calls, list) else [calls]))


def _call(value: Any) -> ToolCall:
    function = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowFault("calls a tool without a name")
    arguments = function.get("arguments", function.get("parameters"))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    try:
        return ToolCall(name=function["name"], arguments=arguments or "{}", id=_name(value.get("id")))
    except ValidationError as error:
        raise RowFault("calls a tool with arguments that are no JSON object") from error


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


# ---- texts


def _plain(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise RowFault(f'its field "{field}" holds no text')
    return str(value)


def _text(row: Mapping[str, Any], field: str) -> str:
    text = _plain(row, field)
    if not text.strip():
        raise RowFault(f'its field "{field}" is empty')
    return text


def _whole(text: str) -> str:
    """A text in whole characters: JSON that was cut within an emoji is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowFault("holds half a character, which is no Unicode") from error
    return text
