"""Layouts by their fields."""

from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.families.chat.layouts import CHAT_FORMATS, Fields, RowLayout, find_layout, turns_in

TURNS = [{"role": "user", "content": "x"}]


def layout(row: dict[str, Any], **given: str) -> RowLayout:
    return find_layout(Fields([row]), given, "a.jsonl")


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"messages": TURNS, "prompt": "x"}, "messages"),
        ({"Messages": TURNS}, "messages"),
        ({"conversations": TURNS}, "sharegpt"),
        ({"instruction": "x", "input": "", "output": "y"}, "alpaca"),
        ({"instruction": "x", "response": "y"}, "prompt-completion"),
        ({"prompt": TURNS, "completion": TURNS}, "prompt-completion"),
        ({"input": "x", "output": "y"}, "prompt-completion"),
        ({"question": "x", "answer": "y"}, "question-answer"),
        ({"problem": "x", "solution": "y"}, "question-answer"),
        ({"query": "x", "id": 3}, "prompts"),
        ({"prompt": "x", "completion": None}, "prompts"),
    ],
)
def test_formats_by_their_fields(row: dict[str, Any], format: str) -> None:
    assert layout(row).format == format
    assert format in CHAT_FORMATS


def test_what_the_user_says_comes_first() -> None:
    row = {"messages": TURNS, "frage": "x", "antwort": "y", "prompt": "z", "completion": "w"}
    assert layout(row, question="frage", answer="antwort") == RowLayout(
        format="prompt-completion", question="frage", answer="antwort"
    )
    assert layout(row, format="prompts").question == "prompt"
    assert layout({"gespräch": TURNS}, messages="gespräch").messages == "gespräch"
    assert layout({"q": "x", "antwort": "y"}, question="q", answer="antwort").format == "prompt-completion"


@pytest.mark.parametrize(
    ("row", "given", "words", "hint"),
    [
        ({"text": "x"}, {}, "plain texts", "prompt and a completion"),
        ({"a": 1, "b": 2}, {}, "its rows have a, b", "question=…&answer=…"),
        ({"question": "x", "choices": ["a", "b"], "answer": 0}, {}, "multiple-choice", "choice:"),
        ({"prompt": "x"}, {"answer": "reply"}, 'no row of a.jsonl has a field "reply"', "prompt"),
        ({"prompt": "x"}, {"format": "alpacca"}, 'no format "alpacca"', 'Did you mean "alpaca"'),
        ({"prompt": "x"}, {"format": "sharegpt"}, "not of the format sharegpt", "messages=…"),
        ({}, {}, "no fields", "Formats: messages"),
    ],
)
def test_what_fits_nothing_is_named(row: dict[str, Any], given: dict[str, str], words: str, hint: str) -> None:
    with pytest.raises(TaskError, match=f"(?i){words}") as caught:
        layout(row, **given)
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", [None, [], "x", "[1]", "[", "[" * 100_000, [3], {"a": 1}])
def test_what_holds_no_turns(value: object) -> None:
    assert turns_in(value) is None
