"""Answers taken apart: the same parts however the text comes, and nothing that was given is lost."""

from __future__ import annotations

import itertools
import json

import pytest
from calling_models import CALLING
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.serving import Part
from spiritsafe.core.text import thoughts
from spiritsafe.models.chat.calls.reader import AnswerReader
from spiritsafe.models.chat.calls.spelling import HERMES, CallSpelling
from spiritsafe.models.chat.format import ChatFormat

LLAMA = CallSpelling(
    trigger='{"name": "', head='{"name": "', middle='", "parameters": ', gap=None, tail="}", behind_text=False
)
MISTRAL = CallSpelling(
    trigger="[TOOL_CALLS]",
    head='[TOOL_CALLS] [{"name": "',
    middle='", "arguments": ',
    gap=', "id": "\0"}, {"name": "',
    tail=', "id": "\0"}]',
    behind_text=True,
)
SPELLINGS = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL, "none": None}


def read(
    text: str, spelling: CallSpelling | None = HERMES, *, thinks: bool = True, cuts: tuple[int, ...] = ()
) -> list[Part]:
    reader = AnswerReader(spelling, thinks=thinks)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    parts: list[Part] = []
    for start, stop in itertools.pairwise(places):
        parts += reader.feed(text[start:stop])
    parts += reader.finish()
    joined: list[Part] = []
    for part in parts:
        assert part.text
        if joined and joined[-1].kind == part.kind != "call":
            part = Part(kind=part.kind, text=joined.pop().text + part.text)
        joined.append(part)
    return joined


def pairs(text: str, spelling: CallSpelling | None = HERMES, *, thinks: bool = True) -> list[tuple[str, str]]:
    found = read(text, spelling, thinks=thinks)
    assert read(text, spelling, thinks=thinks, cuts=tuple(range(len(text)))) == found
    return [(part.kind, part.text) for part in found]


ONE = '<tool_call>\n{"name": "f", "arguments": {"a": "}</tool_call>\\""}}\n</tool_call>'


def test_thoughts_text_and_calls() -> None:
    whole = f"<think>\nhm <tool_call>\n</think>\n\nI look.\n{ONE}\n{ONE}"
    assert pairs(whole) == [
        ("thought", "hm <tool_call>"),
        ("text", "I look."),
        ("call", "f"),
        ("arguments", '{"a": "}</tool_call>\\""}'),
        ("call", "f"),
        ("arguments", '{"a": "}</tool_call>\\""}'),
    ]
    assert pairs("plain <thi <tool_cal \n") == [("text", "plain <thi <tool_cal \n")]
    assert pairs("<think>a</think><think>b</think>c") == [("thought", "a\nb"), ("text", "c")]
    assert pairs("") == []


def test_marks_without_meaning_are_words() -> None:
    assert pairs(f"<think>a</think> {ONE}", None, thinks=False) == [("text", f"<think>a</think> {ONE}")]
    assert pairs("b <think>a</think>") == [("text", "b <think>a</think>")]
    assert pairs('so {"name": "f", "parameters": {}}', LLAMA) == [("text", 'so {"name": "f", "parameters": {}}')]


def test_thoughts_are_read_as_graders_read_them() -> None:
    text = "<think>\n\n one\n\ntwo \n</think>\n\n\nanswer\n"
    told = dict(pairs(text))
    assert (told["thought"], told["text"]) == thoughts.split(text)[:2]


def test_calls_of_other_families() -> None:
    listed = (
        '[{"name": "f", "arguments": {"a": [1, {}]}, "id": "abcdefgh1"}, {"name": "g", "arguments": {}, "id": "x"}]'
    )
    assert pairs(f"Well. [TOOL_CALLS] {listed}", MISTRAL) == [
        ("text", "Well."),
        ("call", "f"),
        ("arguments", '{"a": [1, {}]}'),
        ("call", "g"),
        ("arguments", "{}"),
    ]
    assert pairs('\n{"name":"f","parameters":{"a":1}}', LLAMA) == [("call", "f"), ("arguments", '{"a":1}')]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {"a"', [("call", "f"), ("arguments", '{"a"')]),
        (ONE[:-13], [("call", "f"), ("arguments", '{"a": "}</tool_call>\\""}')]),
        ('<tool_call>\n{"name": "f", "argu', [("call", "f")]),
        ('<tool_call>\n{"name": "ff', [("text", '<tool_call>\n{"name": "ff')]),
        ("<tool_call>\n{", [("text", "<tool_call>\n{")]),
        ('<tool_call>\n{"nome": 1}', [("text", '<tool_call>\n{"nome": 1}')]),
        ('<tool_call>\n{"name": "", "arguments": {}}', [("text", '<tool_call>\n{"name": "", "arguments": {}}')]),
        ('<tool_call>{"name":"f","arguments":[1]}', [("call", "f"), ("arguments", "[1]}")]),
        (f"{ONE} and more", [("call", "f"), ("arguments", '{"a": "}</tool_call>\\""}'), ("text", "and more")]),
        ('so \n<tool_call>\n{"name": ""', [("text", 'so \n<tool_call>\n{"name": ""')]),
        ("<think>cut off\n\n", [("thought", "cut off")]),
        ("<think>cut </thi", [("thought", "cut </thi")]),
    ],
)
def test_what_was_cut_off_or_is_no_call(text: str, parts: list[tuple[str, str]]) -> None:
    assert pairs(text) == parts


WORDS = r'''<think> | </think> | < | <tool_call> | {"name": " | f | ", "arguments": | {"x": "\"}"} | } | </tool_call> |
    [TOOL_CALLS] | [{"name": " | , "id": " | abcdefgh1 | "}, {"name": " | "}] | { | a | "'''
PIECES = st.sampled_from([" ", "\n", *(word.strip() for word in WORDS.split("|"))])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(PIECES, max_size=14).map("".join),
    st.lists(st.integers(0, 400), max_size=12),
    st.sampled_from(sorted(SPELLINGS)),
    st.booleans(),
)
def test_parts_do_not_hang_on_how_the_text_is_cut(text: str, cuts: list[int], name: str, thinks: bool) -> None:
    spelling = SPELLINGS[name]
    assert read(text, spelling, thinks=thinks, cuts=tuple(cuts)) == read(text, spelling, thinks=thinks)


@given(st.text(alphabet='ab<>{}\\n "/tool_cal[]', max_size=60))
def test_text_without_calls_is_kept_whole(text: str) -> None:
    assert "".join(part.text for part in read(text, None, thinks=False)) == text


NAMES = st.text(alphabet="abz_-9", min_size=1, max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", ["hermes", "thinking", "mistral", "deepseek", "llama3"])
def test_what_a_template_writes_is_read_again(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    chat = ChatFormat(CALLING[kind](tmp_path_factory.mktemp(kind)))
    spelling = chat.call_spelling

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(NAMES, st.dictionaries(st.text(max_size=5), VALUES, max_size=3)), min_size=1, max_size=3))
    def check(calls: list[tuple[str, dict[str, object]]]) -> None:
        calls = calls if spelling.gap is not None else calls[:1]
        written = [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls]
        text = (spelling.gap or "").join(f"{name}{spelling.middle}{arguments}" for name, arguments in written)
        text = f"{spelling.head}{text}{spelling.tail}".replace("\0", "abcdefgh1")
        told = [part for name, arguments in written for part in (("call", name), ("arguments", arguments))]
        assert pairs(text, spelling) == told

    check()
