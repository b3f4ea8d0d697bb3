"""Conversations with tools: as the template has them, or written into the prompt; nothing is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calling_models import CALLING
from grammar_walks import HI, tool

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.core.serving import Job
from spiritsafe.models.chat.calls.prompt import RefusedJob, tool_prompt
from spiritsafe.models.chat.calls.spelling import HERMES
from spiritsafe.models.chat.format import ChatFormat

TOOLS = (tool("f", a={"type": "integer"}), tool("g"))
ASKED = HI.model_copy(update={"tools": TOOLS})
CALL = Message(
    role="assistant",
    content="Let me see.",
    tool_calls=(ToolCall(name="f", arguments='{"a": 1}', id="x1"), ToolCall(name="g", id="x2")),
)
RESULTS = (
    Message(role="tool", content="one", name="f", tool_call_id="x1"),
    Message(role="tool", content="two", name="g", tool_call_id="x2"),
)


def test_a_template_without_tools_is_told_them_in_words(tmp_path: Path) -> None:
    chat = ChatFormat(CALLING["chatml"](tmp_path))
    asked = tool_prompt(chat, Job(messages=(ASKED, CALL, *RESULTS)))
    assert asked.spelling == HERMES
    text = chat.render(asked.messages)
    assert text.startswith("<|im_start|>system\n# Tools")
    assert "\n".join(TOOLS) in text
    assert (
        "<|im_start|>assistant\nLet me see.\n"
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n"
    ) in text
    told = (Message(role="system", content="Be brief.", tools=TOOLS), HI)
    assert chat.render(tool_prompt(chat, Job(messages=told)).messages).startswith(
        "<|im_start|>system\nBe brief.\n\n# Tools"
    )


def test_a_template_with_tools_shows_them_itself(tmp_path: Path) -> None:
    chat = ChatFormat(CALLING["hermes"](tmp_path))
    job = Job(messages=(ASKED, CALL, *RESULTS), tool_choice="required")
    asked = tool_prompt(chat, job)
    assert asked.messages == job.messages
    assert (asked.must_call, asked.several) == (True, True)
    assert not tool_prompt(chat, job.model_copy(update={"parallel_tool_calls": False})).several
    named = tool_prompt(chat, Job(messages=(ASKED,), tool_name="g"))
    assert ([one.name for one in named.tools], named.must_call, named.several) == (["g"], True, False)


@pytest.mark.parametrize("kind", ["chatml", "hermes", "xml", "harmony"])
def test_no_tool_is_called_where_none_may_be(kind: str, tmp_path: Path) -> None:
    chat = ChatFormat(CALLING[kind](tmp_path))
    asked = tool_prompt(chat, Job(messages=(ASKED,), tool_choice="none"))
    assert (asked.spelling, asked.tools) == (None, ())
    assert chat.render(asked.messages) == chat.render((HI,))
    assert tool_prompt(chat, Job(text="hi")).messages == ()


def test_the_marks_of_calls_are_told(tmp_path: Path) -> None:
    chat = ChatFormat(CALLING["mistral"](tmp_path))
    marks = tool_prompt(chat, Job(messages=(ASKED,))).marks
    assert marks == {chat.special_tokens["[TOOL_CALLS]"]: "[TOOL_CALLS]"}


def function(**fields: Any) -> str:
    return json.dumps({"type": "function", "function": fields})


@pytest.mark.parametrize(
    ("job", "words", "param"),
    [
        ({"tools": [], "tool_choice": "required"}, "none is given", "tool_choice"),
        ({"tool_name": "h"}, "'h' that must be called is not among", "tool_name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "Two tools are called 'f'", "messages"),
        ({"tools": ['{"type": "web_search"}']}, "no function with a name", "messages"),
        ({"tools": [function(name="a b")]}, "cannot be called 'a b'", "messages"),
        ({"tools": [function(name="a", parameters={"type": "array"})]}, "no schema of an object", "messages"),
        ({"tools": [function(name=f"f{i}") for i in range(129)]}, "128 is the most", "messages"),
    ],
)
def test_what_cannot_be_asked(job: dict[str, Any], words: str, param: str, tmp_path: Path) -> None:
    chat = ChatFormat(CALLING["hermes"](tmp_path))
    asked = HI.model_copy(update={"tools": tuple(job.pop("tools", TOOLS))})
    with pytest.raises(RefusedJob, match=words) as caught:
        tool_prompt(chat, Job(messages=(asked,), **job))
    assert caught.value.param == param


def test_tools_that_the_template_spells_in_a_way_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RefusedJob, match="otherwise than as JSON"):
        tool_prompt(ChatFormat(CALLING["xml"](tmp_path)), Job(messages=(ASKED,)))
