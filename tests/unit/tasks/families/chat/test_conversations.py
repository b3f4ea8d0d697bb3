"""Rows as others write them: each layout by its own example, and what cannot be brought over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spiritsafe.core.records import Message
from spiritsafe.core.text.tool_calls import split_calls
from spiritsafe.tasks.families.chat.conversations import Example, RowFault, read_example
from spiritsafe.tasks.families.chat.layouts import Fields, find_layout

ASKED = (Message(role="user", content="What is a dram?"),)
REPLY = "A small drink."
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"b": 1, "a": 2}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ayr"}'}}


def read(row: dict[str, Any], **given: str) -> Example:
    return read_example(row, find_layout(Fields([row]), given, "a.jsonl"))


def messages(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "What is a dram?"}, *turns], **more}


def said(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


ALIKE: dict[str, dict[str, Any]] = {
    "openai": messages(said(REPLY)),
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "a dram?"}]},
            {"role": "assistant", "content": REPLY},
        ]
    },
    "parquet": messages(said(REPLY, tool_calls=None, weight=None, train=None, name=None), tools=None),
    "csv": {"messages": json.dumps(messages(said(REPLY))["messages"])},
    "sharegpt": {"conversations": [{"from": "human", "value": ASKED[0].content}, {"from": "gpt", "value": REPLY}]},
    "sharegpt in openai's words": {"conversation": messages(said(REPLY))["messages"]},
    "sharegpt with an empty system": {
        "system": "",
        "conversations": [{"from": "user", "value": ASKED[0].content}, {"from": "assistant", "value": REPLY}],
    },
    "alpaca": {"instruction": "What is a dram?", "input": "", "output": REPLY},
    "alpaca in two parts": {"instruction": "What is a dram?", "input": None, "output": REPLY, "history": []},
    "prompt and completion": {"prompt": "What is a dram?", "completion": REPLY},
    "prompt and response": {"Prompt": "What is a dram?", "RESPONSE": REPLY},
    "trl": {"prompt": messages()["messages"], "completion": [said(REPLY)]},
    "question and answer": {"question": "What is a dram?", "answer": REPLY, "source": "web"},
    "orca": {"system_prompt": "", "question": "What is a dram?", "response": REPLY},
}


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_one_conversation_in_each_layout(name: str) -> None:
    assert read(ALIKE[name]) == Example(ASKED, REPLY, ())


@pytest.mark.parametrize(
    "row",
    [{"prompt": "What is a dram?"}, {"question": "What is a dram?"}, {"instruction": "What is a dram?"}, messages()],
)
def test_a_prompt_alone_has_no_reply(row: dict[str, Any]) -> None:
    assert read(row) == Example(ASKED, None, ())


def test_earlier_replies_are_learnt_unless_the_row_says_otherwise() -> None:
    more = {"role": "user", "content": "And two?"}
    assert read(messages(said("a"), more, said("b"), more, said("c"))).turns == (1, 3)
    assert read(messages(said("a", train=False), more, said("b", weight=1), more, said("c"))).turns == (3,)
    assert read(messages(said("a", weight=0), more, said("b"))).turns == ()
    # the last reply that is learnt ends the example
    cut = read(messages(said("a"), more, said("b"), more, said("c", training=False)))
    assert (len(cut.messages), cut.reply, cut.turns) == (3, "b", (1,))
    # a question at the end waits for an answer
    waiting = read(messages(said("a"), more))
    assert (len(waiting.messages), waiting.reply, waiting.turns) == (3, None, (1,))


def test_a_prompt_of_turns_is_context_and_its_system_counts() -> None:
    row = {
        "prompt": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": "a"},
            said("b"),
            messages()["messages"][0],
        ],
        "completion": [said(REPLY)],
    }
    example = read(row)
    assert [message.role for message in example.messages] == ["system", "user", "assistant", "user"]
    assert example.turns == ()
    assert example.prompt == "system: s\nuser: a\nuser: What is a dram?"


def test_alpaca_has_inputs_systems_and_histories() -> None:
    row = {
        "instruction": "Sum up.",
        "input": "Long text.",
        "output": "Short.",
        "system": "Be brief.",
        "history": [["a", "b"]],
    }
    example = read(row)
    assert [message.content for message in example.messages] == ["Be brief.", "a", "b", "Sum up.\n\nLong text."]
    assert example.turns == (2,)


def test_thoughts_beside_a_reply_become_part_of_it() -> None:
    assert read(messages(said("4", reasoning_content="hm"))).reply == "<think>\nhm\n</think>\n\n4"
    assert read(messages(said("<think>hm</think>4", reasoning="hm"))).reply == "<think>hm</think>4"


@pytest.mark.parametrize(
    "row",
    [
        messages(
            said(None, tool_calls=[CALL]),
            {"role": "tool", "tool_call_id": "c1", "content": "wet"},
            said("Wet."),
            tools=[WEATHER],
        ),
        messages(
            said("", function_call={"name": "weather", "arguments": '{"city": "Ayr"}'}),
            {"role": "function", "name": "weather", "content": "wet"},
            said("Wet."),
            functions=json.dumps([WEATHER["function"]]),
        ),
        {
            "tools": json.dumps([WEATHER]),
            "conversations": [
                {"from": "human", "value": "What is a dram?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ayr"}}'},
                {"from": "observation", "value": "wet"},
                {"from": "gpt", "value": "Wet."},
            ],
        },
    ],
    ids=["openai", "openai of 2023", "sharegpt"],
)
def test_tools_their_calls_and_results(row: dict[str, Any]) -> None:
    example = read(row)
    assert json.loads(example.messages[0].tools[0]) == WEATHER
    assert list(json.loads(example.messages[0].tools[0])["function"]["parameters"]) == ["b", "a"]
    assert example.messages[1].tool_calls[0].name == "weather"
    assert json.loads(example.messages[1].tool_calls[0].arguments) == {"city": "Ayr"}
    assert example.messages[2].role == "tool"
    assert example.turns == (1,)
    assert example.num_results == 1


def test_a_reply_may_be_a_call() -> None:
    example = read(messages(said("Let me see.", tool_calls=[CALL]), tools=[WEATHER]))
    assert example.reply is not None
    text, calls = split_calls(example.reply)
    assert text == "Let me see."
    assert (calls[0].name, calls[0].id) == ("weather", "c1")


def test_the_prompt_is_what_was_asked_in_one_form() -> None:
    left, right = read({"prompt": "What  is\u200b a\ndram？"}), read({"prompt": " What is a dram?"})
    assert left.prompt == right.prompt == "What is a dram?"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (messages(said("")), "turn 2 is empty"),
        (messages(said(None)), "turn 2 is empty"),
        (messages(said([{"type": "image_url"}])), r"turn 2 holds a part that is no text \(image_url\)"),
        (messages(said(3)), "turn 2 has no text"),
        (messages({"content": "x"}), "turn 2 does not say who speaks"),
        (messages({"role": "wizard", "content": "x"}), "turn 2 is spoken by 'wizard'"),
        (messages(said("x", weight=0.5)), "turn 2 has weight = 0.5"),
        (messages(said("x", train_detail=[{}])), "turn 2 is to be learnt in part only"),
        (messages(said("x", train=False)), "none of its replies is to be learnt"),
        ({"messages": [said("x")]}, "nobody asks anything in it"),
        ({"messages": [said("x"), {"role": "user", "content": "y"}, said("z", weight=0)]}, "before any question"),
        (messages(said("", tool_calls=[CALL])), "it calls a tool and defines none"),
        (messages(said("", tool_calls=[{"name": "x", "arguments": "{"}]), tools=[WEATHER]), "no JSON object"),
        (messages(said("", tool_calls=[{}]), tools=[WEATHER]), "without a name"),
        (messages(said("", tool_calls="["), tools=[WEATHER]), "what is no JSON"),
        (messages(said("x"), tools="nonsense"), "its tools are no JSON"),
        (messages(said("x"), tools=[3]), "no list of definitions"),
        (messages(said("x"), tools=[{"function": {}}]), "one of its tools has no name"),
        (messages({"role": "user", "content": "x", "tool_calls": [CALL]}), "is not the assistant's"),
        (messages(said("x \ud83d")), "half a character"),
        (messages(said("x", reasoning=["hm"])), "a thought that is no text"),
        (messages(system="s") | {"messages": [{"role": "system", "content": "t"}]}, "a system message and a field"),
        ({"prompt": " ", "completion": "x"}, 'its field "prompt" is empty'),
        ({"prompt": "x", "completion": " "}, 'its field "completion" is empty'),
        ({"prompt": "x", "completion": {"a": 1}}, 'its field "completion" holds no text'),
        ({"instruction": "x", "input": 3, "output": "y"}, 'its field "input" is no text'),
        ({"instruction": "x", "output": "y", "history": ["a"]}, "no pairs of texts"),
        ({"prompt": messages()["messages"], "completion": messages()["messages"]}, "does not end with a reply"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(row: dict[str, Any], fault: str) -> None:
    with pytest.raises(RowFault, match=fault):
        read(row)


def test_a_row_that_lacks_what_the_others_have_is_broken() -> None:
    layout = find_layout(Fields([ALIKE["openai"]]), {}, "a.jsonl")
    with pytest.raises(RowFault, match='its field "messages" holds no turns'):
        read_example({"text": "x"}, layout)
