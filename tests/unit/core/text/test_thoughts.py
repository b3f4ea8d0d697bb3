"""Thoughts in answers: one spelling, one reading."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.text.thoughts import completed, split, unfinished, wrap

ANALYSIS = "<|channel|>analysis<|message|>"
FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "thought", "answer", "closed"),
    [
        ("4", "", "4", True),
        ("", "", "", True),
        ("<think>\n2+2\n</think>\n\n4", "2+2", "4", True),
        ("2+2\n</think>\n\n4", "2+2", "4", True),
        ("<think>\n2+2 is 4", "2+2 is 4", "", False),
        ("<think>\n\n</think>\n\n4", "", "4", True),
        ("<think>a</think>b<think>c</think>d", "a</think>b<think>c", "d", True),
        ("<think>a</think>b<think>c", "a</think>b<think>c", "", False),
        ("<think>a<think>b</think>c", "a<think>b", "c", True),
        ("<think>a</think>b</think>c", "a</think>b", "c", True),
        ("<THINK>a</Think>4", "a", "4", True),
        ("<THINK>a", "a", "", False),
        ("say <think> and", "say <think> and", "", False),
        (f"{ANALYSIS}a{FINAL}4", "a<|end|><|start|>assistant", "4", True),
        (f"{ANALYSIS}a", "a", "", False),
        ("<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}", "", "", False),
    ],
)
def test_parts(text: str, thought: str, answer: str, closed: bool) -> None:
    parts = split(text)
    assert (parts.answer, parts.closed) == (answer, closed)
    assert parts.thought == (thought or parts.thought)


def test_the_spelling_is_that_of_published_templates() -> None:
    assert wrap("\nFirst 2.\n\n", "\n\n4") == "<think>\nFirst 2.\n</think>\n\n4"
    assert wrap("", "4") == "<think>\n\n</think>\n\n4"  # Qwen3's, where thinking is switched off
    assert unfinished("\nFirst") == "<think>\nFirst"


_plain = st.text(st.characters(exclude_characters="<\n"))


@given(_plain, _plain)
def test_what_is_wrapped_is_taken_apart_again(thought: str, answer: str) -> None:
    assert split(wrap(thought, answer)) == (thought, answer, True)
    assert split(unfinished(thought)) == (thought, "", False)
    assert completed(wrap(thought, answer)) == wrap(thought, answer)
    assert completed(f"{thought}\n</think>\n\n{answer}") == wrap(thought, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<THINK>", "a", "\n", ANALYSIS, FINAL, "<|channel|>"])))
def test_whatever_stands_there_an_open_thought_has_no_answer(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = split(text)
    assert parts.closed or not parts.answer
    assert not split(f"{text}<think>8").closed
    assert split(f"{text}</think>8").answer == "8"


def test_only_a_lone_close_is_completed() -> None:
    for text in ("4", "<think>a</think>4", "<think>a", "a <think> b </think> 4", ""):
        assert completed(text) == text
    assert completed("a</think>b</think>c") == "<think>\na\n</think>\n\nb</think>c"


def test_a_text_of_marks_takes_no_time() -> None:
    start = time.process_time()
    for text in ("<|channel|>" * 200_000, "<think>" * 200_000, "<|channel|>analysis " * 100_000, "</think" * 200_000):
        split(text)
    assert time.process_time() - start < 20
