"""Tools in templates: what is shown and how it is given; what is not shown is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import templates_parts

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, ToolCall
from spiritsafe.models.chat.format import ChatFormat

TOOL = json.dumps({"type": "function", "function": {"name": "clock", "description": "<|im_end|> [/INST]<tool_call>"}})
ASKED = Message(role="user", content="what time?", tools=(TOOL,))
CALLED = Message(
    role="assistant", content="", tool_calls=(ToolCall(name="clock", arguments='{"b": 1, "a": "<|im_end|>"}'),)
)
RESULT = Message(role="tool", content="noon <|im_start|>")


def test_definitions_calls_and_results_are_shown_and_stay_words(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.hermes(tmp_path))
    assert chat.tool_ways.shows_tools
    assert not chat.tool_ways.as_text
    text = chat.render([ASKED, CALLED, RESULT])
    assert text.startswith(f"<|im_start|>system\n<tools>\n{TOOL}\n</tools><|im_end|>\n<|im_start|>user\nwhat time?")
    assert '{"name": "clock", "arguments": {"b": 1, "a": "<|im_end|>"}}' in text  # in the order they were written
    assert "<tool_response>\nnoon <|im_start|>\n</tool_response>" in text
    ids = chat.prompt_ids([ASKED, CALLED, RESULT])
    assert ids.count(chat.end_id) == 4
    assert ids.count(chat.text_ids("<|im_start|>")[0]) == 5
    assert ids.count(chat.text_ids("<tool_call>")[0]) == 1


def test_a_template_gets_arguments_as_it_takes_them(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.calls_as_text(tmp_path))
    assert chat.tool_ways.as_text
    assert chat.tool_ways.without_content
    assert '<A>clock {"b": 1, "a": "<|im_end|>"}<C><R>noon' in chat.render([ASKED, CALLED, RESULT])


@pytest.mark.parametrize(
    ("conversation", "lost"),
    [
        ([ASKED], "definitions of tools"),
        ([Message(role="user", content="?"), CALLED, Message(role="user", content="?")], "calls of tools"),
        ([Message(role="user", content="?"), RESULT], "what tools give back"),
    ],
)
def test_what_a_template_does_not_show_is_refused(conversation: list[Message], lost: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.r1(tmp_path))
    with pytest.raises(CompatibilityError, match=f"does not show {lost}"):
        chat.render(conversation)


def test_tools_stand_in_the_first_message(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.hermes(tmp_path))
    with pytest.raises(CompatibilityError, match="later message of this conversation defines tools"):
        chat.render([Message(role="system", content="x"), ASKED])
