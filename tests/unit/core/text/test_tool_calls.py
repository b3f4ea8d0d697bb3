from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.core.text.tool_calls import as_openai, has_tools, split_calls, with_calls

CALL = ToolCall(name="weather", arguments='{"city": "Zürich", "at": [1, 2.5]}')

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(
    lambda name, arguments, id: ToolCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False), id=id),
    st.text(max_size=10),
    st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    st.none() | st.text(max_size=5),
)


@given(st.text(alphabet="ab <>\n{}", max_size=20).map(str.strip), st.lists(calls, max_size=3))
def test_calls_come_back_in_their_order(text: str, made: list[ToolCall]) -> None:
    assert split_calls(with_calls(text, made)) == (text, tuple(made))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no call",
        '<tool_call>{"name": "x", "arguments": {}}</tool_call> and more',
        "<tool_call>{}</tool_call>",
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "x", "arguments": "text"}</tool_call>',
        "</tool_call>",
        "<tool_call>" + "[" * 100_000 + "</tool_call>",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert split_calls(text) == (text, ())


@pytest.mark.parametrize("arguments", ["", "[]", "3", '"x"', "{", "[" * 100_000])
def test_arguments_are_a_json_object(arguments: str) -> None:
    with pytest.raises(ValidationError, match="no JSON object"):
        ToolCall(name="x", arguments=arguments)


def test_a_turn_as_it_goes_over_the_wire() -> None:
    assert as_openai(Message(role="user", content="hi")) == {"role": "user", "content": "hi"}
    assert as_openai(Message(role="assistant", content="", tool_calls=(CALL,))) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": CALL.arguments}}],
    }
    result = Message(role="tool", content="sunny", name="weather", tool_call_id="c1")
    assert as_openai(result) == {"role": "tool", "content": "sunny", "name": "weather", "tool_call_id": "c1"}


def test_which_conversations_have_tools() -> None:
    assert not has_tools([Message(role="user", content="<tool_call>")])
    assert has_tools([Message(role="user", content="x", tools=("{}",))])
    assert has_tools([Message(role="tool", content="x")])


def test_what_records_had_no_field_for_leaves_no_trace_in_them() -> None:
    assert Message(role="user", content="x").to_json() == {"role": "user", "content": "x"}
    assert hash(Message(role="user", content="x", tools=("{}",))) is not None
